"""What the catalogue says of one instrument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Entry", "Evidence"]

Evidence: TypeAlias = tuple[Literal["real", "spec", "calc", "crosscheck"], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One instrument: what it is, where its code lives, and what stands behind the driver.

    `driver` and `emulator` are `module:Class`; a module that begins with a dot lies in this
    package. `evidence` says, per item, what kind it is (`real`: bytes of real hardware; `spec`:
    the maker's document; `calc`: frames computed from it; `crosscheck`: another implementation)
    and where it is found. `preset` holds the keyword arguments that make driver and emulator of
    a family this model, for example `{"variant": "sdm230"}`. `bridges` are the USB ids
    (`vid:pid`) of the bridge built into the meter; empty where it sits behind any adapter.

    A driver class takes a `Transport`, `now_ns` and options, and says as class attributes how its
    line is set: `baud`, and where they differ from 8N1 without handshake `parity`, `stopbits`,
    `rtscts`, and the states of the lines `dtr` and `rts`; `speaks = "http"` where it has no line.
    `bauds` (and `parities`) are what to try when the port is opened and the address names no speed.
    `channels` is the table of its quantities; of a model with a preset it is what the static
    method `channels_of(**preset)` returns.

    An emulator class is called with the power in W (a constant or a function of monotonic seconds)
    and, by name, `link`, `faults`, `now_ns` and options; its `device`, called with the power and
    the options, makes the bare instrument.
    """

    model: str
    family: str
    manufacturer: str
    interfaces: tuple[str, ...]
    quantities: tuple[str, ...]
    driver: str
    emulator: str | None
    evidence: tuple[Evidence, ...]
    preset: Mapping[str, str | int | float] = field(default_factory=dict)
    bridges: tuple[str, ...] = ()
