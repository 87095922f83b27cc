"""Results as text for a terminal of 80 columns."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .output import table

if TYPE_CHECKING:
    from ..analysis import Comparison, FitResult, Verification
    from ..analysis.results import ErrorSummary

__all__ = [
    "budget_text",
    "choice_text",
    "choices_text",
    "comparison_text",
    "explain_text",
    "fit_text",
    "verification_text",
]

_VERDICT = {
    "correction": "CORRECTION: may be published as a correction",
    "error_statement": "ERROR STATEMENT: too wrong to correct; the errors may be published",
    "refused": "REFUSED: nothing may be published from these data",
}


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 80, initial_indent=indent, subsequent_indent=indent + "  ")


def _number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    if value is None or value != value:
        return "-"
    if value != 0 and 1e-3 <= abs(value) < 1e6:
        text = f"{value:+.{digits}g}" if sign else f"{value:.{digits}g}"
        if "e" in text:
            text = f"{value:+.0f}" if sign else f"{value:.0f}"
        return text
    return f"{value:+.{digits}g}" if sign else f"{value:.{digits}g}"


def comparison_text(comparison: Comparison) -> str:
    """Return the comparison of all tools with the reference."""
    c = comparison
    lines = []
    if c.data_kind == "simulated":
        lines.append("SIMULATED DATA")
    worth = ""
    if c.reference_expanded_w is not None:
        worth = f" ± {_number(c.reference_expanded_w)} W ({_number(c.reference_expanded_pct, 2)} %)"
    lines.append(f"reference: {c.reference or 'not named'} at {c.boundary}")
    lines.append(f"mean {_number(c.reference_mean_w, 5)} W{worth}, U with k = 2")
    idle = "" if c.idle_w is None else f", idle {_number(c.idle_w, 4)} W"
    lines.append(f"{c.n_points} points, {c.workloads} workload(s), {c.sessions} session(s){idle}")
    watts, percent = [], []
    for t in c.tools:
        watts.append(
            [
                t.input,
                ("+".join(t.scope) or "not stated")[:16],
                _number(t.bias_w, sign=True),
                _limits(t.loa_low_w, t.loa_high_w),
                "-" if t.lag_s is None else f"{t.lag_s:+.3f}",
                "-" if t.u_lag_s is None else f"{t.u_lag_s:.3f}",
                str(t.n),
            ]
        )
        percent.append(
            [
                t.input,
                _number(t.bias_pct, sign=True),
                _limits(t.loa_low_pct, t.loa_high_pct),
                _number(t.bias_above_idle_pct, sign=True),
                _limits(t.loa_low_above_idle_pct, t.loa_high_above_idle_pct),
            ]
        )
    header = ["tool - reference", "it sees", "bias W", "95 % limits W", "lag s", "u", "n"]
    lines += ["", table(header, watts, right="llrrrrr"), ""]
    header = ["tool - reference", "% of total", "95 % limits", "% above idle", "95 % limits"]
    lines += [table(header, percent, right="lrrrr"), ""]
    for t in c.tools:
        mode = f", mode {t.mode}" if t.mode else ""
        scope = ", ".join(t.scope) if t.scope else "not stated"
        fixed = "; a constant times the duration, no measurement" if t.constant else ""
        lines.append(_wrap(f"{t.input}: {t.source}{mode}; scope: {scope}{fixed}"))
    lines.append("A difference of scope is a difference, not an error.")
    for a in c.averaging:
        lines.append(
            _wrap(
                f"{a.stream}, {a.channel}: shows the mean of {_number(a.window_s)} s "
                f"(u {_number(a.u_s, 2)} s, found at {a.n} steps of the load)"
            )
        )
    lines += _notes(c.notes)
    return "\n".join(lines)


def _limits(low: float | None, high: float | None) -> str:
    if low is None or high is None or low != low:
        return "-"
    return f"{_number(low, sign=True)} .. {_number(high, sign=True)}"


def _notes(notes: Sequence[str]) -> list[str]:
    """Return notes as lines; the lags of many recordings become one line an input and meter."""
    lags: dict[tuple[str, str], list[float]] = {}
    others: dict[str, int] = {}
    for note in notes:
        found = _LAG.match(note)
        if found is None:
            others[note] = others.get(note, 0) + 1
        else:
            lags.setdefault((found[1], found[2]), []).append(float(found[3]))
    lines = []
    for (key, meter), values in lags.items():
        span = f"{min(values):+.3f} s"
        if len(values) > 1:
            span += f" to {max(values):+.3f} s in {len(values)} recordings"
        lines.append(_wrap(f"note: {key} lags {meter} by {span}; shifted accordingly"))
    return lines + [_wrap(f"note: {n}") for n in others]


_LAG = re.compile(r"(\w+) lags (\w+) by ([+-][\d.]+) s")


def fit_text(result: FitResult) -> str:
    """Return a fit: model, domain, validation, uncertainty, verdict."""
    r = result
    lines = []
    if r.data_kind == "simulated":
        lines.append("SIMULATED DATA")
    lines.append(f"{' + '.join(r.inputs)} -> {r.boundary}: {r.form}")
    lines.append(
        f"{r.n_points} points, {r.levels} levels, {len(r.workloads)} workload(s), "
        f"{len(r.sessions)} session(s)"
    )
    if r.model is not None:
        rows = []
        for i, term in enumerate(r.model.terms):
            u = r.model.covariance[i][i] ** 0.5
            name = term.input or "1"
            name += f"^{term.power}" if term.power > 1 else ""
            name = f"max(0, {name} - {term.knot:.4g})" if term.basis == "hinge" else name
            rows.append([name, f"{term.value:.6g}", f"{u:.2g}", term.unit])
        lines += ["", table(["term", "value", "u", "unit"], rows, right="lrrl")]
        lines.append(f"u: scatter of the fit only, {r.model.dof:g} degrees of freedom")
    if r.domain is not None:
        spans = [f"{k} {low:.4g} to {high:.4g}" for k, (low, high) in r.domain.inputs.items()]
        lines.append(_wrap(f"domain: {'; '.join(spans)}; output {r.domain.output_w[0]:.4g} to "
                           f"{r.domain.output_w[1]:.4g} W"))  # fmt: skip
    lines += ["", *_validation_lines(r)]
    if r.uncertainty:
        rows = [
            [
                c.id,
                f"{100 * c.u:.2g} %" if c.kind == "relative" else f"{c.u:.2g} W",
                c.correlation,
                f"{c.type} {c.status}",
            ]
            for c in r.uncertainty
        ]
        lines += ["", table(["component", "u", "adds", "type"], rows, right="lrll")]
    lines += ["", *_notes(r.notes)]
    lines.append(_VERDICT[r.verdict])
    lines += [_wrap(f"{x.consequence}: {x.code}: {x.message}", "  ") for x in r.reasons]
    return "\n".join(lines)


def _validation_lines(r: FitResult) -> list[str]:
    v = r.validation
    rows = []
    named: list[tuple[str, ErrorSummary | None]] = [
        ("before (raw tool)", v.before),
        ("after, held out", v.after),
        *[(f"null: {k}", e) for k, e in v.nulls.items()],
    ]
    for name, e in named:
        if e is not None:
            rows.append(
                [
                    name,
                    _number(e.bias_w, sign=True),
                    _number(e.rmse_w),
                    _number(e.mape_pct),
                    _number(e.max_abs_pct),
                    _number(e.above_idle_mape_pct),
                    _number(e.above_idle_max_pct),
                ]
            )
    header = ["", "bias W", "RMSE W", "MAPE %", "max %", "idle+ %", "idle+ max %"]
    rezeroed = ", zero from its own idle" if v.rezeroed else ""
    lines = [
        f"validated on {v.groups} held-out groups ({v.scheme}{rezeroed}), {v.n} points; "
        "idle+: above idle",
        table(header, rows, right="lrrrrrr"),
    ]
    if v.scheme == "block":
        lines.append("validated on blocks of one recording: says nothing about another day")
    if v.coverage_95_pct is not None:
        lines.append(
            f"inside the stated 95 % interval: {v.coverage_95_pct:.0f} % of points "
            f"({v.groups} groups: {v.coverage_95_low:.0f} to {v.coverage_95_high:.0f} %)"
        )
    if v.interval is not None:
        why = {
            "group_conformal": f"group-conformal over {v.groups} groups",
            "student_t": f"Student's t over {v.groups} groups; group-conformal needs 19",
            "worst_group": f"the worst of {v.groups} groups, wider than Student's t",
        }[v.interval]
        half = f"{v.interval_half_width_w:.3g} W"
        lines.append(_wrap(f"mean error of a new {v.scheme}: within {half} ({why})"))
    if 1 < len(v.per_group) <= 12:
        rows = [
            [g.group, str(g.n), _number(g.bias_pct, sign=True), _number(g.mape_pct),
             _number(g.max_abs_pct), f"{g.covered_pct:.0f}"]
            for g in v.per_group
        ]  # fmt: skip
        head = ["held out", "n", "bias %", "MAPE %", "max %", "inside %"]
        lines += ["", table(head, rows, right="lrrrrr")]
    return lines


def choice_text(results: Sequence[FitResult]) -> str:
    """Return one line per fit: what each tool is worth as an input."""
    rows = []
    for r in results:
        after = r.validation.after
        codes = [x.code for x in r.reasons if x.consequence != "flag"]
        rows.append(
            [
                r.inputs[0],
                r.form,
                "-" if after is None else _number(after.mape_pct),
                "-" if after is None else _number(after.above_idle_mape_pct),
                r.verdict,
                ", ".join(codes[:2]),
            ]
        )
    header = ["--input", "form", "MAPE %", "idle+ %", "verdict", "because"]
    return (
        "each tool fitted alone, errors on held-out groups:\n\n"
        + table(header, rows, right="llrrll")
        + "\n\nchoose one: wattcal fit ... --input ID -o profile.json"
    )


def choices_text(result: FitResult) -> str:
    """Return what the fit decided by itself, and why."""
    return "\n".join(["choices that the fit made:", *[_wrap(c, "  ") for c in result.choices]])


def budget_text(result: FitResult) -> str:
    """Return the budget of a corrected power at the middle of the domain, one row a source."""
    from ..analysis.budget import power_budget

    if result.model is None or result.domain is None:
        return "no uncertainty budget: the numbers determine no model"
    at = {k: 0.5 * (low + high) for k, (low, high) in result.domain.inputs.items()}
    window_s = result.domain.min_averaging_s
    budget = power_budget(result, at, window_s)
    rows = [
        [
            r.symbol,
            f"{r.value:.5g}" if r.value else "0",
            f"{r.u:.2g} {'' if r.unit == '1' else r.unit}".rstrip(),
            f"{r.type} {r.distribution.replace('rectangular', 'rect.')}",
            f"{r.sensitivity:.4g}",
            "inf" if r.dof is None else f"{r.dof:.3g}",
            r.correlation.replace("within_", ""),
            f"{r.contribution:+.2g}" if r.contribution < 0 else f"{r.contribution:.2g}",
        ]
        for r in budget.rows
    ]
    header = ["source", "value", "u", "type", "sens.", "dof", "shared", "adds W"]
    where = ", ".join(f"{k} = {v:.4g}" for k, v in at.items())
    dof = "infinite" if budget.dof >= 1e5 else f"{budget.dof:.3g}"
    lines = [
        _wrap(f"uncertainty budget of a mean power over {window_s:g} s at {where}:"),
        "",
        table(header, rows, right="lrrlrrlr"),
        "",
        f"{budget.value:.5g} W, u = {budget.u:.2g} W, {dof} degrees of freedom, "
        f"k = {budget.k:.3g}, U = {budget.expanded:.2g} W",
        _wrap(
            "adds W: sensitivity x u; squares add to u², a negative row is taken away "
            "(the coefficients' errors oppose each other). shared: what has the same error."
        ),
    ]
    for r in budget.rows:
        if r.correlation != "full" or not r.source.startswith("fit"):
            lines.append(_wrap(f"{r.symbol}: {r.source}", "  "))
    return "\n".join(lines)


def explain_text() -> str:
    """Return the table of all reasons with threshold, source and consequence."""
    from ..analysis.verdict import RULES

    lines = ["reasons that a verdict may give:"]
    for rule in RULES.values():
        lines.append(
            _wrap(f"{rule.code} ({rule.consequence}): {rule.text}. Why: {rule.source}.", "  ")
        )
    return "\n".join(lines)


def verification_text(result: Verification) -> str:
    """Return a verification."""
    v = result
    if v.n == 0:
        return _wrap(f"{v.profile}: no point could be corrected: {'; '.join(v.flags)}")
    rows = [
        ["points", f"{v.n} ({v.refused} refused, {v.outside} outside the domain)"],
        ["bias", f"{_number(v.bias_w, sign=True)} W"],
        ["RMSE", f"{_number(v.rmse_w)} W"],
        ["MAPE, max", f"{_number(v.mape_pct)} %, {_number(v.max_abs_pct)} %"],
        ["total energy", f"{_number(v.energy_error_pct, sign=True)} %"],
        ["largest |E_n|", f"{_number(v.e_n_max)}, {_number(v.e_n_passed_pct)} % of points <= 1"],
        ["inside U", f"{_number(v.coverage_95_pct)} %"],
        ["verdict", "passed" if v.passed else "FAILED: fewer than 95 % of points with |E_n| <= 1"],
    ]
    text = table([v.profile, ""], rows)
    return "\n".join([text, *[_wrap(f"flag: {f}") for f in v.flags], *_chart_lines(v)])


_CHARTED = {"power": "power", "baseline": "idle (offset)", "above_idle": "above idle (gain)"}


def _chart_lines(v: Verification) -> list[str]:
    """Return the control charts: a row a run, a column a quantity, and what follows from them."""
    if not v.charts:
        return []
    names = list(dict.fromkeys(n for c in v.charts for n in c.runs))
    known = [dict(zip(c.runs, c.e_n, strict=True)) for c in v.charts]
    rows = [[n[-30:], *[_number(k.get(n), 2, sign=True) for k in known]] for n in names]
    head = ["run, in order of time", *[f"E_n {_CHARTED[c.quantity]}" for c in v.charts]]
    lines = ["", table(head, rows, right="l" + "r" * len(v.charts))]
    for c in v.charts:
        what, remedy = _CHARTED[c.quantity], "calibrate anew"
        if c.quantity == "baseline":
            remedy = "re-zero the profile (wattcal rezero)"
        if c.outside:
            more = f" and {len(c.outside) - 2} more" if len(c.outside) > 2 else ""
            lines.append(_wrap(f"{what}: |E_n| > 1 in {', '.join(c.outside[:2])}{more}: {remedy}"))
        elif c.trend is not None:
            lines.append(_wrap(f"{what}: CUSUM alarm at {c.trend}: each run is inside, but they "
                               f"lie on one side: {remedy}"))  # fmt: skip
        else:
            lines.append(_wrap(f"{what}: no alarm (a false one in {c.false_alarm_runs:.0f} runs "
                               "on average); the profile may be extended"))  # fmt: skip
    return lines
