"""Files that only grow, directories that stay consistent: the few system calls a recorder needs."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from ..errors import RunError

__all__ = ["AppendFile", "DirectoryLock", "is_locked", "sha256_of", "sync_directory"]

_LOCK_NAME = ".lock"


class AppendFile:
    """A file that grows by whole pieces: a piece is there completely or not at all.

    Every piece goes to the kernel in one `write`; after a failed or partial one the file is cut
    back to the end of the piece before.
    """

    __slots__ = ("_end", "_fd", "path")

    def __init__(self, path: Path, *, exclusive: bool = True) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if exclusive else 0)
        self.path = path
        self._fd = os.open(path, flags, 0o644)
        self._end = os.lseek(self._fd, 0, os.SEEK_END)

    def append(self, piece: bytes) -> None:
        """Append one piece, or leave the file as it was and raise.

        Raises:
            RunError: the disk took less than everything.

        """
        try:
            written = os.write(self._fd, piece)
        except OSError as error:
            self._cut()
            raise RunError(f"{self.path}: cannot write {len(piece)} bytes ({error}).") from error
        if written != len(piece):
            self._cut()
            raise RunError(
                f"{self.path}: expected to write {len(piece)} bytes; the disk took {written}. "
                "Make room on it."
            )
        self._end += written

    def _cut(self) -> None:
        os.ftruncate(self._fd, self._end)
        os.lseek(self._fd, self._end, os.SEEK_SET)

    def sync(self) -> None:
        """Wait until what was appended has reached the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class DirectoryLock:
    """The one writer of a run directory: a lock that ends with the process, however it ends."""

    __slots__ = ("_fd", "_path")

    def __init__(self, directory: Path) -> None:
        self._path = directory / _LOCK_NAME
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise RunError(
                f"{directory}: another process is writing this run; wait until it has ended."
            ) from None

    def release(self) -> None:
        """Give the directory free and take the lock file away."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def is_locked(directory: Path) -> bool:
    """Whether a process is writing this run right now."""
    try:
        fd = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory have reached the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
