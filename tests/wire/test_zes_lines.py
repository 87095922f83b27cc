"""The lines of the LMG95 and LMG670: real ones, their clocks, and single corrupted bytes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.meters.zes_lines import MODELS, ValuesDecoder
from drivers.tape import load_tape

TAPES = Path(__file__).parent.parent / "tapes"
AT_0_5_S: dict[str, Any] = {"voltage_range_v": 250.0, "current_range_a": 10.0, "cycle_s": 0.5}


def decoder(variant: str) -> ValuesDecoder:
    return ValuesDecoder(MODELS[variant], **AT_0_5_S)


def recorded(variant: str) -> bytes:
    events = load_tape(TAPES / f"zes_{variant}_log.tape").events
    return b"".join(e.data for e in events if e.kind == "<")


def test_the_real_lines_of_an_lmg95() -> None:
    samples = decoder("lmg95").feed(recorded("lmg95"))
    assert samples.device_ticks.tolist() == list(range(10_267, 10_276))
    assert samples.faults == ()
    assert (samples.columns["voltage_v"] / 10_000).tolist()[:2] == [234.835, 234.904]
    assert not samples.columns["power_w"].any()


def test_the_real_lines_of_an_lmg670() -> None:
    samples = decoder("lmg670").feed(recorded("lmg670"))
    assert samples.faults == ()
    assert np.diff(samples.device_ticks).tolist() == [500_101, 500_102, 500_102, 500_115, 500_115]
    assert samples.device_ticks[0] == ((17 * 60 + 20) * 60 + 55) * 1_000_000 + 437_817
    assert samples.columns["voltage_v"].tolist()[0] == 2_316_219


@pytest.mark.parametrize("variant", ["lmg95", "lmg670"])
def test_a_lost_line_is_a_gap_in_the_ticks_and_no_shift(variant: str) -> None:
    lines = recorded(variant).splitlines(keepends=True)
    whole = decoder(variant).feed(b"".join(lines))
    part = decoder(variant).feed(b"".join(lines[:2] + lines[4:]))
    kept = [0, 1, *range(4, len(lines))]
    assert part.device_ticks.tolist() == whole.device_ticks[kept].tolist()


def line95(**changed: str) -> bytes:
    fields = {"count": "10268", "sctc": "434553545", "cycr": "0.500217", "u": "234.904"}
    fields |= {"i": "1.54760", "p": "345.360", "pf": "0.95000"}
    return ";".join({**fields, **changed}.values()).encode() + b"\r\n"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"p": "9.9e+37", "i": "9.9e37"}, "overrange"),
        ({"p": "9.91e+37"}, "no-data"),
        ({"p": "245.360"}, "implausible"),
        ({"cycr": "0.900217"}, "implausible"),
        ({"sctc": "434553999"}, "implausible"),
        ({"count": "10268.5"}, "implausible"),
        ({"count": "10267"}, "held"),
        ({"count": "200"}, "reboot"),
        ({"u": "834.904"}, "implausible"),
        ({"u": "x"}, "desync"),
    ],
)
def test_a_line_that_cannot_be_is_a_fault(changed: dict[str, str], code: str) -> None:
    one = decoder("lmg95")
    begin = line95(count="10266", sctc="434454167")
    good = line95(count="10267", sctc="434503856")
    assert one.feed(begin, 0).faults == ()
    assert one.feed(good, 500_000_000).faults == ()
    samples = one.feed(line95(**changed), 1_000_000_000)
    assert samples.device_ticks.size == 0
    assert samples.faults == (code,)


def test_the_counter_of_cycles_wraps() -> None:
    one = decoder("lmg95")
    first = one.feed(line95(count="65535", sctc=str((1 << 31) - 40_000)), 0)
    second = one.feed(line95(count="0", sctc="9689"), 500_000_000)
    assert (first.device_ticks[0], second.device_ticks[0]) == (65_535, 65_536)


@settings(deadline=None)
@given(
    st.sampled_from(["lmg95", "lmg670"]),
    st.lists(st.integers(1, 400), max_size=8),
    st.binary(max_size=20),
)
def test_any_cut_gives_the_same_samples(variant: str, cuts: list[int], noise: bytes) -> None:
    data = noise.replace(b"\n", b"") + b"\n" + recorded(variant)
    whole = decoder(variant).feed(data)
    edges = sorted({0, *(c for c in cuts if c < len(data)), len(data)})
    one = decoder(variant)
    parts = [one.feed(data[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.concatenate([p.device_ticks for p in parts]).tolist() == whole.device_ticks.tolist()
    assert whole.device_ticks.size == (9 if variant == "lmg95" else 6)


def leaks(variant: str, before: bytes, line: bytes) -> tuple[int, int, float]:
    """Corrupt every byte in all ways: (changed and accepted, tries, largest change in W)."""

    def read(last: bytes) -> tuple[int, ...] | None:
        one = decoder(variant)
        one.feed(before, 0)
        samples = one.feed(last, 500_000_000)
        if not samples.device_ticks.size:
            return None
        return (int(samples.device_ticks[0]), *(int(c[0]) for c in samples.columns.values()))

    true = read(line)
    assert true is not None
    accepted = tries = 0
    worst_w = 0.0
    for at in range(len(line.rstrip())):
        for byte in range(256):
            if byte == line[at]:
                continue
            tries += 1
            if not 32 <= byte < 127 and byte != 10:
                continue  # no text: `parse_line` cuts the line there
            got = read(line[:at] + bytes((byte,)) + line[at + 1 :])
            if got is not None and got != true:
                accepted += 1
                worst_w = max(worst_w, abs(got[-1] - true[-1]) / 10_000)
    return accepted, tries, worst_w


def test_how_many_corrupted_bytes_go_unnoticed() -> None:
    """The figures of the driver's docstring; they may only shrink."""
    before = line95(count="10266", sctc="434454167") + line95(count="10267", sctc="434503856")
    accepted, tries, worst_w = leaks("lmg95", before, line95())
    assert (accepted <= 13, tries, worst_w <= 0.0041) == (True, 14_280, True)
    stamp = b"2015:01:21D17:20:55.%06d000+0000;0.500101824;"
    values = b"2.349040E+02;1.547600E+00;3.453606E+02;9.500000E-01\n"
    accepted, tries, worst_w = leaks("lmg670", stamp % 437817 + values, stamp % 937918 + values)
    assert (accepted <= 57, tries, worst_w <= 0.00021) == (True, 24_990, True)
