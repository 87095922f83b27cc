"""Runs in, results out: alignment, points, fits, uncertainty, validation, verdict.

from calibration.analysis import fit_points, run_points
from calibration.recording import read_run

points = run_points([read_run("runs/monday")])
result = fit_points(points, ("rapl_package",))
"""

from .alignment import Lag, alignment_uncertainty, estimate_lag
from .budget import Budget, BudgetRow, Job, budget_rows, energy_budget, jobs_budget, power_budget
from .compare import Comparison, ToolComparison, compare_points
from .counters import Differences, SeriesFinding, register_differences
from .deming import Attenuation, attenuation, deming
from .drift import (
    Alarm,
    ControlChart,
    Cusum,
    Residuals,
    control_chart,
    cusum,
    design_alarm,
    gain_residuals,
    offset_residuals,
    run_length,
    threshold_for,
)
from .energy import EnergyCurve, Pieces, pieces, total_energy, window_energy
from .fit import fit_points
from .grouped import Certificate, GroupedMoments
from .integrals import WindowSums, integrate, window_sums
from .line import straight_line
from .linear import LeastSquares, least_squares
from .moments import Moments
from .points import Finding, InputColumn, Points, Reference
from .points_table import read_points, write_points
from .polynomial import Polynomial, polynomial
from .results import Component, Domain, FitResult, Model, Reason, Term, Validation
from .rezero import Rezero, idle_windows, rezero
from .robust import Hinge, RobustLine, hinge, robust_line
from .segments import run_points
from .straight import InverseInterval, StraightLine
from .timing import (
    common_lag,
    estimate_lags,
    estimate_response,
    identify_stamp,
    piecewise_lag,
)
from .verify import Chart, Verification, chart_runs, predictor, verify_points

__all__ = [
    "Alarm",
    "Attenuation",
    "Budget",
    "BudgetRow",
    "Certificate",
    "Chart",
    "Comparison",
    "Component",
    "ControlChart",
    "Cusum",
    "Differences",
    "Domain",
    "EnergyCurve",
    "Finding",
    "FitResult",
    "GroupedMoments",
    "Hinge",
    "InputColumn",
    "InverseInterval",
    "Job",
    "Lag",
    "LeastSquares",
    "Model",
    "Moments",
    "Pieces",
    "Points",
    "Polynomial",
    "Reason",
    "Reference",
    "Residuals",
    "Rezero",
    "RobustLine",
    "SeriesFinding",
    "StraightLine",
    "Term",
    "ToolComparison",
    "Validation",
    "Verification",
    "WindowSums",
    "alignment_uncertainty",
    "attenuation",
    "budget_rows",
    "chart_runs",
    "common_lag",
    "compare_points",
    "control_chart",
    "cusum",
    "deming",
    "design_alarm",
    "energy_budget",
    "estimate_lag",
    "estimate_lags",
    "estimate_response",
    "fit_points",
    "gain_residuals",
    "hinge",
    "identify_stamp",
    "idle_windows",
    "integrate",
    "jobs_budget",
    "least_squares",
    "offset_residuals",
    "pieces",
    "piecewise_lag",
    "polynomial",
    "power_budget",
    "predictor",
    "read_points",
    "register_differences",
    "rezero",
    "robust_line",
    "run_length",
    "run_points",
    "straight_line",
    "threshold_for",
    "total_energy",
    "verify_points",
    "window_energy",
    "window_sums",
    "write_points",
]
