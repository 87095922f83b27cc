"""Inputs that carry noise of their own: what it adds to the output, and the gain it flattens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .correlated import Dependence
from .linear import least_squares
from .results import Term

__all__ = ["noisy_inputs"]

Floats = npt.NDArray[np.float64]
# Errors of an input flatten its gain by λ; below this they are taken out.
_LEAST_RELIABILITY = 0.995


def noisy_inputs(
    terms: Sequence[Term], columns: Floats, design: Floats, y: Floats, shared: Dependence
) -> tuple[Floats, Floats | None]:
    """Return the design freed of attenuation, and what the inputs' own noise adds, W², (n,).

    Noise of an input acts as noise of the output b² u_x² (York et al., Am. J. Phys. 72 (2004) 367:
    the effective variance), and flattens a gain by λ = 1 - mean(u_x²)/Var(x). A single input whose
    λ falls below 0.995 is replaced by its regression on the truth, x̄ + λ (x - x̄) (Fuller,
    Measurement Error Models, 1987, section 1.2), which takes the flattening out.
    """
    linear = [
        (i, shared.inputs_u[t.input])
        for i, t in enumerate(terms)
        if t.input is not None
        and t.basis == "input"
        and t.power == 1
        and t.input in shared.inputs_u
    ]
    if not linear:
        return design, None
    gains = np.zeros(len(terms))
    free = design.shape[1] >= len(terms)
    if free:
        gains[:] = least_squares(design, y, method="fast").coefficients[: len(terms)]
    else:  # the offset alone is free: gains are one
        gains[1:] = 1.0
    added = np.zeros(y.size)
    for i, u in linear:
        added += (gains[i] * u) ** 2
    if free and len(linear) == 1 and len(terms) == 2 and terms[0].basis == "const":
        i, u = linear[0]
        others = np.delete(design, i, axis=1)
        x = columns[:, i]
        middle = others @ np.linalg.lstsq(others, x, rcond=None)[0]
        about = x - middle
        freedom = y.size - others.shape[1]
        reliability = 1 - float(np.mean(u**2)) / (float(about @ about) / max(freedom, 1))
        if 0.5 < reliability < _LEAST_RELIABILITY:
            design = design.copy()
            design[:, i] = middle + reliability * about
    return design, added
