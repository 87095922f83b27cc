"""From an instrument's channels to the descriptor that stands in the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeGuard

from ..instruments import Accuracy, Channel, DriverError, Meter, StreamingMeter, Transient
from ..recording.documents import ChannelInfo, Derived, Descriptor

__all__ = [
    "UNTRACED",
    "MeterNotes",
    "default_cadence_s",
    "descriptor_from_meter",
    "identity_of",
    "is_streaming",
    "observed_share",
]

_TRIES: Final = 3
UNTRACED: Final[Mapping[str, Any]] = {
    "level": "none",
    "certificate": None,
    "expired": False,
    "correction": None,
}
"""What is known of a meter that does not stand in lab.toml."""


@dataclass(frozen=True, slots=True)
class MeterNotes:
    """What the laboratory has written down of a meter that the meter itself does not say."""

    identity: Mapping[str, str] = field(default_factory=dict)
    boundary: str | None = None
    traceability: Mapping[str, Any] | None = None


def is_streaming(meter: Meter | StreamingMeter) -> TypeGuard[StreamingMeter]:
    """Return whether the instrument talks by itself."""
    return hasattr(meter, "read_block")


def identity_of(meter: Meter | StreamingMeter) -> Mapping[str, str]:
    """Ask a meter who it is, again after a disturbed answer.

    Raises:
        DriverError: it is not there, or stays silent.

    """
    for _ in range(_TRIES - 1):
        try:
            return meter.identify()
        except DriverError as error:
            if not isinstance(error, Transient):
                raise
    return meter.identify()


def default_cadence_s(meter: Meter | StreamingMeter) -> float:
    """Return how often a polled instrument is asked: once per refresh, 0.05 s to 60 s.

    Of a quantity whose refresh is not known the averaging window stands in; where neither is
    known, one second.
    """
    periods = [c.refresh_s or c.window_s for c in meter.channels if c.kind != "counter"]
    return min(max(min((p for p in periods if p is not None), default=1.0), 0.05), 60.0)


def observed_share(channel: Channel, cadence_s: float | None) -> float:
    """Return which part of the time lies inside some averaging window of the channel, 0 to 1.

    A window is looked at once per poll (`cadence_s`; None: whatever comes), and a new one exists
    once per refresh. A counter accumulates all the time; an instant has no window, its samples are
    joined by straight lines.
    """
    if channel.kind != "mean" or channel.window_s is None:
        return 1.0
    between_s = max(cadence_s or 0.0, channel.refresh_s or 0.0, channel.window_s)
    return channel.window_s / between_s


def descriptor_from_meter(
    stream: str,
    meter: Meter | StreamingMeter,
    *,
    boundary: str = "psu_ac_input",
    cadence_s: float | None = None,
    identity: Mapping[str, str] | None = None,
    traceability: Mapping[str, Any] | None = None,
) -> Descriptor:
    """Return what the columns of a meter's stream mean.

    A streaming instrument with rails of voltage and current (`<rail>_v`, `<rail>_i`) has their
    power, `power_w`, as a channel that the reader computes. `traceability` is what the laboratory
    knows of the meter; of one that nobody wrote down nothing is known.
    """
    streaming = is_streaming(meter)
    derived = _power_of_rails(meter.channels) if streaming else ()
    if not streaming:
        cadence_s = cadence_s or default_cadence_s(meter)
    return Descriptor(
        stream=stream,
        role="meter",
        source=meter.model,
        channels=tuple(_info(c, cadence_s, raw=streaming) for c in meter.channels),
        boundary=boundary,
        derived=derived,
        arrival="streamed" if streaming else "polled",
        cadence_s=None if streaming else cadence_s,
        tick_rate_hz=getattr(meter, "tick_rate_hz", None),
        identity=dict(identity or {}),
        traceability=dict(traceability or UNTRACED),
    )


def _info(channel: Channel, cadence_s: float | None, *, raw: bool) -> ChannelInfo:
    """Return one channel; only raw integers keep their scale, a reading is scaled already."""
    return ChannelInfo(
        name=channel.name,
        quantity=channel.quantity,
        unit=channel.unit,
        kind=channel.kind,
        window_s=channel.window_s,
        stamp_at=channel.stamp_at,
        resolution=channel.resolution,
        accuracy=None if channel.accuracy is None else _accuracy(channel.accuracy),
        wrap=channel.wrap,
        scale=channel.scale.as_integer_ratio() if raw else None,
        observed_share=observed_share(channel, None if raw else cadence_s),
        range_max=channel.range_max,
        assumed=channel.assumed,
    )


def _accuracy(accuracy: Accuracy) -> dict[str, Any]:
    """Return the limit's terms; what settings do to them the open instrument has put in already."""
    terms = asdict(accuracy)
    for setting in ("crest_6", "line_filter"):
        del terms[setting]
    return terms


def _power_of_rails(channels: tuple[Channel, ...]) -> tuple[Derived, ...]:
    by_name = {c.name: c for c in channels}
    rails = [n.removesuffix("_v") for n in by_name if n.endswith("_v")]
    terms = tuple((f"{r}_v", f"{r}_i") for r in rails if f"{r}_i" in by_name)
    if not terms or "power_w" in by_name:
        return ()
    voltage = by_name[terms[0][0]]
    return (
        Derived(
            channel=ChannelInfo(
                name="power_w",
                quantity="power",
                unit="W",
                kind=voltage.kind,
                window_s=voltage.window_s,
                stamp_at=voltage.stamp_at,
                assumed=voltage.assumed,
            ),
            terms=terms,
        ),
    )
