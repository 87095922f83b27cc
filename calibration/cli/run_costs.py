"""What `wattcal runs show` says of the cost of the observation itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .output import table

if TYPE_CHECKING:
    from ..recording.documents import Cost
    from ..recording.reader import Run

__all__ = ["cost_document", "cost_lines", "observer_document", "observer_line"]


def cost_document(cost: Cost | None) -> dict[str, Any] | None:
    """Return the costs as JSON; shares are of one core over the recording."""
    if cost is None:
        return None
    elapsed_s = cost.elapsed_s or float("nan")
    own_s = cost.writer_cpu_s + cost.plan_cpu_s + sum(s.cpu_s for s in cost.sources)
    return {
        "elapsed_s": cost.elapsed_s,
        "process_cpu_s": cost.process_cpu_s,
        "recorder_cpu_s": own_s,
        "recorder_share": own_s / elapsed_s,
        "writer_cpu_s": cost.writer_cpu_s,
        "plan_cpu_s": cost.plan_cpu_s,
        "view_cpu_s": cost.view_cpu_s,
        "sources": [asdict(s) for s in cost.sources],
    }


def cost_lines(document: dict[str, Any]) -> list[str]:
    """Return the lines that a person reads."""
    elapsed_s = document["elapsed_s"] or float("nan")

    def share(seconds: float | None) -> str:
        return "" if seconds is None else f"{100 * seconds / elapsed_s:.2f}"

    rows = [
        (
            f"  {s['stream']}",
            share(s["cpu_s"]),
            share(s["child_cpu_s"]),
            _ms(s["jitter_p50_s"]),
            _ms(s["jitter_p99_s"]),
        )
        for s in document["sources"]
    ]
    rows += [
        ("  (files)", share(document["writer_cpu_s"]), "", "", ""),
        ("  (plan)", share(document["plan_cpu_s"]), "", "", ""),
        ("  (live view)", share(document["view_cpu_s"]), "", "", ""),
    ]
    header = ("  cost", "% of a core", "its own process", "jitter p50 ms", "p99 ms")
    return [
        table(header, rows, right="lrrrr"),
        f"the recorder and its adapters: {share(document['recorder_cpu_s'])} % of a core, with "
        f"everything else in its process {share(document['process_cpu_s'])} %",
    ]


def observer_document(run: Run) -> list[dict[str, Any]] | None:
    """Return what each source cost at the meter; `null` where the run was not made to tell."""
    from ..analysis.observer import observer_costs

    if not any("sources" in s.achieved for s in run.steps):
        return None
    return [asdict(cost) for cost in observer_costs(run)]


def observer_line(cost: dict[str, Any]) -> str:
    """Return the sentence on one source."""
    n, expanded_w = cost["n"], cost["expanded_w"]
    if cost["measurable"]:
        return (
            f"{cost['stream']} costs {cost['cost_w']:.2g} W at {cost['meter']}, "
            f"U = {expanded_w:.2g} W (95 %, n = {n})"
        )
    bound_w = abs(cost["cost_w"]) + expanded_w
    return (
        f"{cost['stream']}: no cost at {cost['meter']} that could be measured; it lies below "
        f"{bound_w:.2g} W (95 %, n = {n})"
    )


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.3g}"
