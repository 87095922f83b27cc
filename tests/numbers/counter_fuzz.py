"""Fuzz of register readings: a million simulated traces, and what may never come of them.

    PYTHONPATH=. python -m tests.numbers.counter_fuzz [--traces N] [--seed N]      (make fuzz)

Each trace is a register of 262 kJ behind at most 400 W. Readings come about every second, some
after minutes; the register wraps, begins again unseen or with a note in the log, lives through a
suspend with or without its content, is read half from one update and half from the next, or not at
all, and stands still. What must hold, by the truth that the trace was made from:

- no energy is negative, and it is NaN exactly where there is a reason;
- an energy that is given is the true one, but for two kinds of step that leave no trace in the
  numbers: a register that began again within one step's energy of either of its ends, and a torn
  reading that is off by no more than a step can hold. Both stay within what the hardware can draw
  in that time, and are counted;
- a register that began again anywhere else, and a reading torn by more (its neighbours whole), is a
  fault with its reason; the smaller tear takes from one step what it gives to the next;
- a stall that loses energy is found (`stalled`), one that catches up keeps its energy.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from calibration.analysis import pieces
from calibration.analysis.counters import REASONS, register_differences
from calibration.recording.documents import ChannelInfo
from calibration.recording.reader import Series

LIMIT_W = 400.0
MODULUS_J = 262_143.328_850
BATCH = 5_000
S = 1_000_000_000


@dataclass
class Tally:
    """What came of the traces: steps, steps by reason, and every breach of a promise."""

    traces: int = 0
    steps: int = 0
    unseen_resets: int = 0
    small_tears: int = 0
    stalls: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    breaches: dict[str, int] = field(default_factory=dict)

    def breach(self, what: str, count: int) -> None:
        """Count what should not be."""
        if count:
            self.breaches[what] = self.breaches.get(what, 0) + count


def batch(rng: np.random.Generator, count: int, tally: Tally, n: int = 24) -> None:
    """Make `count` traces that share their instants, and hold the answers against the truth."""
    seconds = np.where(rng.random(n - 1) < 0.03, rng.uniform(300, 3000, n - 1), 1.0)
    asleep = int(rng.integers(1, n)) if rng.random() < 0.5 else None
    known = int(rng.integers(1, n)) if rng.random() < 0.3 else None
    if known == asleep:
        known = None
    t = np.concatenate([[0], np.rint(seconds * S).astype(np.int64).cumsum()])
    energy = seconds * rng.uniform(0, LIMIT_W, (count, n - 1))
    wraps_soon = rng.random((count, 1)) < 0.3
    first = np.where(
        wraps_soon,
        MODULUS_J - rng.uniform(0, 4000, (count, 1)),
        rng.uniform(0, MODULUS_J, (count, 1)),
    )
    first = np.where(rng.random((count, 1)) < 0.05, rng.uniform(0, 300, (count, 1)), first)
    true = np.concatenate([first, energy], axis=1).cumsum(axis=1)
    reset = rng.random((count, n)) < 0.01
    reset[:, 0] = False
    if known is not None:
        reset[:, known] = True
    if asleep is not None:
        reset[:, asleep] = rng.random(count) < 0.5
    # From a reset on the register counts what passed since some moment of that step.
    since = true[:, 1:] - rng.random((count, n - 1)) * energy
    since = np.concatenate([np.zeros((count, 1)), since], axis=1)
    base = np.maximum.accumulate(np.where(reset, since, 0.0), axis=1)
    whole = (true - base) % MODULUS_J
    reading, torn = _tear(rng, whole)
    absent = rng.random((count, n)) < 0.02
    reading[absent] = np.nan
    slept = [] if asleep is None else [(int(t[asleep - 1]), int(t[asleep]))]
    breaks = [] if known is None else [known]
    found = register_differences(
        t, reading, modulus_j=MODULUS_J, power_limit_w=LIMIT_W, slept=slept, breaks=breaks
    )
    decided = found.reason == 0
    most = LIMIT_W * seconds
    tally.traces += count
    tally.steps += found.reason.size
    for number, name in enumerate(REASONS):
        hits = int(np.count_nonzero(found.reason == number))
        tally.reasons[name or "good"] = tally.reasons.get(name or "good", 0) + hits
    tally.breach("negative energy", int(np.sum(found.energy_j < 0)))
    tally.breach("NaN without a reason, or the reverse",
                 int(np.sum(np.isnan(found.energy_j) == decided)))  # fmt: skip
    tally.breach("more than the hardware can draw", int(np.sum(found.energy_j > most + 1e-6)))
    wrong = decided & ~(np.abs(found.energy_j - energy) < 1e-6)
    # A register that began again within one step's energy of its start or of its end.
    low = whole[:, :-1] <= most
    high = whole[:, :-1] >= MODULUS_J - most
    unseen = reset[:, 1:] & (low | high)
    tear = np.abs(reading - whole)
    touched = torn[:, 1:] | torn[:, :-1]
    tally.unseen_resets += int(np.sum(wrong & unseen))
    tally.small_tears += int(np.sum(wrong & touched & ~unseen))
    tally.breach("a wrong energy that nothing hides", int(np.sum(wrong & ~unseen & ~touched)))
    tally.breach(
        "a reset or sleep passed over", int(np.sum(decided & reset[:, 1:] & ~unseen & ~touched))
    )
    tear = np.minimum(tear, MODULUS_J - tear)  # one turn more or less is no difference
    big = torn & (np.where(np.isnan(tear), 0.0, tear) > 2.0 * most.max())
    passed = decided & (big[:, 1:] | big[:, :-1])
    # Of two torn readings in a row the step between them may look like any other.
    passed &= ~(torn[:, 1:] & torn[:, :-1])
    tally.breach("a large tear passed over", int(np.sum(passed & ~reset[:, 1:])))
    # A small tear adds to one step what it takes from the next; where one of the two is refused for
    # it, so is the other.
    alone = torn[:, 1:-1] & ~(torn[:, :-2] | torn[:, 2:] | reset[:, 1:-1] | reset[:, 2:])
    odd = np.isin(found.reason, [REASONS.index(r) for r in ("register_reset", "implausible")])
    half = (odd[:, :-1] & wrong[:, 1:]) | (odd[:, 1:] & wrong[:, :-1])
    tally.breach("one half of a tear kept", int(np.sum(alone & half)))
    # (Over a gap of nearly a whole turn a tear may look like that turn.)
    short = np.maximum(most[:-1], most[1:]) < 0.9 * MODULUS_J
    alone &= short & decided[:, :-1] & decided[:, 1:]
    off_j = (found.energy_j - energy)[:, :-1] + (found.energy_j - energy)[:, 1:]
    tally.breach("a small tear that does not cancel", int(np.sum(alone & ~(np.abs(off_j) < 1e-6))))
    # Digits cut off just before the register begins again: both look like its beginning.
    tally.unseen_resets += int(np.sum(passed & reset[:, 1:] & ~(wrong & unseen)))
    if asleep is not None:
        over = reset[:, asleep] & decided[:, asleep - 1] & ~touched[:, asleep - 1]
        tally.breach("a register lost in sleep passed over", int(np.sum(over)))


def _tear(rng: np.random.Generator, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return readings of which some are torn: digits of two updates, or digits cut off."""
    torn = rng.random(whole.shape) < 0.01
    digit_j = 10.0 ** rng.integers(-3, 6, whole.shape)
    carried = np.where(rng.random(whole.shape) < 0.5, whole - digit_j, whole + digit_j)
    cut = np.floor(whole * 1e6 / 10 ** rng.integers(1, 8, whole.shape)) / 1e6
    shown = np.where(rng.random(whole.shape) < 0.7, carried, cut)
    torn &= (shown >= 0) & (shown < MODULUS_J) & (shown != whole)
    return np.where(torn, shown, whole), torn


