"""PowerSensor3 (nlesc-recruit): voltage and current of up to four DC rails at 20 kHz.

It sits in the supply lines of a graphics card, a board or a disk: the DC side, never the wall.

Seen: nothing of a real one yet; every frame is computed from the sources.

Sources: nlesc-recruit/PowerSensor3@c5017f9 (1.6.1): `device/PowerSensor/PowerSensor.ino` and
`host/src/PowerSensor.cc`, `sensors.cc`; the frames of `tests/wire/test_powersensor3_frames.py` are
computed from them.

Wire, USB CDC of an STM32 (0483:5740), any speed; commands are single letters:

    V                           -> "F411-1.6.1" CR LF
    R                           -> eight records, any byte of ours after each, then "D"
    S | T | X | M               stream on | off | off, then FF 3F FF 3F | mark the next frame

    record   |type 16|pair name 16|zero V f32|sensitivity f32|in use|   41 bytes, little-endian
    frame    |time|s0|s1|s2|s3|s4|s5|s6|s7|   nine words, 18 bytes, 20,000 a second
    time     |1 111 tttt|0 1 tttttt|          microseconds modulo 1024
    sensor   |1 sss vvvv|0 m vvvvvv|          s its number, v the level, m a marker (sensor 0 only)

Even sensors measure the current of pair s/2, odd ones its voltage: (3.3 V · level/1023 - zero) /
sensitivity. A level is the mean of six conversions over the 50 µs that end at the time stamp.
Power is the product of the two means of one frame.

The maker gives no accuracy: it is that of the calibration. 3 % + 1 level is assumed.

Quirks
- The firmware's comment puts the stamp in the middle of the window; a shadowed variable puts it at
  the end, where this driver has it.
- The clock wraps every 1.024 ms, 20.48 frames. A gap is known only modulo 1.024 ms unless the host
  clock says more: the driver takes the arrival to count the periods and says `desync`. A loss of
  512 frames (25.6 ms), of 471 (a step of 48 µs), or of 512 more than either leaves no trace in the
  stream; the arrival betrays it within two seconds, once five have passed. 41 lost frames look like
  a step of 52 µs, which is taken for a gap.
- A host that stalls for two seconds between records makes the device reset itself.
- Records and frames have no checksum: the records are read twice and must agree. Of a frame the
  fixed bits, the order of the sensors and the step of the clock are checked; 14 % of replaced bytes
  and 57 % of flipped bits change a level unnoticed (`benchmarks/unchecked.py`). USB has a checksum
  of its own underneath.
- A program that was killed leaves the stream running: it is stopped first.
- W (write configuration), Z (reset) and Y (boot loader) are never sent.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from ..errors import Desync, Refused, TransportError
from ..formats import Format, Stream
from ..reading import Block, Channel
from ..stream import take_block
from ..transport import Transport
from ..wire import ask, drain
from .powersensor3_frames import (
    CHANNELS,
    TICK_MODULUS,
    TICK_RATE_HZ,
    Sensor,
    channels,
    decode_record,
    decoder,
    pairs_in_use,
    parse_done,
    parse_record,
    parse_version,
)

__all__ = ["CHANNELS", "FORMATS", "PowerSensor3"]

_QUIET_S: Final = 0.25  # X answers after 0.1 s

FORMATS: Final = {
    "version": Format(parse_version, (b"F411-1.6.1\r\n", b"F407-1.5.0-DEMO\r\n"), checked=False),
    "record": Format(
        parse_record,
        (
            bytes.fromhex("43")
            + bytes(15)
            + b"12V"
            + bytes(13)
            + bytes.fromhex("3333D33F8FC2F53D01"),
            bytes(41),
        ),
        checked=False,
        decode=decode_record,
    ),
    "done": Format(parse_done, (b"D",), checked=False),
    "stream": Stream(
        decoder,
        (
            bytes.fromhex("F46C8A3A9506A000B000C000D000E000F000")
            + bytes.fromhex("F55E8A7A9506A000B000C000D000E000F000"),
        ),
    ),
}


class PowerSensor3:
    """One PowerSensor3 on one port; `channels` are those of its sensors once it has been asked."""

    model = "powersensor3"
    baud = 115_200
    channels: tuple[Channel, ...] = CHANNELS
    tick_rate_hz = TICK_RATE_HZ
    tick_modulus = TICK_MODULUS

    def __init__(
        self,
        transport: Transport,
        *,
        block_s: float = 0.1,
        reply_s: float = 0.5,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport, self._now_ns = transport, now_ns
        self._block_s = block_s
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._sensors: tuple[Sensor, ...] | None = None
        self._streaming = False
        self._decoder = decoder()
        self._t_last_ns = 0

    def identify(self) -> Mapping[str, str]:
        """Ask for firmware and sensors; stops a stream that is running.

        Raises:
            Refused: no pair of sensors is in use.
            Desync: the records differ when they are read a second time.

        """
        self._silence(b"T")
        firmware = self._ask(b"V", parse_version).payload.decode("ascii")
        sensors = self._records()
        if sensors != self._records():
            raise Desync(
                f"{self._transport.name}: the configuration of the PowerSensor3 differs when it is "
                "read again; check the cable."
            )
        if not pairs_in_use(sensors):
            raise Refused(
                f"{self._transport.name}: the PowerSensor3 has no pair of sensors in use; "
                "configure it with its maker's psconfig."
            )
        self._sensors, self.channels = sensors, channels(sensors)
        pairs = {
            f"pair{p}": " ".join(filter(None, (sensors[2 * p].pair_name, sensors[2 * p].kind)))
            for p in pairs_in_use(sensors)
        }
        constants = {
            f"sensor{i}": f"zero {s.vref_v:.9g} V, sensitivity {s.sensitivity:.9g}"
            for i, s in enumerate(sensors)
            if s.in_use
        }
        return {"model": self.model, "firmware": firmware, **pairs, **constants}

    def start(self) -> None:
        """Start the stream."""
        if self._sensors is None:
            self.identify()
        self._decoder = decoder(self._sensors or ())
        self._transport.write(b"S")
        self._streaming = True
        self._t_last_ns = self._now_ns()

    def mark(self) -> None:
        """Mark the next frame: `marker` is 1 there."""
        self._transport.write(b"M")

    def read_block(self) -> Block:
        """Return what arrives within `block_s` seconds, or as soon after as there is a sample.

        Raises:
            Timeout: the stream has dried up.
            Desync: bytes come, but no frames.

        """
        block = take_block(
            self._transport,
            self._decoder,
            (c.name for c in self.channels),
            t_before_ns=self._t_last_ns,
            block_s=self._block_s,
            patience_s=1.0,
            now_ns=self._now_ns,
            what="PowerSensor3 frames",
            advice="check that no other program talks to it",
        )
        self._t_last_ns = block.t_reply_ns
        return block

    def stop(self) -> None:
        """Stop the stream and drain what is still on its way."""
        if self._streaming:
            self._silence(b"X")
            self._streaming = False

    def close(self) -> None:
        """Stop and give the port back."""
        with contextlib.suppress(TransportError):
            self.stop()
        self._transport.close()

    def __enter__(self) -> PowerSensor3:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _silence(self, command: bytes) -> None:
        self._transport.write(command)
        drain(self._transport, _QUIET_S, now_ns=self._now_ns)

    def _records(self) -> tuple[Sensor, ...]:
        """Read the eight records; each is acknowledged by the request for the next."""
        records = [self._ask(b"R", parse_record).payload]
        for _ in range(7):
            records.append(self._ask(b"s", parse_record).payload)
        self._ask(b"s", parse_done)
        return tuple(decode_record(record) for record in records)
