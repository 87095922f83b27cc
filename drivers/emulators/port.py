"""A pseudo-terminal that looks like a meter's serial port, and can be unplugged.

What a pty needs to behave like a port: the slave set raw (a fresh one echoes and edits lines),
the slave kept open here (else the master reads EIO while no client is there), the master
non-blocking (a client that does not read must not stop the meter), and a symlink as the name that
a client opens, because the pty's own name changes when it is plugged in again.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import tempfile
import termios
import tty
from pathlib import Path

__all__ = ["PtyPort"]


class PtyPort:
    """One emulated port; not for use from several threads.

    `link` is the name that clients open; without one a name in a temporary folder is made.
    """

    def __init__(self, link: Path | None = None) -> None:
        self._folder: Path | None = None
        if link is None:
            self._folder = Path(tempfile.mkdtemp(prefix="wattcal-port-"))
            link = self._folder / "meter"
        self.path = link
        self._master: int | None = None
        self._slave: int | None = None
        try:
            self.plug()
        except OSError:
            self.close()
            raise

    @property
    def plugged(self) -> bool:
        """Whether the port exists at present."""
        return self._master is not None

    @property
    def baud(self) -> int | None:
        """Return the speed that the client has set, in bits per second, as far as it is known."""
        if self._slave is None:
            return None
        speed = termios.tcgetattr(self._slave)[4]
        return next((b for b in _BAUDS if getattr(termios, f"B{b}") == speed), None)

    def plug(self) -> None:
        """Make the port appear under its name.

        Raises:
            FileExistsError: something that is in use stands under the name.
            FileNotFoundError: there is no folder for the name.

        """
        if self._master is not None:
            return
        if self.path.exists():
            raise FileExistsError(
                f"{self.path} exists already; remove it or choose another name for the port."
            )
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"Expected a folder at {self.path.parent}; there is none.")
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._point_to(os.ttyname(self._slave))

    def _point_to(self, target: str) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.symlink_to(target)
        temporary.replace(self.path)

    def unplug(self) -> None:
        """Make the port vanish under its client's hands; the name stays, pointing nowhere."""
        if self._master is not None and self.path.is_symlink():
            # Not to the old pty: the system gives its number to the next one that asks.
            self._point_to(f".{self.path.name}.unplugged")
        for descriptor in (self._master, self._slave):
            if descriptor is not None:
                os.close(descriptor)
        self._master = self._slave = None

    def read(self, wait_s: float) -> bytes:
        """Return what the client wrote, or no bytes after `wait_s` seconds."""
        if self._master is None:
            select.select([], [], [], wait_s)
            return b""
        if not select.select([self._master], [], [], wait_s)[0]:
            return b""
        try:
            return os.read(self._master, 65536)
        except OSError:
            return b""

    def write(self, data: bytes) -> int:
        """Send what fits and return how many bytes that were; the rest is lost, as on a wire."""
        if self._master is None:
            return 0
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Take the port and its name away."""
        ours = self._slave is not None
        if ours or (self.path.is_symlink() and not self.path.exists()):
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.unplug()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


_BAUDS = tuple(
    sorted(int(n[1:]) for n in dir(termios) if n[0] == "B" and n[1:].isdigit() and n != "B0")
)
