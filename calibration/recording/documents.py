"""The documents of a run: what `run.jsonl` holds, one JSON object a line.

A run is `start`, one `descriptor` per stream, any number of `clock`, `step`, `fault` and `cost`
documents, and one `stop`. They are frozen dataclasses here and plain JSON on
disk; `to_json` and `from_json` are inverse, and every key is always present (`null` where there
is no value). The JSON Schema is `calibration/schema/run-1.0.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeAlias

from ..errors import RunError

__all__ = [
    "SCHEMA_VERSION",
    "ChannelInfo",
    "Clock",
    "Cost",
    "Derived",
    "Descriptor",
    "Document",
    "Fault",
    "SourceCost",
    "Start",
    "Step",
    "Stop",
    "from_json",
    "meter_input",
    "to_json",
]

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelInfo:
    """What one column of a stream means.

    `kind`, `window_s`, `stamp_at` decide the integral; `resolution` and `accuracy` (the fields of
    `drivers.reading.Accuracy` as a mapping) feed the uncertainty; `wrap` is the modulus of a
    counter in `unit`; `scale` is the exact ratio (numerator, denominator) from stored integers to
    `unit`, `null` when the column already holds `unit`; `observed_share` is the part of the time
    that lies inside some averaging window of the source; `input` is the id under which the channel
    enters points and profiles (`rapl_package`, `codecarbon_cpu`, ...); `assumed` names
    fields that stand in no source.
    """

    name: str
    quantity: str
    unit: str
    kind: Literal["counter", "mean", "instant"]
    window_s: float | None = None
    stamp_at: Literal["start", "middle", "end"] = "end"
    resolution: float | None = None
    accuracy: Mapping[str, Any] | None = None
    wrap: float | None = None
    scale: tuple[int, int] | None = None
    observed_share: float = 1.0
    plausible: tuple[float, float] | None = None
    range_max: float | None = None
    input: str | None = None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A channel that the reader computes: the sum over `terms` of the product of the named columns.

    `terms` is a tuple of tuples of channel names, for example `(("pcie1_v", "pcie1_i"),)`.
    """

    channel: ChannelInfo
    terms: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The head of a run: who, when, with what, and whether any of it is simulated.

    `setup` says how the bench was set up: `reference` (the expression, such as `psu-a+psu-b`),
    `compare` (meters under test), `operator`, `machine` (its nickname), `full_w`, `ambient_c`.
    """

    uid: str
    t_wall_ns: int
    data_kind: Literal["measured", "simulated"]
    session: str
    schema_version: str = SCHEMA_VERSION
    plan: Mapping[str, Any] | None = None
    seed: int | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None
    source: Mapping[str, Any] | None = None
    setup: Mapping[str, Any] = field(default_factory=dict)
    type: ClassVar[str] = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What the columns of one stream mean, written before its first sample.

    `arrival` is `polled` (each row has its own request and reply instants) or `streamed` (rows
    carry unwrapped `device_ticks` of a clock of `tick_rate_hz`). `mode` and `scope` matter for
    estimators: how the number is made, and what it can see. `traceability` says of a meter at which
    level it stands (`none` where the laboratory has not written it down), with its `certificate`,
    whether that has `expired`, and the `correction` that is known; `null` in older runs.
    """

    stream: str
    role: Literal["meter", "estimator", "sensor"]
    source: str
    channels: tuple[ChannelInfo, ...]
    boundary: str | None = None
    derived: tuple[Derived, ...] = ()
    arrival: Literal["polled", "streamed"] = "polled"
    cadence_s: float | None = None
    tick_rate_hz: float | None = None
    mode: str | None = None
    scope: tuple[str, ...] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    traceability: Mapping[str, Any] | None = None
    type: ClassVar[str] = "descriptor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """One look at all clocks; a suspend shows in `boottime_ns`, a step in `wall_ns` only."""

    monotonic_ns: int
    boottime_ns: int
    wall_ns: int
    boot_id: str | None
    type: ClassVar[str] = "clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the workload was told, when, and what it says it did."""

    index: int
    workload: str
    level: float | None
    t_start_ns: int
    t_end_ns: int
    settle_s: float = 0.0
    achieved: Mapping[str, Any] = field(default_factory=dict)
    type: ClassVar[str] = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What went wrong for a while; a fault of one sample stands in its own row instead."""

    stream: str | None
    code: str
    message: str
    t_opened_ns: int
    t_ended_ns: int | None = None
    count: int = 1
    type: ClassVar[str] = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCost:
    """What one source cost: the processor time of its thread here, and of a process of its own.

    `jitter_p50_s` and `jitter_p99_s` say how far from its tick half, and 99 in 100, of its samples
    were taken; of a tool that measures when it likes, how far from its cadence. They are upper
    edges of bins that grow by 9 %, and `null` for a stream of blocks.
    """

    stream: str
    cpu_s: float
    child_cpu_s: float | None = None
    child_rss_bytes: int | None = None
    jitter_p50_s: float | None = None
    jitter_p99_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the observation cost so far: processor time since the recording began.

    `process_cpu_s` is all of the recorder's process; `writer_cpu_s` its thread that keeps the
    files, `plan_cpu_s` the one that follows the plan, without `view_cpu_s`, the live view.
    """

    t_ns: int
    elapsed_s: float
    process_cpu_s: float
    writer_cpu_s: float
    plan_cpu_s: float
    view_cpu_s: float
    sources: tuple[SourceCost, ...] = ()
    type: ClassVar[str] = "cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The seal: how the run ended, and the SHA-256 and rows of every stream's Parquet file."""

    t_wall_ns: int
    exit_status: Literal["success", "abort", "fail"]
    reason: str | None
    rows: Mapping[str, int]
    sha256: Mapping[str, str]
    faults: Mapping[str, int] = field(default_factory=dict)
    type: ClassVar[str] = "stop"


