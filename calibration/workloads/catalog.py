"""The workloads that a plan may name: which kernel, on how many cores.

Beside the fixed names there are families with something of the user's own in the name:

    inference@558           a resident model that answers 558 requests an hour (at level 1)
    gpu-square@0.5          a square wave of 0.5 s period on the GPU; the level is its duty
    cpu-square@0.5          the same on all cores
    stress-ng:matrixprod    a CPU method of stress-ng
    cmd:python train.py     any command; it begins with its step, and is ended with it at the latest
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from typing import Final

from ..errors import InputError
from ..plans import COMMAND

__all__ = ["STRESS_NG", "WORKLOADS", "Workload", "available_cores", "workload"]

STRESS_NG: Final = "stress-ng:"


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload: `kernel` on `share` of the cores we may use, or on `cores` of them.

    `argument` is what stands behind the `@` of its name: requests an hour, a period in seconds.
    `command` is the program to run instead of a kernel; `stress_ng` the method of stress-ng.
    """

    name: str
    kernel: str | None
    cores: int | None
    operation: str
    summary: str
    share: float = 1.0
    argument: float | None = None
    command: tuple[str, ...] = ()
    stress_ng: str | None = None

    @property
    def external(self) -> bool:
        """Return whether it is a program of its own instead of a kernel."""
        return bool(self.command) or self.stress_ng is not None

    @property
    def square(self) -> bool:
        """Return whether it is a square wave of a period of its own."""
        return self.argument is not None and self.kernel != "inference"

    @property
    def gpu(self) -> bool:
        """Return whether it keeps a GPU busy."""
        return self.kernel is not None and self.kernel.startswith("gpu-")

    def workers(self, cores: int) -> int:
        """Return how many worker processes it keeps busy on a machine of so many cores."""
        if self.kernel is None:
            return 0
        if self.cores is not None:
            return min(self.cores, cores)
        return max(1, round(cores * self.share))


def _on(
    name: str, kernel: str, operation: str, summary: str, cores: int | None = None, share: float = 1
) -> Workload:
    return Workload(name, kernel, cores, operation, summary, share)


_TURNS: Final = "loop turns"
_FMA: Final = "multiply-adds"
WORKLOADS: Final = (
    Workload("idle", None, 0, "", "nothing of ours runs"),
    Workload("observe", None, 0, "", "nothing of ours: the machine does its own work"),
    _on("cpu-int", "integer-loop", _TURNS, "integer loop on all cores"),
    _on("cpu-int-half", "integer-loop", _TURNS, "integer loop on half the cores", share=0.5),
    _on("cpu-int-1", "integer-loop", _TURNS, "integer loop on one core", cores=1),
    _on("cpu-float", "float-loop", _TURNS, "floating-point loop on all cores"),
    _on("cpu-float-1", "float-loop", _TURNS, "floating-point loop on one core", cores=1),
    _on("cpu-matmul", "matrix-product", _FMA, "numpy matrix product"),
    _on("cpu-matmul-half", "matrix-product", _FMA, "the same on half the cores", share=0.5),
    _on("cpu-vector", "vector-integer", "elements", "integer vectors in the first-level cache"),
    _on("cpu-square", "integer-loop", _TURNS, "cpu-square@SECONDS: a square wave"),
    _on("cpu-fft", "fourier", "points", "Fourier transforms in the second-level cache"),
    _on("cpu-sort", "sort", "elements", "sorting: branches that nobody foresees"),
    _on("cpu-hash", "hash", "bytes", "SHA-256"),
    _on("cpu-compress", "compress", "bytes", "deflate"),
    _on("cache-copy", "cache-copy", "bytes", "copies inside the second-level cache"),
    _on("memory-copy", "memory-copy", "bytes", "copies of large buffers"),
    _on("memory-copy-1", "memory-copy", "bytes", "the same on one core", cores=1),
    _on("memory-read", "memory-read", "bytes", "sums over a large buffer"),
    _on("memory-latency", "pointer-chase", "loads", "each address in the load before it"),
    _on("mixed", "mixed", "chunks", "integers, matrices, copies and latency by turns"),
    _on("disk-light", "disk-write", "bytes", "small writes with fsync, and reads", cores=1),
    _on("network-light", "loopback", "bytes", "TCP over the loopback interface", cores=1),
    _on("gpu-matmul", "gpu-matmul", _FMA, "matrix products on the GPU", cores=1),
    _on("gpu-copy", "gpu-copy", "bytes", "copies in the GPU's memory", cores=1),
    _on("gpu-square", "gpu-matmul", _FMA, "gpu-square@SECONDS: a square wave", cores=1),
    _on("inference", "inference", "requests", "inference@PER_HOUR: a resident model", cores=1),
)
# Where the name says nothing: 558 requests an hour is the mean rate of the deployment of BLOOM that
# Luccioni, Viguier and Ligozat published (arXiv 2211.02001).
_DEFAULT: Final = {"inference": 558.0, "cpu-square": 1.0, "gpu-square": 1.0}


def workload(name: str) -> Workload:
    """Return the workload of that name.

    Raises:
        InputError: there is none; the message lists those there are.

    """
    if name.startswith(COMMAND):
        return _command(name)
    if name.startswith(STRESS_NG) and len(name) > len(STRESS_NG):
        method = name.removeprefix(STRESS_NG)
        return Workload(name, None, None, "bogo-ops", f"stress-ng, {method}", stress_ng=method)
    stem, at, text = name.partition("@")
    for entry in WORKLOADS:
        if entry.name == stem and (not at or stem in _DEFAULT):
            if stem not in _DEFAULT:
                return entry
            return replace(entry, name=name, argument=_argument(name, text if at else None))
    known = ", ".join(w.name for w in WORKLOADS)
    raise InputError(
        f"Expected a workload of {known}, {STRESS_NG}METHOD or {COMMAND}COMMAND; got {name!r}."
    )


def _argument(name: str, text: str | None) -> float:
    stem = name.partition("@")[0]
    try:
        value = _DEFAULT[stem] if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise InputError(f"Expected a positive number behind the @ of {name!r}.")
    return value


def _command(name: str) -> Workload:
    try:
        argv = tuple(shlex.split(name.removeprefix(COMMAND)))
    except ValueError as error:
        raise InputError(f"Expected a command behind {COMMAND!r}; got {name!r}: {error}.") from None
    if not argv:
        raise InputError(f"Expected a command behind {COMMAND!r}; got none.")
    return Workload(name, None, None, "", f"the command {argv[0]}", command=argv)


def available_cores() -> int:
    """Return how many logical cores this process may use."""
    return len(os.sched_getaffinity(0))
