"""`wattcal record` with a laboratory's meters: references, meters under test, ratings, serials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.cli import main
from calibration.errors import InputError
from calibration.instruments import Pzem004tEmulator, start_emulator
from calibration.keyed import KEY_VARIABLE, keyed_hash, lab_key
from calibration.recording.reader import read_run

BRIEF = ("--estimator", "cpu-load", "--workload", "idle:0:0.4", "--simulated", "--headless")


@pytest.fixture
def meters() -> Iterator[tuple[Pzem004tEmulator, Pzem004tEmulator]]:
    with Pzem004tEmulator(53.2, refresh_s=0.1) as one, Pzem004tEmulator(20.0, refresh_s=0.1) as two:
        yield one, two


@pytest.fixture
def lab(tmp_path: Path, meters: tuple[Pzem004tEmulator, Pzem004tEmulator]) -> Path:
    path = tmp_path / "lab.toml"
    (tmp_path / "temp1_input").write_text("23125\n")
    path.write_text(
        f"""
        operator = "A. Person"
        reference = "psu-a+psu-b"
        [[meter]]
        name = "psu-a"
        address = "pzem-004t@{meters[0].path}"
        serial = "0417"
        certificate = {{id = "K-1", issuer = "A Lab", issued = 2020-01-01, due = 2021-01-01}}
        [[meter]]
        name = "psu-b"
        address = "pzem-004t@{meters[1].path}"
        boundary = "rack_outlet"
        range_w = 500
        [[machine]]
        name = "node7"
        full_w = 420
        [ambient]
        sensor = "{tmp_path / "temp1_input"}"
        """
    )
    return path


def test_the_laboratory_stands_in_the_run(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["record", *BRIEF, "-o", "runs/one"]) == 0
    said = capsys.readouterr()
    assert "certificate K-1 of psu-a was due on 2021-01-01" in said.err
    run = read_run(tmp_path / "runs" / "one")
    supply_v = float(np.nanmean(run.series("psu-a", "voltage_v").value))
    assert f"supply: {supply_v:.1f} V" in said.out
    assert 225 < supply_v < 235
    assert dict(run.start.setup) == {
        "reference": "psu-a+psu-b", "compare": [], "operator": "A. Person", "machine": "node7",
        "full_w": 420.0, "ambient_c": None,
    }  # fmt: skip
    a, b = run.descriptors["psu-a"], run.descriptors["psu-b"]
    assert a.traceability is not None
    assert b.traceability is not None
    assert (a.traceability["level"], a.traceability["expired"]) == ("manufacturer", True)
    assert a.identity["serial"] == "0417"
    assert (b.traceability["level"], b.boundary) == ("spec_only", "rack_outlet")
    assert run.descriptors["ambient"].role == "sensor"
    assert set(run.series("ambient", "ambient_c").value) == {23.125}
    assert "ambient" not in run.estimators()


def test_a_meter_that_nobody_wrote_down_is_untraced_and_its_rating_unguarded(
    tmp_path: Path,
    meters: tuple[Pzem004tEmulator, Pzem004tEmulator],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    wall, plug = (f"{n}=pzem-004t@{m.path}" for n, m in zip(("wall", "plug"), meters, strict=True))
    arguments = ["record", "--meter", wall, "--compare", plug, *BRIEF, "--ambient-c", "21.5"]
    assert main([*arguments, "-o", "runs/one", "--json"]) == 0
    said = capsys.readouterr()
    assert "nothing guards the meters' ratings (wall 23000 W, plug 23000 W)" in said.err
    printed = json.loads(said.out)
    assert (printed["reference"], printed["compare"]) == ("wall", ["plug"])
    assert printed["ambient_c"] == 21.5
    run = read_run(tmp_path / "runs" / "one")
    traced = run.descriptors["wall"].traceability
    assert traced is not None
    assert traced["level"] == "none"
    # What a run has seen guards the next one.
    assert main([*arguments, "-o", "runs/two"]) == 0
    assert "ratings" not in capsys.readouterr().err
    assert read_run(tmp_path / "runs" / "two").start.setup["full_w"] == pytest.approx(53.2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--full-w", "600"], 5, "psu-b is rated for 500 W, and the machine can draw 600 W"),
        (["--full-w", "nan"], 3, "--full-w: expected watts above zero"),
        (["--meter", "psu-a"], 3, "got 'psu-b'. A supply without its meter is missing"),
        (["--reference", "psu-a", "--compare", "psu-a"], 3, "psu-a is the reference"),
        (["--meter", "none", "--reference", "psu-a"], 3, "no meters at all"),
        (["--machine", "node9"], 3, "--machine: expected one of lab.toml's machines (node7)"),
        (["--ambient-c", "85"], 3, "expected a room between"),
        (["--lab", "absent.toml"], 3, "absent.toml: expected the laboratory's file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_recorded(
    arguments: list[str],
    code: int,
    words: str,
    lab: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["record", *arguments, *BRIEF]) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "runs").exists()


def test_another_meter_at_the_address_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with start_emulator("sdm120", 60.0, link=tmp_path / "port") as emulator:
        (tmp_path / "lab.toml").write_text(
            f'[[meter]]\nname = "wall"\naddress = "sdm120@{emulator.path}"\nserial = "1"\n'
        )
        assert main(["record", *BRIEF]) == 3
    assert "wall has the serial number 1; the meter that answers" in capsys.readouterr().err


def test_a_serial_number_is_published_under_a_key_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "deep" / "key"))
    key = lab_key()
    assert (tmp_path / "deep" / "key").stat().st_mode & 0o077 == 0
    assert lab_key() == key
    assert keyed_hash("pzem 0417", key) != keyed_hash("pzem 0417", bytes(32))
    # RFC 4231, test case 1.
    assert keyed_hash("Hi There", b"\x0b" * 20) == (
        "hmac-sha256:b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )
    (tmp_path / "deep" / "key").write_text("not a key")
    with pytest.raises(InputError, match="hexadecimal digits"):
        lab_key()
