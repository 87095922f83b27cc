"""An event that lasts: opened when something goes wrong, written once it is over or at the end."""

from __future__ import annotations

from ..recording.documents import Fault
from ..recording.writer import RunWriter

__all__ = ["Outage"]


class Outage:
    """One kind of trouble of one stream, with a count; silent while there is none."""

    def __init__(self, writer: RunWriter, stream: str, code: str) -> None:
        self._writer, self._stream, self._code = writer, stream, code
        self._message, self._opened_ns, self._count = "", 0, 0

    @property
    def open(self) -> bool:
        """Whether it lasts."""
        return self._count > 0

    def happened(self, now_ns: int, message: str, count: int = 1) -> None:
        """Note the trouble once more; the first message is kept."""
        if not self._count:
            self._message, self._opened_ns = message, now_ns
        self._count += count

    def over(self, now_ns: int | None) -> None:
        """Write what there was; `None` says that it lasts beyond the end of the run."""
        if self._count:
            self._writer.fault(
                Fault(
                    stream=self._stream,
                    code=self._code,
                    message=self._message,
                    t_opened_ns=self._opened_ns,
                    t_ended_ns=now_ns,
                    count=self._count,
                )
            )
        self._count = 0
