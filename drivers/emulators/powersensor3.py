"""An emulated PowerSensor3: its configuration, its 20,000 frames a second, its single letters.

Written from the sources that `drivers.meters.powersensor3` names, without its tables. All power
flows through pair 0 at a constant voltage; the other pairs carry their rails' voltage and no
current. A level is the rounded mean over the 50 µs that end at the time stamp, here the power in
their middle. What the host does not take waits in a queue of `queue_bytes` (those of its USB
stack); what does not fit is lost in whole frames. The commands that write, reset or reflash do
nothing here but stand in `forbidden`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from .served import Emulator

__all__ = ["PowerSensor3Device", "PowerSensor3Emulator"]

_RATE_HZ: Final = 20_000
_FRAME_BYTES: Final = 18
_MOST_FRAMES: Final = 4_000  # at once, so that a late emulator does not make the client wait
_FORBIDDEN: Final = b"WZY"


class PowerSensor3Device:
    """The instrument without its port; `power_w` is called with monotonic seconds.

    `rails_v` has one voltage per pair in use, from pair 0 on; a current sensor has its zero at
    1.65 V and `ampere_v` volts per ampere, a voltage sensor `volt_v` volts per volt.
    """

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        rails_v: Sequence[float] = (12.0,),
        ampere_v: float = 0.12,
        volt_v: float = 0.0877,
        firmware: str = "F411-1.6.1",
        queue_bytes: int = 65_536,
    ) -> None:
        self._power_w = power_w
        self._rails_v = tuple(rails_v)
        self._ampere_v, self._volt_v = (
            struct.unpack("<f", struct.pack("<f", v))[0] for v in (ampere_v, volt_v)
        )
        self._firmware, self._queue_bytes = firmware, queue_bytes
        self.baud = 115_200  # any: there is no speed on USB
        self.forbidden: list[int] = []
        self.lost_frames = 0
        self._now_s = 0.0
        self._boot_s: float | None = None
        self._count: int | None = None  # frames of the stream so far
        self._start_s = 0.0
        self._queue = b""
        self._markers = 0
        self.stall_until_s = 0.0
        self._record: int | None = None

    @property
    def streaming(self) -> bool:
        """Whether frames flow."""
        return self._count is not None

    def advance(self, t_s: float) -> None:
        """Take note of the time."""
        self._now_s = t_s
        if self._boot_s is None:
            self._boot_s = t_s

    def reboot(self) -> None:
        """Restart: the stream is off, the clock begins again."""
        self._count, self._queue, self._record, self._boot_s = None, b"", None, None

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (command, answer, rest) off the bytes received."""
        command, rest = buffer[:1], buffer[1:]
        if self._record is not None and command:
            self._record += 1
            return command, self._next_record(), rest
        answer = b""
        if command == b"V":
            answer = self._firmware.encode() + b"\r\n"
        elif command == b"R":
            self._record = 0
            answer = self._next_record()
        elif command == b"S":
            self._count, self._start_s = 0, self._now_s
        elif command in (b"T", b"X"):
            self._count, self._queue = None, b""
            answer = b"\xff\x3f\xff\x3f" if command == b"X" else b""
        elif command == b"M":
            self._markers += 1
        elif command and command in _FORBIDDEN:
            self.forbidden.append(command[0])
        return command, answer, rest

    def _next_record(self) -> bytes:
        """Return the record of one sensor; "D" behind the eighth."""
        number = self._record or 0
        if number == 8:
            self._record = None
            return b"D"
        voltage, used = number % 2 == 1, number // 2 < len(self._rails_v)
        kind = b"gain 1:3" if voltage else b"MLX91221"
        name = f"rail {number // 2}".encode() if used else b""
        zero, slope = (0.0, self._volt_v) if voltage else (1.65, self._ampere_v)
        return struct.pack("<16s16sff?", kind if used else b"", name, zero, slope, used)

    def due(self, t_s: float) -> bytes:
        """Return what is to be sent by `t_s` and is not sent yet."""
        if self._count is None:
            return b""
        end = min(int((t_s - self._start_s) * _RATE_HZ), self._count + _MOST_FRAMES)
        if end > self._count:
            self._queue += self._frames(self._count, end)
            self._count = end
            spare = self._queue_bytes - len(self._queue)
            if spare < 0:
                lost = -(spare // _FRAME_BYTES)
                self.lost_frames += lost
                self._queue = self._queue[: -lost * _FRAME_BYTES]
        return b"" if t_s < self.stall_until_s else self._queue

    def sent(self, count: int) -> None:
        """Go on behind what was sent."""
        self._queue = self._queue[count:]

    def _frames(self, begin: int, end: int) -> bytes:
        """Return the frames from `begin` on; a frame's stamp lies at the end of its 50 µs."""
        index = np.arange(begin, end)
        end_s = self._start_s + (index + 1) / _RATE_HZ
        if callable(self._power_w):
            middle_s = end_s - 0.5 / _RATE_HZ
            power_w = np.fromiter(map(self._power_w, middle_s.tolist()), float, len(index))
        else:
            power_w = np.full(len(index), float(self._power_w))
        words = np.empty((len(index), 9), np.int64)
        boot_s = self._start_s if self._boot_s is None else self._boot_s
        first_us = int((self._start_s - boot_s) * 1e6)
        clock_us = (first_us + (index + 1) * 50) % 1024
        words[:, 0] = 0xF040 | (clock_us & 0x3C0) << 2 | clock_us & 0x3F
        for sensor in range(8):
            pair = sensor // 2
            rail_v = self._rails_v[pair] if pair < len(self._rails_v) else 0.0
            if sensor % 2:
                level_v: np.ndarray = np.full(len(index), rail_v * self._volt_v)
            else:
                ampere = power_w / rail_v if pair == 0 else np.zeros(len(index))
                level_v = 1.65 + ampere * self._ampere_v
            level = np.clip(np.rint(level_v * 1023 / 3.3), 0, 1023).astype(np.int64)
            words[:, 1 + sensor] = 0x8000 | sensor << 12 | (level & 0x3C0) << 2 | level & 0x3F
        marked = min(self._markers, len(index))
        words[:marked, 1] |= 0x40
        self._markers -= marked
        return words.astype(">u2").tobytes()


class PowerSensor3Emulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. `path` is what a client opens.

    `power_w` is a constant or a function of monotonic seconds, called from the emulator's thread;
    `options` are those of `PowerSensor3Device`.
    """

    device = PowerSensor3Device

    def stall(self, duration_s: float) -> None:
        """Let the line take nothing for a while, as under a host that has no time."""
        self.instrument.stall_until_s = self._now_ns() * 1e-9 + duration_s

    def unplug(self) -> None:
        """Let the port vanish; the device, which lives on USB power, forgets that it streamed."""
        super().unplug()
        self.instrument.reboot()
