"""`wattcal meters` (the catalogue) and `wattcal emulate`, and the one file that names `drivers`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from calibration.cli import main
from calibration.cli.emulate import read_profile
from calibration.cli.meters import markdown
from calibration.errors import InputError
from calibration.instruments import CATALOG, Gone, open_meter, options_of, start_emulator

ROOT = Path(__file__).parent.parent.parent


def test_the_list_of_meters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meters"]) == 0
    out = capsys.readouterr().out
    assert "pzem-004t" in out
    assert "pmd-usb" in out


def test_the_list_of_meters_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meters", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [m["model"] for m in listed] == [e.model for e in CATALOG]
    schema = json.loads((ROOT / "calibration" / "schema" / "meters-1.0.json").read_text())
    jsonschema.validate(listed, schema)


@pytest.mark.parametrize("model", [e.model for e in CATALOG])
def test_one_meter_in_80_columns_and_as_json(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meters", model]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80, out
    assert main(["meters", model, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    schema = json.loads((ROOT / "calibration" / "schema" / "meter-1.0.json").read_text())
    jsonschema.validate(shown, schema)
    assert {c["quantity"] for c in shown["channels"]} == set(shown["quantities"])
    for channel in shown["channels"]:
        assert channel["name"] in out


def test_the_page_of_a_meter_says_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meters", "PZEM-004T"]) == 0
    out = capsys.readouterr().out
    (power,) = [line for line in out.splitlines() if line.startswith("power_w")]
    assert power.split()[:6] == ["power_w", "W", "0.1", "0.5", "%", "rdg"]
    assert "1 s*" in power
    assert "* assumed, in no source:" in out
    assert "baud=9600" in out


def test_an_unknown_meter_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meters", "pzem-005"]) == 4
    assert "Expected one of the meters pzem-004t" in capsys.readouterr().err


def test_the_readme_holds_the_catalogue() -> None:
    """After a new row: `make meters-table`."""
    assert f"\n{markdown()}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_written_between_its_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    page.write_text(text.replace("`pzem-004t`", "`old`"))
    assert main(["meters", "--update", str(page)]) == 0
    assert page.read_text() == text
    page.write_text("nothing")
    assert main(["meters", "--update", str(page)]) == 3
    assert "they are missing" in capsys.readouterr().err
    assert page.read_text() == "nothing"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_emulate_serves_until_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    link = tmp_path / "meter"
    profile = tmp_path / "profile.csv"
    profile.write_text("t_s,power_w\n0,40\n0.5,41\n1,42\n1.5,43\n3600,99\n")
    command = [sys.executable, "-m", "calibration", "emulate", "pzem-004t", "--link", str(link)]
    with subprocess.Popen(
        [*command, "--profile", str(profile), "--set", "refresh_s=0.1", "--set", "window_s=0.1"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 30
        while True:
            try:
                meter = open_meter(f"pzem-004t@{link}")
                break
            except Gone:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert meter.read().values["power_w"] in (40.0, 40.5, 41.0, 42.0, 43.0)
        meter.close()
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert not os.path.lexists(link)


@pytest.mark.parametrize("model", [e.model for e in CATALOG if e.emulator])
def test_every_emulator_runs_by_its_name_and_ends_by_itself(model: str, tmp_path: Path) -> None:
    link = tmp_path / "meter"
    arguments = ["emulate", model, "--power", "90", "--faults", "silent=0.1", "--seed", "3"]
    serial = "baud" in {o.name for o in options_of(model)}  # else HTTP
    port = ["--link", str(link)] if serial else ["--tcp", "0"]
    assert main([*arguments, *port, "--seconds", "0.05"]) == 0
    assert not os.path.lexists(link)


def test_emulate_on_a_tcp_port_with_options() -> None:
    with start_emulator("pzem-004t", 12.0, link="socket://127.0.0.1:0", options={"unit": "7"}) as e:
        meter = open_meter(f"pzem-004t@{e.path}")
        assert meter.identify()["unit"] == "7"
        meter.close()
    assert main(["emulate", "pzem-004t", "--tcp", "0", "--seconds", "0.05"]) == 0


def test_emulate_replays_a_recorded_stream(tmp_path: Path) -> None:
    raw = tmp_path / "raw.bin"
    raw.write_bytes(b"bytes")
    link = str(tmp_path / "meter")
    command = ["emulate", "pmd-usb", "--stream", str(raw), "--link", link, "--seconds", "0.05"]
    assert main(command) == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--faults", "fire=0.1"], 3, "Expected a fault among silent, late"),
        (["--faults", "late"], 3, "--faults expects NAME=VALUE"),
        (["--faults", "late=much"], 3, "--faults expects NAME=RATE"),
        (["--faults", "late=2"], 3, "probability"),
        (["--faults", "late=0.6,torn=0.6"], 3, "together must not exceed 1"),
        (["--faults", "over_range=0.1"], 4, "pzem-004t can suffer silent, late"),
        (["--power", "nan"], 3, "--power expects watts"),
        (["--set", "window_s=0"], 3, "window_s must be a positive number"),
        (["--set", "refresh_s=-1"], 3, "refresh_s must be a positive number"),
        (["--set", "window_s=wide"], 4, "Expected a number for window_s"),
        (["--set", "colour=3"], 4, "has the options energy_wh=0.0, frequency_hz=50.0"),
        (["--set", "unit"], 3, "--set expects NAME=VALUE"),
        (["--stream", "x.bin"], 3, "--stream replays a pmd-usb"),
        (["--profile", "missing.csv"], 3, "missing.csv cannot be read"),
        (["--link", "/dev/null"], 3, "exists already"),
        (["--link", "/no/such/folder/meter"], 3, "Expected a folder at /no/such/folder"),
    ],
)
def test_a_mistake_is_one_sentence(
    options: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "meter"
    command = ["emulate", "pzem-004t", "--link", str(link), "--seconds", "0.1", *options]
    assert main(command) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not os.path.lexists(link)


def test_a_port_that_is_none_and_a_model_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulate", "pzem-004t", "--tcp", "70000"]) == 3
    assert "--tcp expects a port" in capsys.readouterr().err
    assert main(["emulate", "pzem-005"]) == 4
    assert "Expected one of the meters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected the header t_s,power_w in line 1"),
        ("time,watt\n0,1\n", "got 'time,watt'"),
        ("t_s,power_w\n", "there are none"),
        ("t_s,power_w\n0,1\n1\n", "line 3: expected two numbers; got '1'"),
        ("t_s,power_w\n0,1\n1,2,3\n", "line 3: expected two numbers"),
        ("t_s,power_w\n0,much\n", "line 2: expected two numbers; got '0,much'"),
        ("t_s,power_w\n0,nan\n", "line 2: expected a time and 0 to 100000 W"),
        ("t_s,power_w\n0,-5\n", "line 2: expected a time and 0 to 100000 W"),
        ("t_s,power_w\n1,5\n1,6\n", "line 3: expected a time after 1 s; got 1 s"),
        ("t_s,power_w\n2,5\n1,6\n", "line 3: expected a time after 2 s"),
    ],
)
def test_a_bad_profile_is_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "profile.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_profile(path)
    assert words in str(caught.value)


def test_a_profile_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "profile.csv"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="cannot be read"):
        read_profile(path)


def test_a_profile_holds_each_power_until_the_next(tmp_path: Path) -> None:
    path = tmp_path / "profile.csv"
    path.write_text("t_s, power_w\n0,10\n5,20\n\n7.5,30\n")
    power_w = read_profile(path)
    assert [power_w(t) for t in (-1, 0, 4.99, 5, 7.4, 7.5, 1e6)] == [10, 10, 10, 20, 20, 30, 30]


def test_another_package_named_drivers_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers" / "__init__.py").write_text("")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "try:\n    import calibration.instruments\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.startswith("NotInstalled Expected the package `drivers` beside")
    assert str(tmp_path / "drivers") in done.stdout


def test_listing_meters_needs_nothing_but_python() -> None:
    code = (
        "import sys, calibration.instruments as i; i.entries()\n"
        "print(sorted({'numpy', 'serial', 'pyarrow', 'codecarbon'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
