"""The work itself: kernels in small chunks, each about a millisecond long.

A kernel is a function without arguments that does one chunk and returns how many operations
that was. Chunks are short because a worker looks at its clock and its orders between them.
Sizes are chosen by what they exercise: the loops stay in the interpreter and the first-level cache,
vectors fit the first-level cache, matrices and transforms the second-level one, and the buffers of
the memory kernels are larger than the caches of a core.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .devices import DEVICE_KERNELS, Kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["KERNELS", "Kernel", "build"]

_LOOP: Final = 10_000
_MATRIX: Final = 160
_BUFFER_BYTES: Final = 32 * 2**20
_CHUNK_BYTES: Final = 4 * 2**20
_VECTOR: Final = 4096
_FOURIER: Final = 2**14
_SORT: Final = 2**14
_TEXT_BYTES: Final = 2**18
_DEFLATE_BYTES: Final = 2**15
_CACHE_BYTES: Final = 2**17
_CHAIN: Final = 2**22
_LOADS: Final = 10_000


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


@functools.cache
def _buffers() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the two large buffers of this process, which all kernels share, touched."""
    import numpy as np

    return np.ones(_BUFFER_BYTES // 8, dtype=np.int64), np.zeros(_BUFFER_BYTES // 8, dtype=np.int64)


def _memory_copy() -> Kernel:
    """Build copies from one large buffer to another; an operation is one byte copied."""
    import numpy as np

    source, target = _buffers()
    step = _CHUNK_BYTES // 8
    position = 0

    def chunk() -> int:
        nonlocal position
        end = position + step
        np.copyto(target[position:end], source[position:end])
        position = end % source.size
        return _CHUNK_BYTES

    return chunk


def _float_loop() -> Kernel:
    """Build a loop of the logistic map, x <- 3.9 x (1 - x): three float operations a turn."""
    state = 0.5

    def chunk() -> int:
        nonlocal state
        x = state
        for _ in range(_LOOP):
            x = 3.9 * x * (1.0 - x)
        state = x
        return _LOOP

    return chunk


def _vector_integer() -> Kernel:
    """Build integer multiply, add and shift on vectors of int32; an element is an operation."""
    import numpy as np

    x = np.arange(_VECTOR, dtype=np.int32)
    y = np.ones(_VECTOR, dtype=np.int32)

    def chunk() -> int:
        for _ in range(100):
            np.multiply(x, y, out=y)
            np.add(y, x, out=y)
            np.right_shift(y, 3, out=y)
        return 300 * _VECTOR

    return chunk


def _fourier() -> Kernel:
    """Build real Fourier transforms; an operation is one point transformed."""
    import numpy as np

    signal = np.random.default_rng(1).random(_FOURIER)

    def chunk() -> int:
        for _ in range(5):
            np.fft.rfft(signal)
        return 5 * _FOURIER

    return chunk


def _sort() -> Kernel:
    """Build sorting of random integers; an operation is one element sorted."""
    import numpy as np

    values = np.random.default_rng(1).integers(0, 2**31, _SORT)

    def chunk() -> int:
        np.sort(values, kind="heapsort")
        return _SORT

    return chunk


def _hash() -> Kernel:
    """Build SHA-256 of a buffer; an operation is one byte hashed."""
    import hashlib

    text = bytes(range(256)) * (_TEXT_BYTES // 256)

    def chunk() -> int:
        hashlib.sha256(text).digest()
        return _TEXT_BYTES

    return chunk


def _compress() -> Kernel:
    """Build deflate of half-random text; an operation is one byte compressed."""
    import random
    import zlib

    rng = random.Random(1)
    text = b"".join(rng.choice((b"energy", b"power", rng.randbytes(6))) for _ in range(6000))
    text = text[:_DEFLATE_BYTES]

    def chunk() -> int:
        zlib.compress(text, 6)
        return len(text)

    return chunk


def _cache_copy() -> Kernel:
    """Build copies inside the second-level cache; an operation is one byte copied."""
    import numpy as np

    source = np.ones(_CACHE_BYTES, dtype=np.uint8)
    target = np.zeros(_CACHE_BYTES, dtype=np.uint8)

    def chunk() -> int:
        for _ in range(100):
            np.copyto(target, source)
        return 100 * _CACHE_BYTES

    return chunk


def _memory_read() -> Kernel:
    """Build sums over a large buffer; an operation is one byte read."""
    buffer, _ = _buffers()
    step = _CHUNK_BYTES // 8
    position = 0

    def chunk() -> int:
        nonlocal position
        buffer[position : position + step].sum()
        position = (position + step) % buffer.size
        return _CHUNK_BYTES

    return chunk


@functools.cache
def _chain() -> memoryview:
    """Return one random cycle through 32 MiB, shared by this process: place -> next place."""
    import numpy as np

    order = np.random.default_rng(1).permutation(_CHAIN)
    chain = np.empty(_CHAIN, dtype=np.int64)
    chain[order] = np.roll(order, -1)
    return chain.data


def _pointer_chase() -> Kernel:
    """Build loads whose addresses stand in the load before; an operation is one load."""
    places = _chain()
    at = 0

    def chunk() -> int:
        nonlocal at
        i = at
        for _ in range(_LOADS):
            i = places[i]
        at = i
        return _LOADS

    return chunk


def _mixed() -> Kernel:
    """Build four kernels that take turns; an operation is one chunk of any of them."""
    parts = (_integer_loop(), _matrix_product(), _memory_copy(), _pointer_chase())
    turn = 0

    def chunk() -> int:
        nonlocal turn
        parts[turn]()
        turn = (turn + 1) % len(parts)
        return 1

    return chunk


KERNELS: Final[dict[str, Callable[[], Kernel]]] = {
    "integer-loop": _integer_loop,
    "float-loop": _float_loop,
    "matrix-product": _matrix_product,
    "vector-integer": _vector_integer,
    "fourier": _fourier,
    "sort": _sort,
    "hash": _hash,
    "compress": _compress,
    "cache-copy": _cache_copy,
    "memory-copy": _memory_copy,
    "memory-read": _memory_read,
    "pointer-chase": _pointer_chase,
    "mixed": _mixed,
    **DEVICE_KERNELS,
}


def build(name: str) -> Kernel:
    """Return a kernel that is ready to run, its buffers allocated and touched."""
    kernel = KERNELS[name]()
    kernel()
    return kernel
