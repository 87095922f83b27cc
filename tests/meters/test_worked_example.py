"""The driver that CONTRIBUTING.md shows, held to every rule of the catalogue."""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import drivers.catalog
from calibration.cli import main
from drivers import Checksum, DeviceError, Entry, open_meter
from drivers.emulators.faults import FaultPlan
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.formats import Format
from drivers.tape import Recorder, Replay, parse_tape
from tests.wire.fuzz import fuzz

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```python\n# (drivers/\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """Return the code of the page by the file that it belongs into."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return dict(BLOCK.findall(text))


def load(path: str, folder: Path) -> ModuleType:
    """Load a block as the module that it would be in the package."""
    file = folder / path.replace("/", "_")
    file.write_text(blocks()[path], encoding="utf-8")
    name = path.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entry]:
    """Install the example: two files and a line."""
    names = [p.removesuffix(".py").replace("/", ".") for p in blocks() if "catalog" not in p]
    for path in blocks():
        if "catalog" not in path:
            load(path, tmp_path)
    row = eval(blocks()["drivers/catalog_rows.py"], {"Entry": Entry})
    assert isinstance(row, Entry)
    monkeypatch.setattr(drivers.catalog, "CATALOG", (*drivers.catalog.CATALOG, row))
    yield row
    for name in names:
        del sys.modules[name]


def module_of(entry: Entry) -> ModuleType:
    return sys.modules[drivers.catalog.driver_of(entry).__module__]


def rules(file: str, *without: str) -> list[Callable[[Entry], None]]:
    """Return the tests of a file that hold for any one entry of the catalogue."""
    path = Path(__file__).with_name(file)
    spec = importlib.util.spec_from_file_location(path.stem + "_rules", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return [
        rule
        for name, rule in vars(module).items()
        if name.startswith("test_")
        and name not in without
        and list(inspect.signature(rule).parameters) == ["entry"]
    ]


RULES = [
    # There is no tape of a meter that does not exist.
    *rules("test_conformance.py", "test_there_is_a_tape"),
    # It is asked, and does not stream.
    *rules("test_simulated_hour.py", "test_a_stream_with_faults"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_the_example_keeps_the_rules_of_the_catalogue(
    entry: Entry, rule: Callable[[Entry], None]
) -> None:
    rule(entry)


def test_there_are_rules() -> None:
    assert "test_an_hour_with_faults" in {rule.__name__ for rule in RULES}
    assert len(RULES) >= 6


def test_the_example_survives_bytes_that_no_meter_sends(entry: Entry) -> None:
    for name, form in module_of(entry).FORMATS.items():
        assert isinstance(form, Format)
        assert fuzz(name, form, 100_000).failures == []


def test_its_frames_are_those_of_the_page(entry: Entry) -> None:
    module = module_of(entry)
    verdict = module.parse(b"V2301,W00873,E00056*4B\r\n")
    assert module.decode(verdict.payload) == {
        "voltage_v": 230.1,
        "power_w": 87.3,
        "energy_j": 56 * 3600,
    }


def test_faults_come_out_as_faults_and_a_tape_replays(entry: Entry) -> None:
    plan, clock, out = FaultPlan(), VirtualClock(), io.StringIO()
    for name in (None, "bad_crc", "late", None, "noise"):
        plan.inject(name)
    device = drivers.catalog.emulator_of(entry).device(87.35)
    line = NullModem(Responder(device, plan), clock)
    driver = drivers.catalog.driver_of(entry)
    meter = driver(Recorder(line, out, now_ns=clock.now_ns), now_ns=clock.now_ns)
    assert meter.identify() == {"model": "ac-1", "firmware": "1.02"}
    with pytest.raises(Checksum):
        meter.read()
    with pytest.raises(drivers.Timeout):
        meter.read()
    for _ in range(2):
        assert meter.read().values["power_w"] == 87.3
    with Replay(parse_tape(out.getvalue())) as replay:
        again = driver(replay, now_ns=replay.now_ns)
        assert again.identify()["firmware"] == "1.02"
        for error in (Checksum, drivers.Timeout):
            with pytest.raises(error):
                again.read()
        assert again.read().values["power_w"] == again.read().values["power_w"] == 87.3


def test_another_name_is_another_meter(entry: Entry) -> None:
    driver = drivers.catalog.driver_of(entry)
    tape = parse_tape("# wattcal tape 1\n0 > 21 0A\n0.01 < " + b"AC-2,1.02*2C\r\n".hex(" ") + "\n")
    replay = Replay(tape)
    with pytest.raises(DeviceError, match="Expected an AC-1"):
        driver(replay, now_ns=replay.now_ns).identify()


def test_the_commands_find_it(
    entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meters", "ac-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["channels"][1]["name"] == "power_w"
    with drivers.catalog.emulator_of(entry)(60.0) as emulator:
        assert main(["meters", "--port", emulator.path, "ac-1", "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found["identity"] == {"model": "ac-1", "firmware": "1.02"}
        file = tmp_path / "ac1.tape"
        address = f"ac-1@{emulator.path}"
        assert main(["tape", "record", address, "-o", str(file), "--seconds", "0.2"]) == 0
        meter = open_meter(address)
        assert meter.read().values["power_w"] == 60.0  # type: ignore[union-attr]
        meter.close()
    link = str(tmp_path / "port")
    command = ["emulate", "ac-1", "--link", link, "--seconds", "0.05", "--faults", "bad_crc=0.5"]
    assert main(command) == 0


def test_the_example_is_written_as_the_rest(tmp_path: Path) -> None:
    for path in blocks():
        if "catalog" in path:
            continue
        file = tmp_path / Path(path).name
        file.write_text(blocks()[path], encoding="utf-8")
        for command in (["check"], ["format", "--check"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "--config", ROOT / "pyproject.toml", file],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
