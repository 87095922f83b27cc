"""Bytes that no meter sends, through every parser of the catalogue: `make fuzz`.

Random bytes, random letters of the format's own alphabet, whole frames, frames with flipped bits,
lost, doubled and foreign bytes, and frames cut into one another. For each format it must hold that

- nothing but a verdict comes out (no exception), and what is skipped or taken is there;
- the parser gets on: it never waits for more in front of `LONGEST` bytes;
- the frames are the same however the bytes are cut into pieces (tried on a part of the cases);
- `decode` of a frame gives values or a `DriverError`;
- where a checksum covers the frame, a frame with one flipped bit is not accepted.

What breaks a rule is cut down and kept in `corpus/`, which `make test` tries again for ever.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import random
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from drivers import CATALOG
from drivers.errors import DriverError
from drivers.formats import Format, Stream
from drivers.wire import Frame, Need, Skip

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 4096
SEED = 20261128
_CASE = 1500
_CUT_EVERY = 8


@dataclass
class Tally:
    """What went through one format."""

    name: str
    bytes: int = 0
    frames: int = 0
    flips: int = 0
    failures: list[tuple[str, bytes]] = field(default_factory=list)


def formats() -> dict[str, Format | Stream]:
    """Return every wire format of the catalogue by `module.name`."""
    found: dict[str, Format | Stream] = {}
    for entry in CATALOG:
        where = entry.driver.partition(":")[0]
        module = importlib.import_module(where, "drivers")
        table: Mapping[str, Format | Stream] = module.FORMATS
        for name, form in table.items():
            found[f"{where.rpartition('.')[2]}.{name}"] = form
    return found


def case(chance: random.Random, examples: tuple[bytes, ...], length: int = _CASE) -> bytes:
    """Make up about `length` bytes."""
    out = bytearray()
    while len(out) < length:
        out += _piece(chance, examples)
    return bytes(out)


def _piece(chance: random.Random, examples: tuple[bytes, ...]) -> bytes:
    kind, whole = chance.random(), chance.choice(examples)
    if kind < 0.25:
        return chance.randbytes(chance.randrange(1, 200))
    if kind < 0.35:
        alphabet = b"".join(examples)
        return bytes(chance.choice(alphabet) for _ in range(chance.randrange(1, 100)))
    if kind < 0.45:
        return whole
    if kind < 0.65:
        return _flipped(chance, whole, chance.choice((1, 1, 2, 3, 8)))
    if kind < 0.9:
        other = chance.choice(examples)
        return whole[: chance.randrange(len(whole) + 1)] + other[chance.randrange(len(other)) :]
    damaged = bytearray(whole)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(damaged))
        damaged[at : at + chance.randrange(2)] = chance.randbytes(chance.randrange(3))
        damaged = damaged or bytearray(whole)
    return bytes(damaged)


def _flipped(chance: random.Random, frame: bytes, count: int) -> bytes:
    damaged = bytearray(frame)
    for _ in range(count):
        damaged[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def slide(form: Format, data: bytes, cuts: tuple[int, ...] = ()) -> list[tuple[int, bytes]]:
    """Run the parser over `data`, handed over in pieces; return (offset, frame) of each frame.

    Raises:
        AssertionError: a rule is broken; the message says which.

    """
    found, at, have = list[tuple[int, bytes]](), 0, 0
    for end in (*cuts, len(data)):
        have = end
        while at <= have:
            buffer = data[at:have]
            verdict = form.parse(buffer)
            if isinstance(verdict, Need):
                assert len(buffer) < LONGEST, "it waits for more for ever"
                break
            taken = verdict.count if isinstance(verdict, Skip) else verdict.length
            assert 1 <= taken <= len(buffer), f"it takes {taken} of {len(buffer)} bytes"
            if isinstance(verdict, Frame):
                found.append((at, buffer[:taken]))
                if form.decode is not None:
                    _decoded(form, verdict.payload)
            at += taken
    return found


def _decoded(form: Format, payload: bytes) -> None:
    try:
        assert form.decode is not None
        form.decode(payload)
    except DriverError:
        return


def check(form: Format | Stream, data: bytes, cuts: tuple[int, ...] | None = None) -> int:
    """Try one case; return the number of frames.

    Raises:
        AssertionError: a rule is broken.
        Exception: what the parser raised.

    """
    if isinstance(form, Stream):
        decoder = form.decoder()
        for begin, end in zip((0, *(cuts or ())), (*(cuts or ()), len(data)), strict=True):
            decoder.feed(data[begin:end])
            assert decoder.pending < 65536, "it keeps bytes for ever"
        return 0
    found = slide(form, data)
    if cuts is not None:
        assert slide(form, data, cuts) == found, "the frames depend on how the bytes are cut"
    return len(found)


def check_flip(form: Format, example: bytes, flipped: bytes) -> None:
    """See that a whole frame with one flipped bit is not taken for a frame."""
    accepted = [frame for at, frame in slide(form, flipped) if at == 0]
    assert not accepted, f"it accepts {flipped.hex(' ')} (from {example.hex(' ')})"


def flips(form: Format) -> Iterator[tuple[bytes, bytes]]:
    """Yield every example with every single bit flipped, where a checksum covers it."""
    for example in form.examples if form.checked else ():
        for bit in range(8 * len(example)):
            damaged = bytearray(example)
            damaged[bit // 8] ^= 1 << bit % 8
            yield example, bytes(damaged)


def fuzz(name: str, form: Format | Stream, amount: int, seed: int = SEED) -> Tally:
    """Send at least `amount` bytes through one format."""
    chance, tally = random.Random(f"{seed} {name}"), Tally(name)
    if isinstance(form, Format):
        for example, flipped in flips(form):
            tally.flips += 1
            tally.bytes += len(flipped)
            _try(tally, flipped, lambda e=example, f=flipped: check_flip(form, e, f))
    number = 0
    while tally.bytes < amount and len(tally.failures) < 20:
        number += 1
        length = 3 * LONGEST if number % 100 == 0 else _CASE
        if number % 100 == 0:  # no terminator, no head: does it wait for ever?
            alphabet = b"".join(e[1:-2] for e in form.examples) or b"0"
            data = bytes(chance.choice(alphabet) for _ in range(length))
        else:
            data = case(chance, form.examples, length)
        cuts = None
        if number % _CUT_EVERY == 0 or isinstance(form, Stream):
            cuts = tuple(sorted(chance.randrange(len(data) + 1) for _ in range(20)))
        tally.bytes += len(data)
        tally.frames += _try(tally, data, lambda d=data, c=cuts: check(form, d, c)) or 0
    return tally


def _try(tally: Tally, data: bytes, action: object) -> int | None:
    try:
        return action()  # type: ignore[operator, no-any-return]
    except Exception as error:
        tally.failures.append((f"{type(error).__name__}: {error}", data))
        return None


def shrunk(form: Format | Stream, data: bytes) -> bytes:
    """Cut out of a failing case what it does not need to fail."""

    def fails(part: bytes) -> bool:
        try:
            check(form, part, tuple(range(0, len(part), 7)))
        except Exception:
            return True
        return False

    if not fails(data):
        return data
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            data, at = (shorter, at) if fails(shorter) else (data, at + size)
        size //= 2
    return data


def keep(name: str, data: bytes) -> Path:
    """Write a failing case where `make test` finds it."""
    CORPUS.mkdir(exist_ok=True)
    path = CORPUS / f"{name}.{hashlib.sha256(data).hexdigest()[:8]}.bin"
    path.write_bytes(data)
    return path


def corpus() -> list[tuple[str, Path]]:
    """Return (format, file) of every case that once failed."""
    return [(p.name.rsplit(".", 2)[0], p) for p in sorted(CORPUS.glob("*.bin"))]


def _one(job: tuple[str, int, int]) -> Tally:
    name, amount, seed = job
    return fuzz(name, formats()[name], amount, seed)


def main() -> int:
    """Fuzz every format on all cores and print one line each."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--bytes", type=int, default=10_000_000, help="per format")
    words.add_argument("--seed", type=int, default=SEED)
    words.add_argument("--only", default="", help="formats whose name contains this")
    words.add_argument("--jobs", type=int, help="processes (default: one a core)")
    chosen = words.parse_args()
    known = formats()
    jobs = [(name, chosen.bytes, chosen.seed) for name in known if chosen.only in name]
    print(f"seed {chosen.seed}, at least {chosen.bytes} bytes through each of {len(jobs)} formats")
    failed, began_s = 0, time.monotonic()
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for tally in pool.map(_one, jobs):
            failed += len(tally.failures)
            print(
                f"{tally.name:40} {tally.bytes:11,} bytes  {tally.frames:7,} frames  "
                f"{tally.flips:5} flips  {len(tally.failures)} failures",
                flush=True,
            )
            for why, data in tally.failures:
                path = keep(tally.name, shrunk(known[tally.name], data))
                print(f"    {why[:200]}\n    kept as {path.relative_to(Path.cwd())}")
    print(f"{failed} failures, {time.monotonic() - began_s:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