Document: TypeAlias = Start | Descriptor | Clock | Step | Fault | Cost | Stop

_TYPES: dict[str, type[Any]] = {
    c.type: c for c in (Start, Descriptor, Clock, Step, Fault, Cost, Stop)
}


def to_json(document: Document) -> dict[str, Any]:
    """Return the document as a JSON object, its `type` first."""
    return {"type": document.type, **asdict(document)}


def from_json(value: Mapping[str, Any]) -> Document:
    """Build the document that a JSON object describes.

    Raises:
        RunError: the type is unknown, or a key is missing, unknown or of the wrong shape.

    """
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise RunError(
            f"Expected a document of type {', '.join(_TYPES)}; got {kind!r}. "
            "The file is not a run, or was written by a newer version."
        )
    body = {k: v for k, v in value.items() if k != "type"}
    try:
        if kind == "descriptor":
            body["channels"] = tuple(_channel(c) for c in body["channels"])
            body["derived"] = tuple(
                Derived(channel=_channel(d["channel"]), terms=tuple(tuple(t) for t in d["terms"]))
                for d in body.get("derived", ())
            )
            body["scope"] = tuple(body.get("scope", ()))
        if kind == "cost":
            body["sources"] = tuple(SourceCost(**s) for s in body["sources"])
        document: Document = _TYPES[kind](**body)
    except (TypeError, KeyError, ValueError) as error:
        wanted = ", ".join(f.name for f in fields(_TYPES[kind]))
        raise RunError(
            f"A {kind} document needs {wanted}; this one does not fit: {error}."
        ) from None
    return document


def meter_input(stream: str) -> str:
    """Return the id under which a meter under test enters points and profiles.

    It is the name of its stream in the letters of an input's id: `plug-2` becomes `plug_2`.
    """
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in stream.lower())
    return name if name[:1].isalpha() else f"meter_{name}"


def _channel(value: Mapping[str, Any]) -> ChannelInfo:
    body = dict(value)
    for key in ("scale", "plausible"):
        if body.get(key) is not None:
            body[key] = tuple(body[key])
    body["assumed"] = tuple(body.get("assumed", ()))
    return ChannelInfo(**body)
