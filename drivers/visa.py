"""Instruments behind VISA (USB-TMC, VXI-11, GP-IB), through pyvisa; the port is `visa:RESOURCE`.

    wt310e@visa:USB0::0x0B21::0x0025::C3TL08017E::INSTR
    wt310e@visa:TCPIP::10.0.0.7::INSTR

The backend is the one that pyvisa finds: a vendor's library, else pyvisa-py; the environment
variable `PYVISA_LIBRARY` names another one.

These lines carry messages and no loose bytes (IEEE 488.2, section 6): an instrument speaks only
when it has been asked, and reading without a question is an error on its side (-420, Query
UNTERMINATED). So `read` waits only while an answer is owed: a question mark was sent, and no
message has come since. An answer that is late is not waited for: a device clear tells the
instrument to forget it, so that it can never be taken for the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from .errors import Busy, Gone, Timeout, TransportError

__all__ = ["SCHEME", "VisaTransport", "open_visa"]

SCHEME: Final = "visa:"
_WRITE_MS: Final = 2000
_LEAST_MS: Final = 1


def open_visa(
    name: str, *, baud: int, now_ns: Callable[[], int] = time.monotonic_ns
) -> VisaTransport:
    """Open the instrument at `visa:RESOURCE`; `baud` is used where it is a serial line.

    Raises:
        Busy: another program has locked it.
        Gone: it is not there.
        TransportError: pyvisa is not installed, or the resource is none.

    """
    pyvisa = _pyvisa()
    resource_name = name.removeprefix(SCHEME)
    try:
        pyvisa.rname.ResourceName.from_string(resource_name)  # else some backends open anything
        resource = pyvisa.ResourceManager().open_resource(resource_name, open_timeout=_WRITE_MS)
    except (pyvisa.VisaIOError, OSError) as error:
        code = getattr(error, "error_code", None)
        if code == pyvisa.constants.StatusCode.error_resource_busy:
            raise Busy(f"{name} is held by another program; close it.") from None
        raise Gone(
            f"Expected an instrument at {name}; there is none ({_short(error)}). Check its cable "
            "or address; the command `list` of pyvisa-shell names those that are there."
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise TransportError(
            f"Expected a VISA resource such as visa:TCPIP::10.0.0.7::INSTR; got {name!r} "
            f"({_short(error)})."
        ) from None
    transport = VisaTransport(name, resource, now_ns=now_ns)
    transport.set_baud(baud)
    return transport


class VisaTransport:
    """An instrument that pyvisa has opened."""

    def __init__(
        self, name: str, resource: Any, *, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.name = name
        self._resource, self._now_ns = resource, now_ns
        self._owed = False

    def read(self, deadline_ns: int) -> bytes:
        """Return the message that is owed, or no bytes: at `deadline_ns`, or at once if none is.

        Raises:
            Gone: the instrument or the connection is lost.

        """
        if not self._owed:
            return b""
        self._owed = False
        wait_ms = max(_LEAST_MS, (deadline_ns - self._now_ns()) // 1_000_000)
        try:
            self._resource.timeout = wait_ms
            message: bytes = self._resource.read_raw()
        except Exception as error:  # pyvisa-py lets errors of the layers below through
            if not _timed_out(error):
                raise self._gone(error) from None
            self._forget()
            return b""
        return message

    def write(self, data: bytes) -> None:
        """Hand over one message.

        Raises:
            Gone: the instrument or the connection is lost.
            Timeout: it takes no message.

        """
        try:
            self._resource.timeout = _WRITE_MS
            self._resource.write_raw(data)
        except Exception as error:
            if not _timed_out(error):
                raise self._gone(error) from None
            self._forget()
            raise Timeout(f"{self.name} took no message for {_WRITE_MS / 1000:g} s.") from None
        self._owed = self._owed or b"?" in data

    def set_baud(self, baud: int) -> None:
        """Change the speed where the resource is a serial line; the others have none."""
        if hasattr(self._resource, "baud_rate"):
            try:
                self._resource.baud_rate = baud
            except Exception as error:
                raise self._gone(error) from None

    def close(self) -> None:
        """Give the instrument back; closing twice is fine."""
        self._owed = False
        try:
            self._resource.close()
        except Exception:  # a connection that is lost is closed
            return

    def _forget(self) -> None:
        """Have the instrument drop what it was about to say (device clear)."""
        try:
            self._resource.clear()
        except Exception as error:
            if not _timed_out(error) and not isinstance(error, NotImplementedError):
                raise self._gone(error) from None

    def _gone(self, error: object) -> Gone:
        return Gone(f"{self.name} has vanished ({_short(error)}); check its cable, open it again.")


def _timed_out(error: BaseException) -> bool:
    pyvisa = _pyvisa()
    if isinstance(error, pyvisa.VisaIOError):
        return bool(error.error_code == pyvisa.constants.StatusCode.error_timeout)
    return isinstance(error, TimeoutError)


def _short(error: object) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _pyvisa() -> ModuleType:
    """Import pyvisa, or say how to install it."""
    try:
        import pyvisa
    except ModuleNotFoundError:
        raise TransportError(
            "Reading an instrument through VISA needs pyvisa, which is not installed: "
            "pip install 'wattcal[visa]'."
        ) from None
    return pyvisa
