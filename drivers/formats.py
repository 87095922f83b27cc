"""How a driver shows its wire formats, so that they can be tried on bytes that no meter sends.

A driver module has `FORMATS`, a mapping from a name to a `Format` (answers and lines: a parser with
three verdicts) or a `Stream` (a decoder that is fed). Fuzzing and the property tests find them
through the catalogue; a driver without `FORMATS` fails there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .wire import Parser

if TYPE_CHECKING:  # it needs numpy, and drivers of polled meters do not
    from .stream import StreamDecoder

__all__ = ["Format", "Stream"]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of frame: how it is recognised, opened, and what whole ones look like.

    `parse` judges bytes and never raises. `decode` turns the payload of a frame into values and
    raises nothing but a `DriverError`. `examples` are whole frames, real ones first. `checked` says
    that a checksum covers every bit of the frame: no flipped bit in it may ever be accepted.
    """

    parse: Parser
    examples: tuple[bytes, ...]
    checked: bool
    decode: Callable[[bytes], object] | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of samples: `decoder` makes a fresh decoder, `examples` are stretches of it."""

    decoder: Callable[[], StreamDecoder]
    examples: tuple[bytes, ...]
