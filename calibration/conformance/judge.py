"""The one comparison: every reported number against truth, against its siblings, across scenarios.

It knows quantities, parts and windows, and no tool. A number is wrong where it differs from the
truth by more than `TOLERANCE` of it plus what the edges of the window leave open; the same for
numbers that must agree with each other. What a wrong number *looks like* (a mean where a sum was
claimed, a part left out, half a window) is said only where that explanation fits within the same
tolerance.

Uncertainty of a truth. The window of a tool begins somewhere between the instants before and after
it was asked to begin, and ends likewise. Its true energy lies between that of the inner window and
that of the outer one; a reported energy in this interval is right. Counters step in units and are
renewed every 1 ms, GPUs every 100 ms: a renewal's worth of power is added at either edge, and what
a renewal came late by there where the computer had other work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..simulation.profile import PowerProfile
from ..simulation.stage import Truth
from .figures import Claim, Figure, Outcome
from .scenarios import Scenario, truth_of

__all__ = ["SOURCE", "TOLERANCE", "Check", "Finding", "compare", "judge", "true_power"]

TOLERANCE: Final = 0.005
SOURCE: Final = "as the card's own counter says: its sensor sees a part of the time only"
_RENEWAL_S: Final = {"package": 0.004, "dram": 0.004, "psys": 0.004, "gpu": 0.11}


@dataclass(frozen=True, slots=True)
class Check:
    """One number beside its truth: `low` and `high` bound what is right, in the figure's unit.

    `inside` is whether it is right; `looks_like` explains a wrong one where something fits.
    """

    claim: Claim
    window: int
    reported: float | None
    true: float
    low: float
    high: float
    inside: bool
    looks_like: str | None = None

    @property
    def error_pct(self) -> float | None:
        """Return the error in % of the truth, None where there is nothing to divide."""
        if self.reported is None or self.true == 0:
            return None
        return 100.0 * (self.reported - self.true) / self.true

    @property
    def u_pct(self) -> float | None:
        """Return half the width of what is right, in % of the truth."""
        return None if self.true == 0 else 50.0 * (self.high - self.low) / self.true


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: `kind` is one word for it, `message` one sentence with the figures."""

    tool: str
    scenario: str
    kind: str
    field: str
    message: str
    reported: float | None = None
    true: float | None = None
    looks_like: str | None = None


def compare(scenario: Scenario, outcome: Outcome) -> tuple[Check, ...]:
    """Return every figure of an outcome beside its truth, where the scenario knows one."""
    truth = outcome.truth
    if truth is None:
        return ()
    found = (_check(scenario, outcome, truth, f) for f in outcome.figures)
    return tuple(
        replace(c, looks_like=_looks_like(scenario, outcome, truth, c))
        for c in found
        if c is not None
    )


def _check(scenario: Scenario, outcome: Outcome, truth: Truth, figure: Figure) -> Check | None:
    window = outcome.windows_ns[figure.window]
    outer_s, inner_s = (window[3] - window[0]) / 1e9, (window[2] - window[1]) / 1e9
    if figure.claim.quantity == "duration_s":
        return _bounded(figure, inner_s, outer_s, slack=0.01)
    power = true_power(scenario, figure.claim)
    if power is None:
        return None
    edge_s = max(_RENEWAL_S[p] for p in figure.claim.parts)
    inner_j = truth.energy_j(power, window[1], window[2])
    outer_j = truth.energy_j(power, window[0], window[3])
    late_s = truth.late_s(window[0], window[1]) + truth.late_s(window[2], window[3])
    slack_j = (2 * edge_s + late_s) * max(power.powers_w)
    if figure.claim.quantity == "energy_j":
        return _bounded(figure, inner_j, outer_j, slack=slack_j)
    return _bounded(figure, inner_j / inner_s, inner_j / inner_s, slack=slack_j / inner_s)


def true_power(scenario: Scenario, claim: Claim) -> PowerProfile | None:
    """Return the true power of what a claim is about; None where the scenario has no such thing."""
    if claim.device is None:
        return truth_of(scenario, claim.parts)
    (part,) = claim.parts
    devices = scenario.truths.get(part, ())
    return devices[claim.device] if claim.device < len(devices) else None


