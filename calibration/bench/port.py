"""A meter that may vanish: while it is away, its port is tried again until it is back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from ..instruments import DriverError
from .outage import Outage

__all__ = ["MeterPort"]

_RETRY_NS: Final = 500_000_000


class _Closable(Protocol):
    def close(self) -> None: ...


M = TypeVar("M", bound=_Closable)


class MeterPort(Generic[M]):
    """The meter that was opened last, or nothing while it is away.

    The first meter belongs to the caller, who closes it; one that was opened here is closed here.
    """

    def __init__(self, meter: M, reopen: Callable[[], M] | None, outage: Outage) -> None:
        self._meter: M | None = meter
        self._reopen, self._outage = reopen, outage
        self._ours = False
        self._retry_ns = 0

    def get(self, now_ns: int) -> M | None:
        """Return the meter; while it is away, try to open it, at most twice a second."""
        if self._meter is None and self._reopen is not None and now_ns >= self._retry_ns:
            self._retry_ns = now_ns + _RETRY_NS
            try:
                self._meter, self._ours = self._reopen(), True
            except DriverError:
                self._meter = None
        if self._meter is None:
            self._outage.happened(now_ns, "The port has vanished.")
        return self._meter

    def lost(self, now_ns: int, message: str) -> None:
        """Note that the port has vanished, and let go of it."""
        self._outage.happened(now_ns, message)
        if self._meter is not None:
            with contextlib.suppress(DriverError):
                self._meter.close()
        self._meter, self._retry_ns = None, now_ns + _RETRY_NS

    def answered(self, now_ns: int) -> None:
        """Note that the meter talks; an outage is over then, not when the port appears."""
        if self._outage.open:
            self._outage.over(now_ns)

    def finish(self, leave: Callable[[M], None] | None = None) -> None:
        """Take leave of the meter and close it if it was opened here; write an open outage."""
        self._outage.over(None)
        if self._meter is not None:
            with contextlib.suppress(DriverError):
                if leave is not None:
                    leave(self._meter)
            if self._ours:
                with contextlib.suppress(DriverError):
                    self._meter.close()
