"""A plan: what the machine is told to do, for how long, in which order; pure data.

    name = "mine"
    seed = 1
    warm_up_s = 2.0      # all streams record, nothing is told to the machine yet
    settle_s = 4.0       # trimmed from the beginning of every step before it counts
    [[step]]
    workload = "idle"
    level = 0.0
    duration_s = 20.0
    purpose = "measure"  # the default; or "sync", "warm-up", "observe": these give no points

Two plans with the same hash tell a machine the same things at the same times. The order of steps
stands in the plan itself, so that it never depends on a library's random numbers; the seed says
how it was made.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ..errors import InputError

__all__ = [
    "COMMAND",
    "IDLE",
    "Plan",
    "PlanStep",
    "Purpose",
    "from_mapping",
    "from_toml",
    "to_mapping",
    "to_toml",
]

IDLE = "idle"
COMMAND: Final = "cmd:"
"""What the name of a workload begins with that is a command of the user's own."""
Purpose = Literal["measure", "sync", "warm-up", "observe"]
_PURPOSES: Final[tuple[str, ...]] = get_args(Purpose)


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One thing to do: `workload` at `level` (0 to 1, the share of time it is busy) for a time.

    `purpose` is `measure` for a step that becomes a point; `sync` for a piece of a sync preamble;
    `warm-up` for a load that may end early, once the machine is thermally steady (`duration_s` is
    then the most it may take); `observe` for a time in which the machine does its own work.
    """

    workload: str
    level: float
    duration_s: float
    purpose: Purpose = "measure"

    def __post_init__(self) -> None:
        """Refuse a step that no machine can carry out."""
        spaced = any(c.isspace() for c in self.workload)
        if not self.workload or (spaced and not self.workload.startswith(COMMAND)):
            raise InputError(
                f"A step's workload must be a name without spaces, or {COMMAND}COMMAND; "
                f"got {self.workload!r}."
            )
        if self.purpose not in _PURPOSES:
            raise InputError(
                f"The purpose of {self.workload} must be one of {', '.join(_PURPOSES)}; "
                f"got {self.purpose!r}."
            )
        if not (0.0 <= self.level <= 1.0):
            raise InputError(
                f"The level of {self.workload} must lie between 0 and 1; got {self.level}."
            )
        if not (0.0 < self.duration_s < math.inf):
            raise InputError(
                f"The duration of {self.workload} must be a positive number of seconds; "
                f"got {self.duration_s}."
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order, after `warm_up_s` seconds in which nothing is asked of the machine.

    `settle_s` is cut from the beginning of each step before it counts: the meter's window, its
    lag and the machine's own settling must fit into it.
    """

    name: str
    seed: int
    steps: tuple[PlanStep, ...]
    warm_up_s: float = 0.0
    settle_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a plan whose steps are all settling time."""
        if not self.name:
            raise InputError("A plan needs a name; got an empty one.")
        if not self.steps:
            raise InputError(f"Plan {self.name} has no steps; give it at least one [[step]].")
        for key, value in (("warm_up_s", self.warm_up_s), ("settle_s", self.settle_s)):
            if not (0.0 <= value < math.inf):
                raise InputError(f"{key} of plan {self.name} must be 0 or more; got {value}.")
        if sum(s.purpose == "warm-up" for s in self.steps) > 1:
            raise InputError(f"Plan {self.name} must have at most one warm-up step; it has more.")
        shortest = min((s.duration_s for s in self.measured), default=math.inf)
        if self.settle_s >= shortest:
            raise InputError(
                f"settle_s of plan {self.name} is {self.settle_s:g} s, but its shortest step lasts "
                f"{shortest:g} s: nothing would remain. Lengthen the steps or settle for less."
            )

    @property
    def measured(self) -> tuple[PlanStep, ...]:
        """Return the steps that become points."""
        return tuple(s for s in self.steps if s.purpose == "measure")

    @property
    def total_s(self) -> float:
        """Return how long the plan takes at most, warm-up included, s."""
        return self.warm_up_s + math.fsum(s.duration_s for s in self.steps)

    @property
    def workloads(self) -> tuple[str, ...]:
        """Return the names of its workloads, in the order of their first appearance."""
        return tuple(dict.fromkeys(s.workload for s in self.steps))

    @property
    def sha256(self) -> str:
        """Return the hash of everything that the plan says, in hexadecimal."""
        text = json.dumps(to_mapping(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def to_mapping(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data; every number of seconds and level is a float."""
    return {
        "name": plan.name,
        "seed": plan.seed,
        "warm_up_s": float(plan.warm_up_s),
        "settle_s": float(plan.settle_s),
        "step": [
            {
                "workload": s.workload,
                "level": float(s.level),
                "duration_s": float(s.duration_s),
                # Only where it says something: a plan of plain steps keeps its hash.
                **({} if s.purpose == "measure" else {"purpose": s.purpose}),
            }
            for s in plan.steps
        ],
    }


