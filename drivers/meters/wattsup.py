"""Watts Up? PRO, PRO ES, .Net (Electronic Educational Devices): a plug meter, once a second.

Seen: nothing of a real one ourselves. The packet in `tests/tapes/wattsup_published_reading.tape`
was published by others, as was the one post of a .Net meter that fixes the units (119.9 V, 0.381 A,
45.8 VA).

Sources: "Watts up? serial communication protocol", revision 4.41 (gitpan/WattsUp-Daemon@142da97
`doc/wattsup_spec_v442.txt`); wattsup-vmw 0.3 and three other readers, for how streaming is
stopped; the maker's leaflet, for the accuracy.

Wire, FT232R inside (0403:6001), 8N1, 115200 baud, 19200 on hardware of minor revision 1:

    packet   # C1 , C2 , N , A1 , ... , AN ;      commands upper case, answers lower case

    #V,R,0;      -> #v,-,8,model,memory,hw major,minor,fw major,minor,stamp,checksum;
    #H,R,0;      -> #h,-,18,W,V,A,WH,Cost,WH/Mo,Cost/Mo,Wmax,Vmax,Amax,Wmin,Vmin,Amin,
                        PF,DC,PC,Hz,VA;
    #C,R,0;      -> #c,-,18,...;                  1 where the field is logged
    #L,W,3,E,,n; -> #d,-,18,...; every n seconds
    #L,R,0;         ends that

N counts the arguments only; 16 on old firmware, without Hz and VA. Values are whole numbers: W, V,
WH, Hz and VA in tenths, A in thousandths, PF in hundredths; `_` is a value that is not logged.

The window stands in no source; one second is assumed. A packet is stamped by its arrival, and the
packets count the seconds between them.

There is no checksum. Consistency checks: the number of arguments against N and against the names of
#h; nothing but digits or `_`; the ranges of the specification; the power against voltage x current;
apparent power and power factor against both; the voltage against the one before; the energy against
the power and the time. With all fields logged they let through 0.5 % of the packets in which one
byte was replaced by another and a value that is read differs, and 5.5 % of those with one flipped
bit; with six fields, 0.4 % and 4.6 % (`benchmarks/unchecked.py`).

Quirks
- Whatever stands outside `#...;` is noise, and CR, LF and TAB inside a packet are too.
- The specification says both "amps * 10" and "thousandths of amps"; readings prove thousandths.
- Below 60 W current and power factor degrade: a published reading has 12.4 W at 119.1 V and 97 mA,
  which are 11.6 VA. The check allows for it.
- `EED05F01 $Revision: ...` without `#` is the banner of a restart: `reboot`.
- How streaming is stopped stands in no specification. This driver sends Ctrl-X and `#L,R,0;` and
  listens until it is quiet; so at open, where a killed program may have left it on, and at close.
- Energy counts tenths of a watt-hour, 360 J: integrate the power over short runs.
- `#C,W`, `#L,W,3,I`, `#O,W` and `#R,W` clear its memory and are never sent; external logging
  does not touch it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Final

from ..accuracy import PLUG_METER, Accuracy
from ..errors import Refused, TransportError, Unsupported
from ..formats import Format, Stream
from ..reading import Block, Channel
from ..stream import take_block
from ..transport import Transport
from ..wire import ask, drain
from .wattsup_packets import (
    FIELDS,
    PacketDecoder,
    parse_data,
    parse_reply,
)

__all__ = ["CHANNELS", "FORMATS", "WattsUp"]

_LEAFLET: Final = "Watts up? leaflet: 1.5 % and 3 counts"
_REPLY_S: Final = 2.0  # of the specification
_MODELS: Final = ("Standard", "PRO", "PRO ES", ".Net", "Blind")
_ABORT: Final = b"\x18"
_STOP: Final = b"#L,R,0;"


def _channel(
    name: str,
    quantity: str,
    unit: str,
    scale: Fraction,
    low: float,
    high: float,
    accuracy: Accuracy = PLUG_METER,
) -> Channel:
    counter = quantity == "energy"
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind="counter" if counter else "mean",
        scale=scale,
        resolution=float(scale),
        accuracy=accuracy,
        window_s=None if counter else 1.0,
        refresh_s=1.0,
        range_min=low,
        range_max=high,
        assumed=("accuracy",) if counter else ("window_s", "stamp_at"),
    )


# By the name that #h gives the field; ranges are those of the specification.
_TABLE: Final = {
    "W": _channel(
        "power_w", "power", "W", Fraction(1, 10), 0.0, 5000.0,
        Accuracy(of_reading=0.015, counts=3.0, source=_LEAFLET),
    ),
    "V": _channel("voltage_v", "voltage", "V", Fraction(1, 10), 90.0, 280.0),
    "A": _channel("current_a", "current", "A", Fraction(1, 1000), 0.0, 20.0),
    "WH": _channel("energy_j", "energy", "J", Fraction(360), 0.0, (2**31 - 1) * 360.0),
    "PF": _channel("power_factor", "power_factor", "1", Fraction(1, 100), 0.0, 1.0),
    "Hz": _channel("frequency_hz", "frequency", "Hz", Fraction(1, 10), 40.0, 70.0),
    "VA": _channel("apparent_power_va", "apparent_power", "VA", Fraction(1, 10), 0.0, 5000.0),
}  # fmt: skip
CHANNELS: Final = tuple(_TABLE.values())

_REAL: Final = b"#d,-,18,124,1191,97,0,_,_,_,124,_,_,_,_,_,100,_,_,_,_;"
_COMPUTED: Final = b"#d,-,18,873,1201,764,123,0,0,0,873,1201,764,873,1201,764,95,100,0,599,918;\r\n"
_VERSION: Final = b"#v,-,8,1,65206,5,2,3,14,200612211910,0;"

FORMATS: Final = {
    "version": Format(partial(parse_reply, letter=b"v", count=8), (_VERSION,), checked=False),
    "names": Format(
        partial(parse_reply, letter=b"h"), (b"#h,-,18," + ",".join(FIELDS).encode() + b";",),
        checked=False,
    ),
    "logged": Format(
        partial(parse_reply, letter=b"c"), (b"#c,-,18," + b",".join([b"1"] * 18) + b";",),
        checked=False,
    ),
    "data": Format(parse_data, (_REAL, _COMPUTED[:-2]), checked=False),
    "stream": Stream(
        partial(PacketDecoder, {"W": "power_w", "V": "voltage_v", "A": "current_a"}),
        (_COMPUTED, _REAL),
    ),
}  # fmt: skip


class WattsUp:
    """One Watts Up? on one port; `channels` are the fields that it logs once it has been asked.

    `interval_s` is how often it reports, in whole seconds.
    """

    model = "wattsup"
    baud = 115_200
    bauds = (115_200, 19_200)
    channels: tuple[Channel, ...] = CHANNELS
    tick_modulus = 1 << 62  # it has no clock: packets are counted

    def __init__(
        self,
        transport: Transport,
        *,
        interval_s: int = 1,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not 1 <= interval_s <= 3600:
            raise Unsupported(f"Expected an interval of 1 to 3600 whole seconds; got {interval_s}.")
        self._transport, self._now_ns, self._interval_s = transport, now_ns, interval_s
        self.tick_rate_hz = 1.0 / interval_s
        self._ask = partial(ask, transport, reply_s=_REPLY_S, now_ns=now_ns)
        self._names: dict[str, str] | None = None
        self._count = len(FIELDS)
        self._talks = True  # somebody may have left it reporting
        self._decoder = PacketDecoder({})
        self._t_last_ns = 0

    def identify(self) -> Mapping[str, str]:
        """Ask for version, field names and which of them are logged; stops what is reported.

        Raises:
            Refused: power is not logged.
            Unsupported: its fields have other names than those of the specification.

        """
        self.stop()
        version = self._query(b"#V,R,0;", b"v", 8)
        fields = self._query(b"#H,R,0;", b"h")
        logged = self._query(b"#C,R,0;", b"c", len(fields))
        if tuple(fields) != FIELDS[: len(fields)]:
            raise Unsupported(
                f"{self._transport.name}: expected the fields {','.join(FIELDS)}; "
                f"got {','.join(fields)}."
            )
        names = {
            f: c.name for f, c in _TABLE.items() if f in fields and logged[fields.index(f)] == "1"
        }
        if "W" not in names:
            raise Refused(
                f"{self._transport.name}: this Watts Up? does not log W; switch it on with the "
                "maker's program (which clears its memory)."
            )
        self._names, self._count = names, len(fields)
        self.channels = tuple(c for f, c in _TABLE.items() if f in names)
        kind = int(version[0]) if version[0].isdigit() else len(_MODELS)
        return {
            "model": self.model,
            "variant": _MODELS[kind] if kind < len(_MODELS) else version[0],
            "hardware": f"{version[2]}.{version[3]}",
            "firmware": f"{version[4]}.{version[5]}",
            "fields": " ".join(fields),
            "logged": " ".join(names),
        }

    def start(self) -> None:
        """Let it report every `interval_s` seconds; its memory stays as it is."""
        if self._names is None:
            self.identify()
        self.stop()
        self._decoder = PacketDecoder(
            self._names or {}, count=self._count, interval_s=self._interval_s
        )
        self._transport.write(b"#L,W,3,E,,%d;" % self._interval_s)
        self._talks = True
        self._t_last_ns = self._now_ns()

    def read_block(self) -> Block:
        """Return the next packet as a block of one sample (more where the host was busy).

        Raises:
            Timeout: no packet came for two and a half intervals and a second.
            Desync: bytes came, but no packets.

        """
        block = take_block(
            self._transport,
            self._decoder,
            (c.name for c in self.channels),
            t_before_ns=self._t_last_ns,
            block_s=0.0,
            patience_s=1.0 + 2.5 * self._interval_s,
            now_ns=self._now_ns,
            what="packets of a Watts Up?",
            advice="check its speed (115200 or 19200 baud)",
        )
        self._t_last_ns = block.t_reply_ns
        return block

    def stop(self) -> None:
        """End the reports and drain what is still on its way."""
        if self._talks:
            self._transport.write(_ABORT)
            self._transport.write(_STOP)
            drain(self._transport, 1.6 * self._interval_s, now_ns=self._now_ns)
            self._talks = False

    def close(self) -> None:
        """End the reports and give the port back."""
        with contextlib.suppress(TransportError):
            self.stop()
        self._transport.close()

    def __enter__(self) -> WattsUp:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _query(self, request: bytes, letter: bytes, count: int | None = None) -> Sequence[str]:
        parse = partial(parse_reply, letter=letter, count=count)
        return self._ask(request, parse).payload.decode("ascii").split(",")[3:]
