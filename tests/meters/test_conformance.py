"""Every rule for every meter in the catalogue; a new entry is tested without a new line here."""

from __future__ import annotations

import inspect
import os
import threading
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import drivers.catalog
from drivers import CATALOG, Entry, Meter, StreamingMeter, entries, open_meter
from drivers.catalog import channels_of, driver_of, emulator_of
from drivers.emulators.faults import FaultPlan, faults_of
from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.emulators.served import PtyServer
from drivers.errors import Busy, DriverError, Gone, Unsupported
from drivers.tape import load_tape
from tests.meters.in_memory import base_of, resolution_w, total_w

ROOT = Path(__file__).parent.parent.parent
# Nobody had the maker's document: what is known of them is from programs of their users, which the
# driver names; may only shrink.
WITHOUT_SPEC = {"hioki-3334", "lmg95", "lmg670"}
# Their evidence is whole recordings in `WATTCAL_DATA` instead of a tape; may only shrink.
WITHOUT_TAPE = {"pmd-usb"}

MODELS = ", ".join(e.model for e in CATALOG)
OVER_A_PTY = {"pzem-004t", "pmd-usb"}
SOAK = os.environ.get("WATTCAL_SOAK") == "1"

every = pytest.mark.parametrize("entry", CATALOG, ids=lambda e: e.model)


def emulated(entry: Entry) -> PtyServer:
    server: PtyServer = emulator_of(entry)(100.0, **entry.preset)
    return server


def take_one(meter: Meter | StreamingMeter) -> bool:
    """Take one reading or block, starting the stream where there is one."""
    if hasattr(meter, "read_block"):
        meter.start()
        return len(meter.read_block().device_ticks) > 0
    return bool(meter.read().values)


def take_until_it_fails(meter: Meter | StreamingMeter) -> None:
    """Read on: what was on its way when the port vanished may still arrive."""
    while True:
        take_one(meter)


@every
def test_channels_say_what_their_numbers_are_worth(entry: Entry) -> None:
    channels = channels_of(entry.model)
    assert len({c.name for c in channels}) == len(channels)
    assert {c.quantity for c in channels} == set(entry.quantities)
    for channel in channels:
        assert channel.unit in ("V", "A", "W", "VA", "var", "J", "Hz", "deg", "1")
        if "resolution" not in channel.assumed:  # as of a float32, whose step grows
            assert channel.resolution >= float(channel.scale) * (1 - 1e-9)
        assert channel.accuracy is not None
        assert channel.accuracy.source or channel.accuracy.assumed
        if channel.kind == "mean":
            assert channel.window_s is not None


@every
def test_the_driver_says_where_its_knowledge_comes_from(entry: Entry) -> None:
    text = inspect.getdoc(inspect.getmodule(driver_of(entry)))
    assert text is not None
    for word in ("Seen:", "Sources:", "Wire", "Quirks"):
        assert word in text
    assert ("spec" in {kind for kind, _ in entry.evidence}) == (entry.model not in WITHOUT_SPEC)
    for _, where in entry.evidence:
        if where.startswith("tests/"):
            assert (ROOT / where.split(" ")[0]).exists(), where


@every
def test_there_is_a_tape(entry: Entry) -> None:
    tapes = [load_tape(p) for p in (ROOT / "tests" / "tapes").glob("*.tape")]
    if entry.model not in WITHOUT_TAPE:
        assert entry.model in {t.head["model"] for t in tapes}


@every
def test_constructors_have_the_common_shape(entry: Entry) -> None:
    parameters = inspect.signature(driver_of(entry)).parameters
    assert next(iter(parameters)) == "transport"
    assert "now_ns" in parameters
    assert isinstance(driver_of(entry).baud, int)


@every
def test_opening_reading_and_closing(entry: Entry) -> None:
    with emulated(entry) as emulator:
        meter = open_meter(f"{entry.model}@{emulator.path}")
        assert meter.model == entry.model
        assert meter.identify()["model"] == entry.model
        if not emulator.path.startswith("http:"):  # which serves whoever asks
            with pytest.raises(Busy):
                open_meter(f"{entry.model}@{emulator.path}")
        assert take_one(meter)
        meter.close()
        meter.close()
        again = open_meter(f"{entry.model}@{emulator.path}")
        assert take_one(again)
        again.close()


@every
def test_unplugged_is_gone_and_a_new_opening_works(entry: Entry) -> None:
    with emulated(entry) as emulator:
        meter = open_meter(f"{entry.model}@{emulator.path}")
        assert take_one(meter)
        emulator.unplug()
        with pytest.raises(Gone):
            take_until_it_fails(meter)
        meter.close()
        with pytest.raises(Gone, match="there is none"):
            open_meter(f"{entry.model}@{emulator.path}")
        emulator.replug()
        meter = open_meter(f"{entry.model}@{emulator.path}")
        assert take_one(meter)
        meter.close()


