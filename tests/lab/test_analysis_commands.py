"""`wattcal points | compare | fit | verify` from the outside: results, JSON, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from calibration.cli import main
from calibration.errors import RunError
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start

ROOT = Path(__file__).resolve().parents[2]
S = 1_000_000_000
WORKLOADS = ("idle", "cpu-int", "cpu-float", "memory", "mixed")


def record(path: Path, *, seed: int, offset_w: float = 0.0, lag_s: float = 0.0) -> Path:
    """Write a simulated run: wall = 40 + 1.25 x package power, one step of 12 s per level."""
    rng = np.random.default_rng(seed)
    start = new_start("simulated", session=path.name, note="a made-up run for a test")
    plan = [(w, level) for w in WORKLOADS[1:] for level in (0.2, 0.4, 0.6, 0.8, 1.0)]
    plan += [("idle", 0.0)] * 3
    rng.shuffle(plan)  # type: ignore[arg-type]
    with RunWriter.create(path, start=start) as writer:
        wall = writer.open_stream(
            Descriptor(
                stream="wall",
                role="meter",
                source="made-up meter",
                boundary="psu_ac_input",
                channels=(
                    ChannelInfo(
                        name="power_w",
                        quantity="active_power",
                        unit="W",
                        kind="mean",
                        window_s=1.0,
                        resolution=0.1,
                        accuracy={"of_reading": 0.005, "source": "made up"},
                    ),
                ),
                cadence_s=1.0,
            )
        )
        rapl = writer.open_stream(
            Descriptor(
                stream="rapl",
                role="estimator",
                source="rapl",
                mode="powercap",
                scope=("package-0",),
                channels=(
                    ChannelInfo(
                        name="package_j",
                        quantity="energy",
                        unit="J",
                        kind="counter",
                        input="rapl_package",
                    ),
                ),
                cadence_s=0.1,
            )
        )
        t, energy = 0.0, 0.0
        for i, (workload, level) in enumerate(plan):
            package = 8.0 + 60.0 * float(level)
            begin = t
            for _ in range(12):
                for k in range(10):
                    t_ns = round((t + 0.1 * k + lag_s) * S) + 10 * S
                    rapl.append(t_ns, t_ns, {"package_j": energy})
                    energy += 0.1 * package
                t += 1.0
                power = round(40.0 + 1.25 * package + offset_w + rng.normal(0, 0.1), 1)
                wall.append(round(t * S) + 10 * S, round(t * S) + 10 * S, {"power_w": power})
            writer.step(
                Step(
                    index=i,
                    workload=workload,
                    level=float(level),
                    t_start_ns=round(begin * S) + 10 * S,
                    t_end_ns=round(t * S) + 10 * S,
                    settle_s=1.0,
                )
            )
        writer.seal("success")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("runs") / "monday", seed=1)


def schema(name: str) -> dict[str, object]:
    text = (ROOT / "calibration" / "schema" / f"{name}-1.0.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_points_round_trip_through_csv(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "points.csv"
    assert call(capsys, "points", run, "-o", table)[0] == 0
    code, from_table, _ = call(
        capsys, "fit", table, "--input", "rapl_package", "--meter", "pzem-004t", "--json"
    )
    assert code == 0
    _, from_run, _ = call(capsys, "fit", run, "--input", "rapl_package", "--json")
    ours, theirs = json.loads(from_run), json.loads(from_table)
    for a, b in zip(ours["model"]["terms"], theirs["model"]["terms"], strict=True):
        assert a["value"] == pytest.approx(b["value"], rel=1e-9)
    assert {p.name for p in tmp_path.iterdir()} == {"points.csv"}


def test_compare_prints_json_of_its_schema(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "compare", run, "--json")
    assert code == 0
    value = json.loads(out)
    jsonschema.validate(value, schema("compare"))
    tool = value["tools"][0]
    assert tool["input"] == "rapl_package"
    gain = 100 * (1 / 1.25 - 1)
    assert tool["bias_above_idle_pct"] == pytest.approx(gain, abs=0.5)
    assert tool["loa_low_above_idle_pct"] < gain < tool["loa_high_above_idle_pct"]


def test_tables_fit_80_columns(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("compare", run),
        ("fit", run),
        ("fit", run, "--input", "rapl_package", "--explain"),
    ):
        code, out, _ = call(capsys, *arguments)
        assert code == 0
        assert max(len(line) for line in out.splitlines()) <= 80, out


def test_fit_says_why_it_chose_what_it_chose(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(
        capsys, "fit", run, "--input", "rapl_package", "--model", "affine", "--json"
    )
    assert code == 0
    value = json.loads(out)
    jsonschema.validate(value, schema("fit"))
    said = {c.split(":")[0]: c for c in value["choices"]}
    assert {"held out", "weights", "errors of rapl_package", "interval"} <= set(said)
    assert said["form"] == "form: affine, as told"
    _, out, _ = call(capsys, "fit", run, "--input", "rapl_package", "--explain")
    assert "form: affine, the default" in " ".join(out.split())


def test_fit_writes_a_profile_that_verifies_on_another_day(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "profile.json"
    assert call(capsys, "fit", run, "--input", "rapl_package", "-o", profile)[0] == 0
    other = record(tmp_path / "tuesday", seed=2, offset_w=0.8, lag_s=0.7)
    code, out, _ = call(capsys, "verify", profile, other, "--allow-simulated", "--json")
    value = json.loads(out)
    jsonschema.validate(value, schema("verify"))
    assert code == 0, value
    assert value["bias_w"] == pytest.approx(-0.8, abs=0.1)
    assert value["coverage_95_pct"] == 100.0
    wrong = record(tmp_path / "other-machine", seed=3, offset_w=30.0)
    code, out, _ = call(capsys, "verify", profile, wrong, "--allow-simulated")
    assert code == 5
    assert "FAILED" in out


def test_a_simulated_profile_is_refused_unless_it_is_allowed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "profile.json"
    call(capsys, "fit", run, "--input", "rapl_package", "-o", profile)
    code, _, err = call(capsys, "verify", profile, run)
    assert code == 5
    assert "simulated" in err


def test_a_lagging_tool_gives_the_same_gain(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = record(tmp_path / "late", seed=1, lag_s=1.6)
    _, out, _ = call(capsys, "fit", late, "--input", "rapl_package", "--json")
    shifted = json.loads(out)
    assert shifted["model"]["terms"][1]["value"] == pytest.approx(1.25, abs=0.005)
    _, out, _ = call(capsys, "compare", late, "--json")
    assert json.loads(out)["tools"][0]["lag_s"] == pytest.approx(1.6, abs=0.05)
    _, out, _ = call(capsys, "fit", late, "--input", "rapl_package", "--lag", "none", "--json")
    assert abs(json.loads(out)["model"]["terms"][1]["value"] - 1.25) > 0.02


def test_a_refused_fit_exits_5_prints_its_json_and_writes_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "points.csv"
    call(capsys, "points", run, "-o", table)
    rows = table.read_text().splitlines()
    two = [rows[0], *[r for r in rows[1:] if ",idle," in r or ",cpu-int," in r]]
    table.write_text("\n".join(two) + "\n")
    profile = tmp_path / "profile.json"
    code, out, err = call(
        capsys, "fit", table, "--input", "rapl_package", "--json", "--hold-out", "workload",
        "-o", profile,
    )  # fmt: skip
    assert code == 5
    value = json.loads(out)
    assert value["verdict"] == "refused"
    assert value["model"]["terms"]
    assert "too_few_groups" in {r["code"] for r in value["reasons"]}
    assert "not written" in err
    assert not profile.exists()


GOOD = "session,workload,segment,duration_s,reference_w,reference_u_w,rapl_package_w\n"
ROW = "s,cpu,a,10,50,0.1,20\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        (GOOD, "has no rows"),
        (GOOD + "s,cpu,a,10,fifty,0.1,20\n", "line 2, column reference_w: expected a number"),
        (GOOD + "s,cpu,a,10,nan,0.1,20\n", "line 2, column reference_w: expected a number"),
        (GOOD + ROW + "s,cpu,b,10,50\n", "line 3: expected 7 fields; got 5"),
        (GOOD.replace("reference_w,", "power,") + ROW, "expected a column reference_w or wall_w"),
        (GOOD + "s,cpu,a,-10,50,0.1,20\n", "expected seconds above 0"),
        (GOOD.replace(",rapl_package_w", ",rapl_package_mw") + ROW, "at least one input column"),
        (GOOD.replace("reference_u_w", "u") + ROW, "expected a column reference_u_w"),
    ],
)
def test_a_bad_table_is_one_sentence_and_exit_3(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "points.csv"
    table.write_text(text)
    code, out, err = call(capsys, "fit", table, "--input", "rapl_package")
    assert code == 3
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_wrong_names_are_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, code, message in (
        (("fit", run, "--input", "nvml"), 3, "expected one of rapl_package; got 'nvml'"),
        (("fit", run, "--input", "rapl_package", "--model", "spline"), 3, "--model: expected"),
        (("fit", run, "--input", "rapl_package", "--hold-out", "row"), 3, "--hold-out: expected"),
        (("compare", run, "--segments", "windows:x"), 3, "--segments: expected"),
        (("compare", run, "--reference", "mains"), 3, "--reference: expected one of wall"),
        (("compare", tmp_path / "nowhere"), 3, "Expected a run directory or a points.csv"),
        (("compare", tmp_path), 3, "run.jsonl"),
        (("fit", run, "-o", tmp_path / "p.json"), 2, "-o needs --input"),
        (("fit", run, "--input", "rapl_package", "--meter", "x", "--resolution", "1"), 0, ""),
    ):
        got, _, err = call(capsys, *arguments)
        assert got == code, (arguments, err)
        assert message in err
        assert "Traceback" not in err


def test_energy_columns_and_a_register_step_are_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "points.csv"
    rows = ["workload,segment,duration_s,reference_kwh,rapl_package_wh"]
    for i in range(24):
        workload = WORKLOADS[i % 5]
        package = 8.0 if workload == "idle" else 10.0 + 2.5 * i
        seconds = 1800
        kwh = (40 + 1.25 * package) * seconds / 3.6e6
        rows.append(f"{workload},{i},{seconds},{kwh!r},{package * seconds / 3600!r}")
    table.write_text("\n".join(rows) + "\n")
    code, out, _ = call(
        capsys, "fit", table, "--input", "rapl_package", "--resolution", "1Wh", "--json"
    )
    assert code == 0
    value = json.loads(out)
    assert value["model"]["terms"][1]["value"] == pytest.approx(1.25, abs=1e-6)
    # q/sqrt(6) of 3600 J over 1800 s is 0.816 W: that is what the gain's uncertainty must carry.
    x = [8.0 if i % 5 == 0 else 10.0 + 2.5 * i for i in range(24)]
    expected = 3600 / 6**0.5 / 1800 / np.sqrt(np.sum((np.array(x) - np.mean(x)) ** 2))
    assert value["model"]["covariance"][1][1] ** 0.5 == pytest.approx(expected, rel=1e-6)
    assert call(capsys, "fit", table, "--input", "rapl_package", "--resolution", "soon")[0] == 3


def test_the_template_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "points", "--template")
    assert code == 0
    table = tmp_path / "points.csv"
    table.write_text(out)
    assert call(capsys, "compare", table)[0] == 0


def test_a_run_given_twice_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "fit", run, run, "--input", "rapl_package")
    assert (code, out) == (3, "")
    assert "its points would count twice" in err


def test_a_run_that_ended_early_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (("abort", "ended early, abort"), (None, "not sealed")):
        copy = tmp_path / str(words)
        shutil.copytree(run, copy)
        log = copy / "run.jsonl"
        lines = log.read_text().splitlines(keepends=True)
        lines[-1] = lines[-1].replace('"success"', f'"{words}"') if words else ""
        log.write_text("".join(lines))
        code, out, _ = call(capsys, "compare", copy, "--json")
        assert code == 0
        (note,) = [n for n in json.loads(out)["notes"] if said in n]
        assert str(copy) in note


def test_a_damaged_byte_is_an_error_and_never_another_number(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flip one bit at many places; either the samples are the same or the run is refused."""
    copy = tmp_path / "damaged"
    shutil.copytree(run, copy)
    file = copy / "rapl.parquet"
    whole = file.read_bytes()
    before = read_run(run).series("rapl", "package_j")
    refused = 0
    for at in np.linspace(4, len(whole) - 9, 60).astype(int):
        broken = bytearray(whole)
        broken[at] ^= 0x10
        file.write_bytes(broken)
        try:
            after = read_run(copy).series("rapl", "package_j")
        except RunError:
            refused += 1
            continue
        assert np.array_equal(after.value, before.value)
        assert np.array_equal(after.t_ns, before.t_ns)
    assert refused > 30
    file.write_bytes(whole[: len(whole) // 2])
    code, out, err = call(capsys, "compare", copy)
    assert (code, out, err.count("\n")) == (3, "", 1)


@pytest.mark.parametrize(
    ("header", "cells", "said"),
    [
        ("rapl_package_w", "7", "expected each column once; got rapl_package_w twice"),
        ("boundary", "board", "column boundary: expected one; got psu_ac_input, board"),
        ("reference_u_w", "-0.1", "reference_u_w: expected a standard uncertainty of at least 0 W"),
        ("reference_w", "0", "line 9: expected the power of a running machine as reference; got 0"),
        ("rapl_package_w", "1e300", "line 9, column rapl_package_w: expected a number"),
    ],
)
def test_a_table_that_says_two_things_or_nonsense_is_refused(
    header: str, cells: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["workload", "segment", "duration_s", "boundary"]
    columns += ["reference_w", "reference_u_w", "rapl_package_w"]
    rows = [
        [w, str(i), "60", "psu_ac_input", str(40 + i), "0.1", str(8 + i)]
        for i, w in enumerate(WORKLOADS * 3)
    ]
    if said.startswith("expected each"):
        columns.append(header)
        rows = [[*r, cells] for r in rows]
    else:
        rows[7][columns.index(header)] = cells
    table = tmp_path / "points.csv"
    table.write_text("".join(",".join(r) + "\n" for r in [columns, *rows]))
    code, out, err = call(capsys, "compare", table)
    assert (code, out) == (3, "")
    assert said in err
