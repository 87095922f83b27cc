"""Files that only grow, directories that stay consistent: the few system calls a recorder needs."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Final

from ..errors import RunError

__all__ = ["AppendFile", "DirectoryLock", "is_locked", "sha256_of", "sync_directory"]

_LOCK_NAME = ".lock"
_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE of fallocate(2)


class AppendFile:
    """A file that grows by whole pieces: a piece is there completely or not at all.

    Every piece goes to the kernel in one `write`; after a failed or partial one the file is cut
    back to the end of the piece before.
    """

    __slots__ = ("_dirty", "_end", "_fd", "_reserved", "path")

    def __init__(self, path: Path, *, exclusive: bool = True) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if exclusive else 0)
        self.path = path
        self._fd = os.open(path, flags, 0o644)
        self._end = os.lseek(self._fd, 0, os.SEEK_END)
        self._dirty, self._reserved = True, 0

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
        self._dirty = True

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # of a disk that has gone; what was there is there
            os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)
        self._reserved = 0

    def reserve(self, ahead: int) -> None:
        """Set room aside for so many bytes more, where the file system can (fallocate(2)).

        Half of it may be used up before it is set aside again. Where it cannot be had, the file
        grows as any other.
        """
        if self._reserved - self._end >= ahead // 2:
            return
        try:
            allocate = ctypes.CDLL(None, use_errno=True).fallocate64
        except (AttributeError, OSError):
            return
        offset, length = ctypes.c_int64(self._end), ctypes.c_int64(ahead)
        if allocate(self._fd, _KEEP_SIZE, offset, length) == 0:
            self._reserved = self._end + ahead

    def sync(self) -> None:
        """Wait until what was appended has reached the disk.

        Raises:
            RunError: the disk could not take it.

        """
        if not self._dirty:
            return
        self._dirty = False
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._dirty = True
            raise RunError(f"{self.path}: cannot be brought to the disk ({error}).") from error

    def close(self) -> None:
        """Close the file, and give back what was set aside for it."""
        if self._reserved > self._end:
            self._cut()
        os.close(self._fd)


class DirectoryLock:
    """The one writer of a run directory: a lock that ends with the process, however it ends."""

    __slots__ = ("_fd", "_path")

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            RunError: another process has it, or the directory cannot be written.

        """
        self._path = directory / _LOCK_NAME
        while True:
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise RunError(
                    f"{directory}: cannot write here ({error.strerror}); a run is recorded and "
                    "repaired where its directory can be written."
                ) from None
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._fd)
                raise RunError(
                    f"{directory}: another process is writing this run; wait until it has ended."
                ) from None
            if self._is_the_file():
                return
            os.close(self._fd)  # whoever had it took it away between the two calls: once more

    def _is_the_file(self) -> bool:
        try:
            there = os.stat(self._path)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        ours = os.fstat(self._fd)
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

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
