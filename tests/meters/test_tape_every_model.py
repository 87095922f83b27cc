"""Every meter recorded and replayed: the same values, and neither unit id nor serial number."""

from __future__ import annotations

import io
from typing import Any

import pytest

from drivers import CATALOG, Entry
from drivers.catalog import driver_of, emulator_of, mask_of
from drivers.emulators.by_model import emulator_options
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.masking import Masker
from drivers.tape import Recorder, Replay, parse_tape

UNIT = 0x2A  # 42: on no tape, neither as a byte before a function nor as a number in a register

# One of each family; meters without a serial line have no tape of bytes.
FAMILIES = {e.driver: e for e in reversed(CATALOG) if driver_of(e).baud and e.emulator}


def talk(meter: Any) -> tuple[dict[str, str], object]:
    """Say who is there, take one reading or block."""
    identity = dict(getattr(meter, "who", meter.identify)())
    if not hasattr(meter, "read_block"):
        return identity, dict(meter.read().values)
    meter.start()
    return identity, len(meter.read_block().device_ticks) > 0


@pytest.mark.parametrize("entry", FAMILIES.values(), ids=lambda e: e.model)
def test_a_masked_tape_is_the_same_meter(entry: Entry) -> None:
    has_unit = "unit" in {o.name for o in emulator_options(entry.model)}
    options = {"unit": UNIT} if has_unit else {}
    out, masker, clock = io.StringIO(), Masker(mask_of(entry.model)), VirtualClock()
    line = NullModem(Responder(emulator_of(entry).device(100.0, **entry.preset, **options)), clock)
    recorder = Recorder(line, out, masker=masker, now_ns=clock.now_ns)
    driver = driver_of(entry)
    lived = talk(driver(recorder, now_ns=clock.now_ns, **entry.preset, **options))
    recorder.close()
    tape = parse_tape(out.getvalue())
    replay = Replay(tape)
    masked_options = {"unit": 1} if has_unit else {}
    again = talk(driver(replay, now_ns=replay.now_ns, **entry.preset, **masked_options))
    assert again[1] == lived[1]
    for name, said in lived[0].items():
        if name.startswith("serial") and said.strip("0"):
            assert said not in again[0][name]
            assert not any(said.encode() in e.data for e in tape.events)
        elif name != "unit":
            assert again[0][name] == said
    if has_unit:
        assert again[0]["unit"] == "1"
        assert UNIT not in {e.data[0] for e in tape.events if e.data}