def to_toml(plan: Plan) -> str:
    """Return the plan as TOML; `from_toml` reads the same plan back."""
    lines = [
        f"name = {json.dumps(plan.name)}",
        f"seed = {plan.seed}",
        f"warm_up_s = {float(plan.warm_up_s)!r}",
        f"settle_s = {float(plan.settle_s)!r}",
    ]
    for step in plan.steps:
        lines += [
            "",
            "[[step]]",
            f"workload = {json.dumps(step.workload)}",
            f"level = {float(step.level)!r}",
            f"duration_s = {float(step.duration_s)!r}",
        ]
        if step.purpose != "measure":
            lines.append(f'purpose = "{step.purpose}"')
    return "\n".join(lines) + "\n"


def from_toml(text: str, *, source: str = "the plan") -> Plan:
    """Read a plan from TOML.

    Raises:
        InputError: the text is not TOML, or not a plan; the message names the field.

    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"Expected {source} to be TOML; it is not: {error}.") from None
    return from_mapping(value, source=source)


def from_mapping(value: Mapping[str, Any], *, source: str = "the plan") -> Plan:
    """Build a plan from plain data, such as a run's `start` document holds.

    Raises:
        InputError: a field is missing, unknown or of the wrong type; the message names it.

    """
    known = {"name": str, "seed": int, "warm_up_s": float, "settle_s": float, "step": list}
    top = _checked(value, known, required=("name", "step"), where=source)
    steps = []
    for number, body in enumerate(top["step"], start=1):
        where = f"step {number} of {source}"
        if not isinstance(body, Mapping):
            raise InputError(f"Expected {where} to be a table; got {body!r}.")
        fields = {"workload": str, "level": float, "duration_s": float, "purpose": str}
        checked = _checked(body, fields, required=("workload", "duration_s"), where=where)
        if checked["workload"] != IDLE and "level" not in checked:
            raise InputError(f"Expected a level (0 to 1) in {where}; it is missing.")
        steps.append(PlanStep(**{"level": 0.0, **checked}))
    return Plan(
        name=top["name"],
        seed=top.get("seed", 0),
        steps=tuple(steps),
        warm_up_s=top.get("warm_up_s", 0.0),
        settle_s=top.get("settle_s", 0.0),
    )


def _checked(
    value: Mapping[str, Any],
    known: Mapping[str, type],
    *,
    required: tuple[str, ...],
    where: str,
) -> dict[str, Any]:
    """Return the fields with integers widened to floats where seconds are wanted."""
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise InputError(f"{where} has unknown fields {unknown}; known are {sorted(known)}.")
    missing = [k for k in required if k not in value]
    if missing:
        raise InputError(f"Expected {', '.join(missing)} in {where}; it is missing.")
    out = {}
    for key, item in value.items():
        wanted = known[key]
        if wanted is float and isinstance(item, int) and not isinstance(item, bool):
            item = float(item)
        if not isinstance(item, wanted) or isinstance(item, bool):
            raise InputError(
                f"Expected {key} in {where} to be of type {wanted.__name__}; got {item!r}."
            )
        out[key] = item
    return out
