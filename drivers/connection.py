"""One TCP connection per question: the transport of meters that speak HTTP, `http://host[:port]`.

Whatever comes late belongs to a connection that is closed, so it can never be taken for the answer
to the next question. Nothing here knows HTTP beyond the name: bytes in and out, as on any line.
Proxies of the environment are not asked: a meter stands on the same network.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from .errors import Gone, TransportError

__all__ = ["SCHEME", "ConnectionTransport"]

SCHEME: Final = "http://"
_CONNECT_S: Final = 1.0
_CHUNK: Final = 65536


class ConnectionTransport:
    """A meter at `http://host[:port]`, reached anew for every question.

    Raises:
        TransportError: the name is no such address.
        Gone: nobody answers there.

    """

    def __init__(self, name: str, *, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.name, self._now_ns = name, now_ns
        self._socket: socket.socket | None = None
        try:
            parts = urlsplit(name)
            self._where = (parts.hostname or "", parts.port or 80)
        except ValueError:
            parts, self._where = urlsplit(""), ("", 0)
        if not self._where[0] or parts.path.strip("/") or parts.query or parts.username:
            raise TransportError(f"Expected http://HOST or http://HOST:PORT; got {name!r}.")
        self._connect().close()

    def read(self, deadline_ns: int) -> bytes:
        """Return what arrives first, or no bytes: at `deadline_ns`, or at once if none can come.

        Raises:
            Gone: the connection broke.

        """
        if self._socket is None:
            return b""
        wait_s = max(0.0, (deadline_ns - self._now_ns()) * 1e-9)
        try:
            if not select.select([self._socket], [], [], wait_s)[0]:
                return b""
            data = self._socket.recv(_CHUNK)
        except OSError as error:
            self.close()
            raise Gone(f"{self.name} broke the connection ({error}).") from None
        if not data:  # it has said all: nothing more will come on this connection
            self.close()
        return data

    def write(self, data: bytes) -> None:
        """Connect and hand over all of `data`.

        Raises:
            Gone: nobody answers.

        """
        self.close()
        self._socket = self._connect()
        try:
            self._socket.sendall(data)
        except OSError as error:
            self.close()
            raise Gone(f"{self.name} broke the connection ({error}).") from None

    def set_baud(self, baud: int) -> None:
        """Do nothing: a network has no speed of ours."""

    def close(self) -> None:
        """Hang up; the next question connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        try:
            return socket.create_connection(self._where, timeout=_CONNECT_S)
        except OSError as error:
            raise Gone(
                f"Expected a meter at {self.name}; there is none ({error}). Check its address and "
                "that this machine is on its network."
            ) from None
