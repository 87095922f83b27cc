"""Kernels that keep something else than the CPU busy: disk, network, GPU.

Their duty is held against the wall clock: while the device works, the worker waits. "Lightly" is
meant: a worker writes 64 KiB at a time, with fsync, into one file without a name in the folder for
temporary files, and reads it back; or sends 64 KiB to itself over a TCP connection on 127.0.0.1.

The GPU's kernels go through torch (CUDA or ROCm) or cupy, whichever is there first, and wait for
the device after every chunk, so that an order to stop is seen within milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["DEVICE_KERNELS", "Kernel"]

Kernel = Callable[[], int]

_PIECE_BYTES: Final = 2**16
_FILE_BYTES: Final = 2**24
_GPU_MATRIX: Final = 2048
_GPU_BYTES: Final = 2**28


def _disk_write() -> Kernel:
    """Build small synchronous writes and reads; an operation is one byte written or read."""
    import os
    import tempfile
    import weakref

    fd, path = tempfile.mkstemp(prefix="wattcal-")
    os.unlink(path)
    piece = os.urandom(_PIECE_BYTES)
    position = 0

    def chunk() -> int:
        nonlocal position
        os.pwrite(fd, piece, position)
        os.fsync(fd)
        read = os.pread(fd, _PIECE_BYTES, position)
        position = (position + _PIECE_BYTES) % _FILE_BYTES
        return _PIECE_BYTES + len(read)

    weakref.finalize(chunk, os.close, fd)
    return chunk


def _loopback() -> Kernel:
    """Build a TCP connection to ourselves on 127.0.0.1; an operation is one byte sent."""
    import socket
    import weakref

    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    piece = bytes(_PIECE_BYTES // 4)

    def chunk() -> int:
        for _ in range(4):
            near.sendall(piece)
            left = len(piece)
            while left:
                left -= len(far.recv(left))
        return 4 * len(piece)

    weakref.finalize(chunk, near.close)
    weakref.finalize(chunk, far.close)
    return chunk


def _gpu() -> tuple[str, Any]:
    """Return which library reaches a GPU, and its module.

    Raises:
        ImportError: none does; the text says what is missing.

    """
    reasons = []
    try:
        import torch

        if torch.cuda.is_available():
            return "torch", torch
        reasons.append("torch is installed but sees no GPU")
    except ImportError:
        reasons.append("torch is not installed")
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() > 0:
            return "cupy", cupy
        reasons.append("cupy sees no GPU")
    except ImportError:
        reasons.append("cupy is not installed")
    except Exception as error:  # cupy's own errors cannot be named without cupy
        reasons.append(f"cupy sees no GPU ({error})")
    raise ImportError("; ".join(reasons))


def _gpu_matmul() -> Kernel:
    """Build a product of two square matrices of float32 on the GPU."""
    library, module = _gpu()
    if library == "torch":
        a = module.rand(_GPU_MATRIX, _GPU_MATRIX, device="cuda")
        wait = module.cuda.synchronize
    else:
        a = module.random.rand(_GPU_MATRIX, _GPU_MATRIX, dtype=module.float32)
        wait = module.cuda.Device().synchronize

    def chunk() -> int:
        module.matmul(a, a)
        wait()
        return int(_GPU_MATRIX**3)

    return chunk


def _gpu_copy() -> Kernel:
    """Build copies in the GPU's memory; an operation is one byte copied."""
    library, module = _gpu()
    if library == "torch":
        source = module.zeros(_GPU_BYTES, dtype=module.uint8, device="cuda")
        copy, wait = source.clone, module.cuda.synchronize
    else:
        source = module.zeros(_GPU_BYTES, dtype=module.uint8)
        copy, wait = source.copy, module.cuda.Device().synchronize

    def chunk() -> int:
        copy()
        wait()
        return _GPU_BYTES

    return chunk


DEVICE_KERNELS: Final[dict[str, Callable[[], Kernel]]] = {
    "disk-write": _disk_write,
    "loopback": _loopback,
    "gpu-matmul": _gpu_matmul,
    "gpu-copy": _gpu_copy,
}
