"""A TCP port on loopback that behaves like an emulated meter's port, and can be unplugged.

As a serial bridge or an instrument with a LAN socket it serves one client at a time; whoever comes
second is turned away. A client that leaves makes room for the next. With `newest_wins` a newcomer
takes the place of whoever is there, as where each question comes on a connection of its own.
"""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Final

__all__ = ["SCHEME", "TcpPort"]

SCHEME: Final = "socket://"


class TcpPort:
    """One emulated network port; not for use from several threads.

    `address` is `socket://127.0.0.1:PORT`; port 0 lets the system choose. `path` is what a client
    opens.
    """

    baud: int | None = None  # a socket has no speed
    newest_wins = False

    def __init__(self, address: str = f"{SCHEME}127.0.0.1:0") -> None:
        host, _, number = address.removeprefix(SCHEME).partition(":")
        if host not in ("127.0.0.1", "localhost") or not number.isdigit():
            raise ValueError(
                f"Expected socket://127.0.0.1:PORT, this machine alone; got {address!r}."
            )
        self._number = int(number)
        self._server: socket.socket | None = None
        self._client: socket.socket | None = None
        self.plug()

    @property
    def path(self) -> str:
        """Return the address that a client opens."""
        return f"{SCHEME}127.0.0.1:{self._number}"

    @property
    def plugged(self) -> bool:
        """Whether the port exists at present."""
        return self._server is not None

    def plug(self) -> None:
        """Listen, at the same number as before.

        Raises:
            OSError: the number is taken.

        """
        if self._server is None:
            self._server = socket.create_server(("127.0.0.1", self._number))
            self._number = self._server.getsockname()[1]

    def unplug(self) -> None:
        """Hang up, and listen no more."""
        for end in (self._client, self._server):
            if end is not None:
                end.close()
        self._client = self._server = None

    def read(self, wait_s: float) -> bytes:
        """Return what the client wrote, or no bytes after `wait_s` seconds."""
        ends = [end for end in (self._server, self._client) if end is not None]
        ready = select.select(ends, [], [], wait_s)[0]
        data = b""
        if self._client is not None and self._client in ready:
            try:
                data = self._client.recv(65536)
            except OSError:
                data = b""
            if not data:
                self._hang_up()
        if self._server is not None and self._server in ready:
            self._welcome(self._server)
        return data

    def write(self, data: bytes) -> int:
        """Send what fits and return how many bytes that were; the rest is lost, as on a wire."""
        if self._client is None:
            return 0
        try:
            return self._client.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._hang_up()
            return 0

    def close(self) -> None:
        """Take the port away."""
        self.unplug()

    def _welcome(self, server: socket.socket) -> None:
        client, _ = server.accept()
        if self._client is not None and not self.newest_wins:
            client.close()
            return
        self._hang_up()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client

    def _hang_up(self) -> None:
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.close()
            self._client = None