def stalled(rng: np.random.Generator, tally: Tally) -> None:
    """Let one register of a minute or more stand still, and hold `pieces` against the truth."""
    n = 150
    energy = rng.uniform(20.0, 60.0, n)
    true = np.cumsum(energy)
    begin, length = int(rng.integers(30, 60)), int(rng.integers(25, 60))
    end = begin + length
    index = np.arange(n)
    catches_up = bool(rng.random() < 0.5)
    lost_j = 0.0 if catches_up else float(true[end] - true[begin])
    reading = np.where((index > begin) & (index <= end), true[begin], true)
    reading = np.where(index > end, true - lost_j, reading)
    cut = pieces(_series(reading))
    codes = {f.code for f in cut.findings}
    tally.stalls += 1
    seen_j = float(cut.energy_j.sum())
    tally.breach("negative energy", int(np.sum(cut.energy_j < 0)))
    if catches_up:
        tally.breach(
            "a stall that caught up lost energy", int(abs(seen_j - true[-1] + true[0]) > 1)
        )
    else:
        kept = cut.duration_s.sum()
        tally.breach("a stall that lost energy passed over", int("stalled" not in codes))
        tally.breach("a stall that lost energy counts as seen", int(kept > n - 1 - length))


def _series(value: np.ndarray) -> Series:
    return Series(
        stream="s", channel=ChannelInfo(
            name="energy_j", quantity="active_energy", unit="J", kind="counter", window_s=1.0
        ),
        t_ns=np.arange(value.size, dtype=np.int64) * S,
        t_half_width_ns=np.zeros(value.size, dtype=np.int64), value=value, window_ns=None,
        cadence_s=1.0, max_gap_s=5.0, source="fuzz", mode=None, boundary="psu_ac_input",
        role="estimator", faults={},
    )  # fmt: skip


def fuzz(traces: int, seed: int) -> Tally:
    """Return what came of at least `traces` traces, one in a thousand of them a stall."""
    rng, tally = np.random.default_rng(seed), Tally()
    for _ in range(-(-traces // BATCH)):
        batch(rng, BATCH, tally)
    for _ in range(traces // 1000):
        stalled(rng, tally)
    return tally


def main() -> int:
    """Fuzz and print what was found."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--traces", type=int, default=1_000_000)
    words.add_argument("--seed", type=int, default=20261128)
    chosen = words.parse_args()
    began_s = time.monotonic()
    tally = fuzz(chosen.traces, chosen.seed)
    print(f"seed {chosen.seed}: {tally.traces:,} traces, {tally.steps:,} steps, "
          f"{tally.stalls:,} stalls, {time.monotonic() - began_s:.0f} s")  # fmt: skip
    for name, count in sorted(tally.reasons.items(), key=lambda x: -x[1]):
        print(f"    {name:16} {count:12,}")
    print(f"    wrong within one step: {tally.unseen_resets:,} registers that began again at an "
          f"end, {tally.small_tears:,} beside small tears")  # fmt: skip
    for what, count in tally.breaches.items():
        print(f"BREACH {what}: {count:,}")
    return 1 if tally.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
