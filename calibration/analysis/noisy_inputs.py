"""Inputs that carry noise of their own: what it adds to the output, and the gain it flattens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .correlated import Dependence
from .linear import least_squares
from .results import Term

__all__ = ["LEAST_RELIABILITY", "noisy_inputs"]

Floats = npt.NDArray[np.float64]
# Errors of an input flatten its gain by λ; below this they are taken out.
LEAST_RELIABILITY = 0.995


def noisy_inputs(
    terms: Sequence[Term], columns: Floats, design: Floats, y: Floats, shared: Dependence
) -> tuple[Floats, Floats | None, Mapping[str, float]]:
    """Return the design freed of attenuation, what the inputs' own noise adds (W², (n,)), and λ.

    Noise of an input acts as noise of the output b² u_x² (York et al., Am. J. Phys. 72 (2004) 367:
    the effective variance), and flattens its gain by λ = 1 - mean(u_x²)/Var(x), the variance being
    that about the session's mean. Where a λ falls below 0.995 the inputs X of a line are replaced
    by their regression on the truth, X̄ + (X - X̄) S⁻¹ (S - U), S their covariance and U = diag
    mean(u²) (Fuller, Measurement Error Models, 1987, sections 1.2 and 2.2), which takes the
    flattening out. The λ returned are those of the inputs then, empty where nothing was replaced.
    From λ = 0.5 down noise makes up half of what is seen, and no replacement is honest.
    """
    linear = [
        (i, t.input, shared.inputs_u[t.input])
        for i, t in enumerate(terms)
        if t.input is not None
        and t.basis == "input"
        and t.power == 1
        and t.input in shared.inputs_u
    ]
    if not linear:
        return design, None, {}
    gains = np.ones(len(terms))  # of a form that leaves the offset alone free
    free = design.shape[1] >= len(terms)
    if free:
        gains = least_squares(design, y, method="fast").coefficients[: len(terms)]
    added = np.zeros(y.size)
    for i, _, u in linear:
        added += (gains[i] * u) ** 2
    line = terms[0].basis == "const" and all(t.basis == "input" and t.power == 1 for t in terms[1:])
    if not (free and line):
        return design, added, {}
    inputs = np.arange(1, len(terms))
    others = np.delete(design, inputs, axis=1)
    x = columns[:, inputs]
    middle = others @ np.linalg.lstsq(others, x, rcond=None)[0]
    about = x - middle
    spread = about.T @ about / max(y.size - others.shape[1], 1)
    noise = np.zeros(inputs.size)
    for i, _, u in linear:
        noise[i - 1] = float(np.mean(u**2))
    reliability = 1 - noise / np.diag(spread)
    if not 0.5 < float(reliability.min()) < LEAST_RELIABILITY:
        return design, added, {}
    design = design.copy()
    design[:, inputs] = middle + about @ np.linalg.solve(spread, spread - np.diag(noise))
    return design, added, {key: float(reliability[i - 1]) for i, key, _ in linear}