def _bounded(figure: Figure, low: float, high: float, *, slack: float) -> Check:
    middle = low  # what the caller's own code did lies in the inner window
    low, high = low * (1 - TOLERANCE) - slack, high * (1 + TOLERANCE) + slack
    inside = figure.value is not None and low <= figure.value <= high
    return Check(figure.claim, figure.window, figure.value, middle, low, high, inside)


def judge(scenario: Scenario, outcome: Outcome) -> tuple[Finding, ...]:
    """Return what is wrong with an outcome, worst first; nothing where all is right."""
    return tuple(_judge(scenario, outcome))


def _judge(scenario: Scenario, outcome: Outcome) -> Iterator[Finding]:
    checks = compare(scenario, outcome)
    if outcome.refused:
        return  # it said why, and gave no number
    if outcome.error is not None and not checks:
        yield Finding(outcome.tool, scenario.name, "failed", "", outcome.error)
        return
    if not scenario.counted:
        yield from _silent_fallback(scenario, outcome)
        return
    for check in checks:
        if not check.inside:
            yield _wrong(scenario, outcome, check)
    yield from _disagree(scenario, outcome, checks)
    yield from _too_long(scenario, outcome, checks)
    yield from _too_many(scenario, outcome)


def _too_long(scenario: Scenario, outcome: Outcome, checks: Sequence[Check]) -> Iterator[Finding]:
    """Find a duration that counts more than the energy beside it.

    Each may be right by itself, the one for the outer window, the other for the inner one; but then
    the energy over the duration is no power that the machine had.
    """
    for span in (c for c in checks if c.claim.quantity == "duration_s" and c.inside):
        for energy in checks:
            if (
                energy.claim.quantity != "energy_j"
                or energy.window != span.window
                or not energy.inside
                or not energy.reported
                or not span.reported
                or energy.claim.parts != {"package"}
            ):
                continue
            mean_w, true_w = energy.reported / span.reported, energy.true / span.true
            edge = TOLERANCE + 2 * _RENEWAL_S["package"] / span.true
            if abs(mean_w / true_w - 1) > 2 * edge and _steady(scenario, energy.claim):
                yield Finding(
                    outcome.tool, scenario.name, "wrong_duration", span.claim.field,
                    f"{span.claim.field} says {_number(span.reported)} s for "
                    f"{_number(span.true)} s of work, {100 * (span.reported / span.true - 1):+.1f} "
                    f"%: {energy.claim.field} over it is {_number(mean_w)} W for a true "
                    f"{_number(true_w)} W",
                    span.reported, span.true, "start-up is counted as time, and not as energy",
                )  # fmt: skip
            break


def _steady(scenario: Scenario, claim: Claim) -> bool:
    power = true_power(scenario, claim)
    return power is not None and max(power.powers_w) == min(power.powers_w)


def _too_many(scenario: Scenario, outcome: Outcome) -> Iterator[Finding]:
    """Find devices that do not exist."""
    for figure in outcome.figures:
        for part in figure.claim.parts:
            devices = len(scenario.truths.get(part, ()))
            if figure.claim.device is not None and figure.claim.device >= devices:
                yield Finding(
                    outcome.tool, scenario.name, "extra_device", figure.claim.field,
                    f"{figure.claim.field} is {_number(figure.value or 0.0)} J, and there "
                    f"{'is' if devices == 1 else 'are'} {devices} {part} only",
                    figure.value,
                )  # fmt: skip


def _silent_fallback(scenario: Scenario, outcome: Outcome) -> Iterator[Finding]:
    """Where nothing can be counted, a number is fine only if the tool says that it is a guess."""
    for figure in outcome.figures:
        if figure.value and figure.claim.parts & {"package", "psys"}:
            if outcome.file_says is None:
                log = f"; its log says {outcome.log_says!r}" if outcome.log_says else ""
                yield Finding(
                    outcome.tool, scenario.name, "silent_fallback", figure.claim.field,
                    f"reports {_number(figure.value)} {figure.claim.unit} in "
                    f"{figure.claim.field} although no counter could be read, and its file does "
                    f"not say that this is a guess{log}",
                    figure.value,
                )  # fmt: skip
            return


