"""The work itself: kernels in small chunks, each about a millisecond long.

A kernel is a function without arguments that does one chunk and returns how many operations
that was. Chunks are short because a worker looks at its clock and its orders between them.
Sizes are chosen by what they exercise: the integer loop stays in the interpreter and
the first-level cache, the matrix product fits the second-level cache and keeps the vector units
busy, the copies are larger than any cache of a core and keep the memory busy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["KERNELS", "Kernel", "build"]

Kernel = Callable[[], int]

_LOOP: Final = 10_000
_MATRIX: Final = 160
_BUFFER_BYTES: Final = 32 * 2**20
_CHUNK_BYTES: Final = 4 * 2**20


def _integer_loop() -> Kernel:
    """Build a loop of integer multiply and add (a linear congruential generator).

    The constants are those of Numerical Recipes, 3rd ed., section 7.1.
    """
    state = 1

    def chunk() -> int:
        nonlocal state
        x = state
        for _ in range(_LOOP):
            x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        state = x
        return _LOOP

    return chunk


def _matrix_product() -> Kernel:
    """Build a product of two square matrices of float64; an operation is one multiply and add."""
    import numpy as np

    rng = np.random.default_rng(1)
    a, b = rng.random((_MATRIX, _MATRIX)), rng.random((_MATRIX, _MATRIX))
    out = np.empty_like(a)

    def chunk() -> int:
        np.matmul(a, b, out=out)
        return _MATRIX**3

    return chunk


def _memory_copy() -> Kernel:
    """Build copies from one large buffer to another; an operation is one byte copied."""
    import numpy as np

    source = np.ones(_BUFFER_BYTES, dtype=np.uint8)
    target = np.zeros(_BUFFER_BYTES, dtype=np.uint8)
    position = 0

    def chunk() -> int:
        nonlocal position
        end = position + _CHUNK_BYTES
        np.copyto(target[position:end], source[position:end])
        position = end % _BUFFER_BYTES
        return _CHUNK_BYTES

    return chunk


KERNELS: Final[dict[str, Callable[[], Kernel]]] = {
    "integer-loop": _integer_loop,
    "matrix-product": _matrix_product,
    "memory-copy": _memory_copy,
}


def build(name: str) -> Kernel:
    """Return a kernel that is ready to run, its buffers allocated and touched."""
    kernel = KERNELS[name]()
    kernel()
    return kernel
