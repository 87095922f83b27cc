"""Tapes of emulated instruments: a driver that asks or decodes otherwise than it did is noticed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from drivers.catalog import find
from drivers.tape import Replay, load_tape

FOLDER = Path(__file__).parent.parent / "tapes"
# Those of meters that are asked; they say how much power was emulated.
TAPES = [p for p in sorted(FOLDER.glob("*_computed.tape")) if "power_w" in load_tape(p).head]


@pytest.mark.parametrize("path", TAPES, ids=lambda p: p.stem)
def test_the_driver_has_the_conversation_on_the_tape(path: Path) -> None:
    tape = load_tape(path)
    entry = find(tape.head["model"])
    module, _, name = entry.driver.partition(":")
    driver = getattr(importlib.import_module(module, "drivers"), name)
    with Replay(tape) as line:
        meter = driver(line, now_ns=line.now_ns, **entry.preset)
        assert meter.identify()["model"] == entry.model
        for _ in range(2):
            power_w = meter.read().values["power_w"]
            step_w = next(c.resolution for c in meter.channels if c.name == "power_w")
            assert power_w == pytest.approx(float(tape.head["power_w"]), abs=0.51 * step_w)