def _wrong(scenario: Scenario, outcome: Outcome, check: Check) -> Finding:
    claim, unit = check.claim, check.claim.unit
    said = "nothing" if check.reported is None else f"{_number(check.reported)} {unit}"
    window = f" (window {check.window + 1})" if len(outcome.windows_ns) > 1 else ""
    message = f"{claim.field} says {said} for a true {_number(check.true)} {unit}{window}"
    if check.error_pct is not None:
        message += f", {check.error_pct:+.1f} %"
    if check.looks_like == SOURCE:
        kind = "wrong_source"
    else:
        kind = "missing" if check.reported is None else f"wrong_{claim.quantity.rpartition('_')[0]}"
    return Finding(
        outcome.tool, scenario.name, kind, claim.field, message, check.reported, check.true,
        check.looks_like,
    )  # fmt: skip


def _looks_like(scenario: Scenario, outcome: Outcome, truth: Truth, check: Check) -> str | None:
    """Return an explanation of a wrong number that fits it as well as truth would have."""
    value, claim = check.reported, check.claim
    if value is None or check.inside:
        return None
    if value < 0:
        return "no energy is negative"
    if _as_counted(scenario, outcome, truth, check):
        return SOURCE
    left_out = _left_out(scenario, outcome, truth, check)
    if left_out is not None or value == 0:
        return left_out or "it read nothing"
    devices = sum(len(scenario.truths.get(p, ())) for p in claim.parts)
    width = (check.high - check.low) / 2
    if devices > 1 and abs(value * devices - check.true) <= width * devices:
        return f"like the mean of {devices} devices, not their sum"
    return None


def _as_counted(scenario: Scenario, outcome: Outcome, truth: Truth, check: Check) -> bool:
    """Whether a GPU's energy is just what the cards' own counters say, which are wrong."""
    if check.claim.parts != {"gpu"} or check.claim.quantity != "energy_j":
        return False
    cards, window = scenario.scene.gpus, outcome.windows_ns[check.window]
    if check.claim.device is not None:
        cards = cards[check.claim.device : check.claim.device + 1]
    most_w = sum(max(c.truth.powers_w) for c in cards)
    low, high = (
        sum(truth.counted_j(c, window[a], window[b]) for c in cards) for a, b in ((1, 2), (0, 3))
    )
    edge_j = 2 * _RENEWAL_S["gpu"] * most_w
    value = check.reported or 0.0
    return low * (1 - TOLERANCE) - edge_j <= value <= high * (1 + TOLERANCE) + edge_j


def _left_out(scenario: Scenario, outcome: Outcome, truth: Truth, check: Check) -> str | None:
    """Return which claimed part is missing, where the others alone give the number."""
    value, claim = check.reported, check.claim
    if value is None or len(claim.parts) < 2 or not check.true:
        return None
    if value == 0:
        present = sorted(claim.parts & set(scenario.truths))
        return f"{' and '.join(present)} {'is' if len(present) == 1 else 'are'} left out"
    window = outcome.windows_ns[check.window]
    whole = truth_of(scenario, claim.parts)
    for part in sorted(claim.parts & set(scenario.truths)):
        rest = truth_of(scenario, claim.parts - {part})
        share = 0.0
        if rest is not None and whole is not None:
            rest_j = truth.energy_j(rest, window[1], window[2])
            share = rest_j / truth.energy_j(whole, window[1], window[2])
        if abs(value - share * check.true) <= (check.high - check.low) / 2:
            return f"{part} is left out"
    return None


def _disagree(scenario: Scenario, outcome: Outcome, checks: Sequence[Check]) -> Iterator[Finding]:
    """Compare a power with the energy over the duration that the tool itself states."""
    for power in checks:
        if power.claim.quantity != "power_w" or power.reported is None or not power.inside:
            continue  # a power that is wrong has been named
        for energy in checks:
            same = (energy.claim.parts, energy.claim.device, energy.window) == (
                power.claim.parts, power.claim.device, power.window,
            )  # fmt: skip
            if energy.claim.quantity != "energy_j" or not same or not energy.reported:
                continue
            span = next(
                (c.reported for c in checks
                 if c.claim.quantity == "duration_s" and c.window == power.window), None,
            )  # fmt: skip
            if not span:
                continue
            mean_w = energy.reported / span
            if abs(power.reported - mean_w) > 3 * TOLERANCE * mean_w + (power.high - power.low) / 2:
                yield Finding(
                    outcome.tool, scenario.name, "disagreement", power.claim.field,
                    f"{power.claim.field} says {_number(power.reported)} W, "
                    f"{energy.claim.field} over its own duration {_number(mean_w)} W",
                    power.reported, mean_w,
                )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