def looks_right(meter: Meter | StreamingMeter, base_w: float) -> bool:
    """Take what it has to say; whether it is the constant power."""
    if hasattr(meter, "read_block"):
        block = meter.read_block()
        columns = {c.name: block.columns[c.name] * float(c.scale) for c in meter.channels}
        rows = [
            dict(zip(columns, row, strict=True)) for row in set(zip(*columns.values(), strict=True))
        ]
    else:
        rows = [dict(meter.read().values)]
    return all(abs(total_w(r) - base_w) <= resolution_w(meter.channels, r) for r in rows)


def live(entry: Entry, seconds: float, wrong: list[str]) -> None:
    """Ask as often as it answers, while one answer in ten goes wrong; say what was wrong."""
    emulator_class, base_w = emulator_of(entry), base_of(channels_of(entry.model))
    names = faults_of(emulator_class.device(base_w, **entry.preset))
    names = tuple(n for n in names if n != "bit_flip" or "bad_crc" in names)
    faults = FaultPlan(dict.fromkeys(names, 0.1 / len(names)), seed=3, late_s=0.5, away_s=0.3)
    meter, good, end_s = None, 0, time.monotonic() + seconds
    with emulator_class(base_w, faults=faults, **entry.preset) as emulator:
        while time.monotonic() < end_s:
            try:
                if meter is None:
                    meter = open_meter(f"{entry.model}@{emulator.path}")
                    meter.identify()
                    if hasattr(meter, "read_block"):
                        meter.start()
                if not looks_right(meter, base_w):
                    wrong.append(f"{entry.model}: another power than {base_w:g} W")
                good += 1
            except DriverError as error:
                time.sleep(0.02)
                if meter is not None and (isinstance(error, Gone) or hasattr(meter, "read_block")):
                    meter.close()
                    meter = None
        if meter is not None:
            meter.close()
    if good < 10:
        wrong.append(f"{entry.model}: {good} good readings in {seconds:g} s")


def test_twenty_seconds_over_real_lines_with_faults() -> None:
    """Side by side, each on a pty of its own; all models where WATTCAL_SOAK=1."""
    wrong: list[str] = []
    chosen = [e for e in CATALOG if SOAK or e.model in OVER_A_PTY]
    for batch in (chosen[i : i + 6] for i in range(0, len(chosen), 6)):
        threads = [threading.Thread(target=live, args=(e, 20.0, wrong)) for e in batch]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("pzem-005@/dev/null", f"Expected one of the meters {MODELS}; got 'pzem-005'"),
        ("pzem-004t", "Expected MODEL@PORT"),
        ("@/dev/ttyUSB0", "Expected MODEL@PORT"),
        ("pzem-004t@", "Expected MODEL@PORT"),
        ("pzem-004t,unit=3@/dev/ttyUSB0", "Options stand behind the port"),
        (
            "pzem-004t@/dev/ttyUSB0?colour=3",
            "pzem-004t knows the keys baud, parity, reply_s, stopbits, unit; got 'colour'",
        ),
        ("pzem-004t@/dev/ttyUSB0?unit=x", "Expected a whole number for unit; got 'x'"),
    ],
)
def test_a_wrong_address_is_one_sentence(address: str, words: str) -> None:
    with pytest.raises(Unsupported) as caught:
        open_meter(address)
    assert words in str(caught.value)


def test_options_stand_in_the_address_or_in_the_call() -> None:
    with Pzem004tEmulator(50.0, unit=7) as emulator:
        meter = open_meter(f"pzem-004t@{emulator.path}?unit=0x07")
        assert meter.identify()["unit"] == "7"
        meter.close()
        meter = open_meter(f"PZEM-004T@{emulator.path}", unit=7)
        assert meter.identify()["unit"] == "7"
        meter.close()
        other = open_meter(f"pzem-004t@{emulator.path}?unit=8&reply_s=0.05")
        with pytest.raises(DriverError):
            other.read()
        other.close()


THIRD_PARTY = Entry("acme-1", "ACME", "ACME", (), (), "acme:Acme", None, ())


def test_other_packages_add_meters_and_cannot_replace_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = "drivers.catalog"
    points = [
        EntryPoint("broken", "no.such.module:ENTRY", drivers.catalog.ENTRY_POINT_GROUP),
        EntryPoint("impostor", f"{here}:CATALOG", drivers.catalog.ENTRY_POINT_GROUP),
        EntryPoint("acme", f"{here}:THIRD_PARTY", drivers.catalog.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(drivers.catalog, "THIRD_PARTY", THIRD_PARTY, raising=False)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    assert [e.model for e in entries()] == [*(e.model for e in CATALOG), "acme-1"]
    assert "broken" in caplog.text
    assert "impostor" in caplog.text
