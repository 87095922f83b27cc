"""The verdict: may this be published as a correction, only as an error statement, or not at all.

Every reason has one row in `RULES`: its threshold, where the threshold comes from, and what follows
(`refuse`, `downgrade` to an error statement, `flag`). `wattcal fit --explain` prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass

from .checks_held_out import HELD_OUT_CHECKS
from .checks_points import POINT_CHECKS
from .evidence import Consequence, Evidence
from .points import Finding
from .results import Reason, VerdictKind

__all__ = ["RULES", "Evidence", "Rule", "judge"]

_CHECKS = POINT_CHECKS | HELD_OUT_CHECKS


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason: when it applies, why there, and what follows."""

    code: str
    threshold: float
    text: str
    source: str
    consequence: Consequence


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule("too_few_groups", 4, "fewer than 4 groups in all, idle being one",
             "a between-group variance needs three degrees of freedom", "refuse"),
        Rule("too_few_levels", 5, "fewer than 5 levels of the input",
             "a straight line with two levels cannot show that it is one", "refuse"),
        Rule("range_too_short", 0.05, "the reference spans less than 5 % of its mean",
             "below it the gain rests on noise and drift", "refuse"),
        Rule("collinear", 30, "condition of the centred, scaled inputs above 30, or a coefficient "
             "changes sign between folds", "Belsley, Kuh and Welsch 1980, section 3.2", "refuse"),
        Rule("no_relation", 2, "a gain below 2 of its standard uncertainties",
             "not distinguishable from zero at 95 %", "refuse"),
        Rule("not_better_than_null", 0.9, "held-out error above idle not a tenth below that of a "
             "null model that ignores the tool, or a tenth above that of a gain alone",
             "Fahad et al. 2019, Energies 12:2204", "refuse"),
        Rule("non_monotone", 0.01, "the correction falls by more than 1 % of its rise somewhere in "
             "its domain", "more work cannot need less power", "refuse"),
        Rule("workload_dependence", 15, "held-out error above idle over 15 % on average",
             "a correction that misses by this much on an unseen workload is a statement of error",
             "downgrade"),
        Rule("transfer_failure", 0.15, "a workload's mean held-out error exceeds 15 % of the "
             "power range and the 99 % limit (Student's t, Bonferroni) that the scatter of the "
             "others allows; or more than a fifth of the groups lie outside the interval; or the "
             "interval holds less than 90 % of the held-out points or half of a group (downgrade)",
             "what holds for the others does not hold for this one", "refuse"),
        Rule("too_uncertain", 0.25, "the stated U exceeds a quarter of the reference's range "
             "(median over the held-out points), or of the power itself at one of them",
             "a test uncertainty ratio below 4:1 (ANSI/NCSL Z540.3-2006, 5.3): idle and full load "
             "are hardly told apart", "downgrade"),
        Rule("heavy_tails", 0.002, "over 0.2 % of the held-out points, in three groups at least, "
             "miss by more than twice the stated U", "a normal error does so once in ten thousand; "
             "these points cut through changes that meter and tool follow unlike", "downgrade"),
        Rule("drift", 0.02, "each half of one recording, predicted from the other, is off by more "
             "than 2 % of its energy", "blocks of one recording share what drifts", "flag"),
        Rule("moved_baseline", 0.05, "idle power moves within a session by more than 5 % of the "
             "power range; between sessions that nothing re-zeroes by more than 5 % of idle "
             "(downgrade); by more than 2 % of the power range, re-zeroed or not (flag)",
             "a state that no input sees has changed (Jay et al. 2023: idle moved by 10 % in days)",
             "refuse"),
        Rule("unseen_component", 2, "at zero input the reference is above twice the largest "
             "reading of the inputs; or a workload takes more than they say by over the range of "
             "all others", "most of the power is of parts that no input sees; energy "
             "above idle holds while they keep their state", "flag"),
        Rule("window_mismatch", 0.02, "energies differ by a constant per run of more than 2 % of "
             "the shortest, and four of its uncertainties", "a reference and a tool that start or "
             "stop apart differ per run, not per second", "downgrade"),
        Rule("aliased_load", 10, "a part-time sensor, and a load whose period is below 10 of the "
             "sensor's", "Yang, Adamek and Armour, SC24: 25 ms of every 100 ms seen", "refuse"),
        Rule("meter_too_coarse", 0.05, "the resolution exceeds 5 % of the reference's range",
             "steps of the display, not of the machine, would be fitted", "refuse"),
        Rule("implausible_gain", 4, "a gain for a power input below 1/4 or above 4",
             "no supply or sensor is that wrong; units or scope are", "downgrade"),
        Rule("extrapolation", 1, "a workload lies further from the range of the others than that "
             "range is wide (refuse), or outside it at all (flag)",
             "its error is one of extrapolation", "refuse"),
        Rule("errors_in_variables", 0.995, "the noise of an input flattens its gain by more than "
             "0.5 %: its errors were taken out of the fit", "Fuller 1987, section 1.2: a gain is "
             "flattened by 1 - mean(u²)/variance", "flag"),
        Rule("wrong_mode", 1, "the input was recorded in more than one mode",
             "a tool in another mode is another input", "refuse"),
        Rule("board_reference", 1, "the reference is the board's own sensor (--reference bmc)",
             "its averaging and its error are known to its maker alone, and traceable to nobody",
             "downgrade"),
        Rule("lagging_reference", 0.25, "the reference and every input disagree in time by more "
             "than a quarter of the meter's window", "the reference's stamps are late or early",
             "flag"),
        Rule("lag_unresolved", 0, "the recording does not determine the lag of an input",
             "short segments may then mix two levels", "flag"),
        Rule("time_jump", 0, "the stamps of a stream go back, or the wall clock was set (flag); an "
             "input's lag differs on the two sides (refuse)",
             "a clock was set; rows on the other side belong to another time", "flag"),
        Rule("register_reset", 0, "an energy register begins again in mid-run",
             "its difference over the run is short by what it held", "flag"),
        Rule("missing_as_zero", 0.01, "over 1 % of a power reading is exactly 0 while the machine "
             "runs", "a missing value was written as 0", "refuse"),
        Rule("unit_scale", 50, "a gain for a power input above 50 or below 1/50; or a reference "
             "that changes by a power of ten, or 3600, beside its inputs; or a reading that does "
             "while it is steady (flag: the shorter side is left out)",
             "no scope differs that much; a unit or a scale does", "refuse"),
        Rule("stalled", 20, "a register stands still for 20 of its updates and ten seconds",
             "the source stopped and kept its last value", "flag"),
        Rule("suspended", 0.5, "the machine slept for over half a second",
             "clock_gettime(2): monotonic time stands still meanwhile", "flag"),
        Rule("several_wraps", 1, "a gap in which a register may have wrapped more than once",
             "its energy cannot be known; left out", "flag"),
        Rule("implausible", 1, "a register moved by more than the stated power can do",
             "left out", "flag"),
    )
}  # fmt: skip


def judge(evidence: Evidence) -> tuple[VerdictKind, tuple[Reason, ...]]:
    """Apply every rule; the gravest consequence decides."""
    reasons = []
    for code, rule in RULES.items():
        check = _CHECKS.get(code)
        found = check(evidence, rule.threshold) if check is not None else ""
        message, consequence = (found, rule.consequence) if isinstance(found, str) else found
        if message:
            reasons.append(Reason(code, message, consequence))
    reasons += [_from_finding(f) for f in evidence.points.findings if _concerns(evidence, f)]
    consequences = {r.consequence for r in reasons}
    if "refuse" in consequences:
        return "refused", tuple(reasons)
    return ("error_statement" if "downgrade" in consequences else "correction"), tuple(reasons)


def _concerns(e: Evidence, finding: Finding) -> bool:
    return not finding.inputs or bool(set(finding.inputs) & set(e.inputs))


def _from_finding(finding: Finding) -> Reason:
    """Return what was found in the recording as a reason, with its rule's consequence."""
    rule = RULES.get(finding.code)
    consequence = finding.consequence or (rule.consequence if rule is not None else "flag")
    return Reason(finding.code, finding.message, consequence)
