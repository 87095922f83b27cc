"""Bytes in and out of a port; nothing here knows a frame.

A port is named as pyserial names it: a device (`/dev/ttyUSB0`), `socket://host:port` for a raw
TCP bridge, `rfc2217://host:port` for a serial server; `visa:RESOURCE` goes through pyvisa
(`drivers.visa`), `http://host[:port]` is asked on a new connection each time
(`drivers.connection`). A device is opened for this process alone
(an advisory lock, so that two recorders never share the bytes of one meter).

pyserial raises `termios.error`, which is no OSError, beside `serial.SerialException`, which is
one: both mean the same here, the port is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import termios
import time
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol

from .address import Parity
from .connection import SCHEME as HTTP
from .connection import ConnectionTransport
from .errors import Busy, Gone, Timeout, TransportError
from .visa import SCHEME as VISA
from .visa import open_visa

if TYPE_CHECKING:
    import serial

__all__ = ["SerialTransport", "Transport", "open_port"]

_FAILURES: Final = (OSError, termios.error)
_CHUNK: Final = 65536
# A port without a file descriptor (rfc2217) is polled with this fixed timeout: changing pyserial's
# timeout on such a port would renegotiate the line with the server each time.
_SLICE_S: Final = 0.02
_WRITE_S: Final = 2.0


class Transport(Protocol):
    """A line to an instrument: bytes and time, no frames."""

    name: str

    def read(self, deadline_ns: int) -> bytes:
        """Return what arrives first, or no bytes once `deadline_ns` (monotonic) has passed."""
        ...

    def write(self, data: bytes) -> None:
        """Hand over all of `data`."""
        ...

    def set_baud(self, baud: int) -> None:
        """Change the speed of the line, in bits per second."""
        ...

    def close(self) -> None:
        """Give the port back; closing twice is fine."""
        ...


def open_port(
    name: str,
    *,
    baud: int,
    parity: Parity = "N",
    stopbits: int = 1,
    rtscts: bool = False,
    dtr: bool | None = None,
    rts: bool | None = None,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> Transport:
    """Open a device or a pyserial URL with 8 data bits, or `visa:RESOURCE`, or `http://host`.

    `rtscts` turns on the handshake by the lines RTS and CTS. `dtr` and `rts` are the states of
    these lines from the moment of opening on; None leaves them as the system sets them, which is
    asserted. (Boards of the Arduino kind restart when DTR is asserted.)

    Raises:
        Busy: another process holds the port.
        Gone: there is no such port, or nobody answers at this address.
        TransportError: the port cannot be used; the message says what to do.

    """
    if name.startswith(HTTP):
        return ConnectionTransport(name, now_ns=now_ns)
    if name.startswith(VISA):
        return open_visa(name, baud=baud, now_ns=now_ns)
    pyserial = _pyserial()
    try:
        # timeout: see _SLICE_S; ports with a file descriptor never wait inside pyserial.
        port = pyserial.serial_for_url(
            name,
            do_not_open=True,
            baudrate=baud,
            parity=parity,
            stopbits=stopbits,
            rtscts=rtscts,
            timeout=_SLICE_S,
            write_timeout=None if name.startswith("rfc2217:") else _WRITE_S,  # unknown to it
            exclusive=True,
        )
        if dtr is not None:
            port.dtr = dtr
        if rts is not None:
            port.rts = rts
        port.open()
    except ValueError as error:
        raise TransportError(
            "Expected a device such as /dev/ttyUSB0, socket://host:port, rfc2217://host:port or "
            f"visa:RESOURCE; got {name!r} ({error})."
        ) from None
    except _FAILURES as error:
        raise _why_not_opened(name, error) from None
    return SerialTransport(name, port, now_ns=now_ns)


class SerialTransport:
    """A port that pyserial has opened."""

    def __init__(
        self, name: str, port: serial.Serial, *, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.name = name
        self._port = port
        self._now_ns = now_ns
        try:
            self._fd: int | None = port.fileno()
        except (AttributeError, OSError):
            self._fd = None

    def read(self, deadline_ns: int) -> bytes:
        """Return what arrives first, or no bytes once `deadline_ns` has passed.

        Raises:
            Gone: the device was unplugged, or the connection was closed.

        """
        try:
            if self._fd is None:
                return self._read_in_slices(deadline_ns)
            wait_s = max(0.0, (deadline_ns - self._now_ns()) * 1e-9)
            if not select.select([self._fd], [], [], wait_s)[0]:
                return b""
            data = os.read(self._fd, _CHUNK)
        except (*_FAILURES, ValueError, TypeError) as error:  # the last two: closed meanwhile
            raise self._gone(error) from None
        if not data:  # readable, yet nothing to read: the other end has hung up
            raise self._gone("the line was hung up")
        return data

    def _read_in_slices(self, deadline_ns: int) -> bytes:
        while True:
            data: bytes = self._port.read(self._port.in_waiting or 1)
            if data:
                return data + (self._port.read(self._port.in_waiting) or b"")
            if self._now_ns() >= deadline_ns:
                return b""

    def write(self, data: bytes) -> None:
        """Hand over all of `data`.

        Raises:
            Gone: the device was unplugged, or the connection was closed.
            Timeout: the line takes no bytes (flow control, or a stopped bridge).

        """
        try:
            sent = 0
            if self._fd is not None:
                with contextlib.suppress(BlockingIOError):
                    sent = os.write(self._fd, data)
            if sent < len(data):  # a line that takes no more for now: pyserial waits for it
                self._port.write(data[sent:])
        except _pyserial().SerialTimeoutException:
            raise Timeout(
                f"{self.name} took no bytes for {_WRITE_S:g} s; check the cable and flow control."
            ) from None
        except _FAILURES as error:
            raise self._gone(error) from None

    def set_baud(self, baud: int) -> None:
        """Change the speed of the line, in bits per second."""
        try:
            self._port.baudrate = baud
        except ValueError as error:
            raise TransportError(f"{self.name} cannot run at {baud} baud: {error}.") from None
        except _FAILURES as error:
            raise self._gone(error) from None

    def set_parity(self, parity: Parity) -> None:
        """Change the parity of the line."""
        try:
            self._port.parity = parity
        except _FAILURES as error:
            number = error.args[0] if error.args else None
            if number != errno.EINVAL:
                raise self._gone(error) from None
            raise TransportError(f"{self.name} cannot have the parity {parity}.") from None

    def close(self) -> None:
        """Give the port back."""
        self._fd = None
        # Where the other end hung up first, pyserial drops its socket without closing it.
        end = getattr(self._port, "_socket", None)
        try:
            self._port.close()
        except _FAILURES:
            return  # a port that is gone is closed
        finally:
            if end is not None:
                end.close()

    def _gone(self, error: object) -> Gone:
        return Gone(f"{self.name} has vanished ({error}); plug it in again.")


def _why_not_opened(name: str, error: BaseException) -> TransportError:
    number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    if number in (errno.EAGAIN, errno.EACCES) and "lock" in str(error):
        return Busy(f"{name} is held by another process; close the program that reads it.")
    if number == errno.EBUSY:
        return Busy(f"{name} is busy; close the program that reads it.")
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return Gone(
            f"Expected a port at {name}; there is none. "
            "Plug the meter in and look under /dev/serial/by-id/ for its name."
        )
    if number in (errno.EACCES, errno.EPERM):
        return TransportError(
            f"{name} may not be opened by this user; add it to the group that owns the device "
            "(often `dialout`) and log in again."
        )
    if "://" in name:
        return Gone(f"Nobody answers at {name}: {error}.")
    if number == errno.EINVAL:
        return TransportError(
            f"{name} cannot be set to this speed, parity and stopbits ({error}); choose others."
        )
    if "ioctl" in str(error) or number in (errno.ENOTTY, errno.EISDIR):
        return TransportError(f"Expected a serial port at {name}; this is something else.")
    return TransportError(f"{name} cannot be opened: {error}.")


def _pyserial() -> ModuleType:
    """Import pyserial, or say what stands in its place."""
    try:
        import serial
    except ModuleNotFoundError:
        raise TransportError(
            "Reading a meter needs pyserial, which is not installed: pip install 'wattcal[lab]'."
        ) from None
    if not hasattr(serial, "serial_for_url"):
        raise TransportError(
            "Expected pyserial, but another package owns the name `serial` "
            f"({getattr(serial, '__file__', None) or 'no file'}): "
            "pip uninstall serial, then pip install --force-reinstall pyserial."
        )
    return serial
