"""`wattcal rezero`: a baseline that moved, a gain that stayed, a profile that verifies again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from calibration import load_profile
from calibration.analysis import Domain
from calibration.cli import main
from calibration.publishing.build import state_uncertainty
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.writer import RunWriter, new_start

SCHEMA = Path(__file__).resolve().parents[2] / "calibration" / "schema" / "rezero-1.0.json"
S = 1_000_000_000
LEVELS = [(w, level) for w in ("int", "float", "copy", "sort") for level in (0.2, 0.4, 0.7, 1.0)]


def record(
    path: Path,
    plan: list[tuple[str, float, int]],
    *,
    seed: int,
    offset_w: float = 0.0,
    meter: str = "made-up meter",
) -> Path:
    """Write a run of wall = 40 W + offset + 1.25 x package; a plan is (workload, level, s)."""
    rng = np.random.default_rng(seed)
    with RunWriter.create(path, start=new_start("simulated", path.name)) as writer:
        power = ChannelInfo(
            name="power_w", quantity="active_power", unit="W", kind="mean", window_s=1.0,
            resolution=0.1, accuracy={"of_reading": 0.005, "source": "made up"},
        )  # fmt: skip
        package = ChannelInfo(
            name="package_j", quantity="energy", unit="J", kind="counter", input="rapl_package"
        )
        wall = writer.open_stream(
            Descriptor(
                stream="wall", role="meter", source=meter, boundary="psu_ac_input",
                channels=(power,), cadence_s=1.0,
            )
        )  # fmt: skip
        rapl = writer.open_stream(
            Descriptor(
                stream="rapl", role="estimator", source="rapl", mode="powercap",
                scope=("package-0",), channels=(package,), cadence_s=0.2,
            )
        )  # fmt: skip
        t, energy_j = 0, 0.0
        for index, (workload, level, seconds) in enumerate(plan):
            begin = t
            for _ in range(seconds):
                x = 8.0 + 60.0 * level + rng.normal(0, 0.05)
                for k in range(5):
                    t_ns = t * S + k * S // 5
                    rapl.append(t_ns, t_ns, {"package_j": energy_j})
                    energy_j += x / 5
                t += 1
                y = round(40.0 + offset_w + 1.25 * x + rng.normal(0, 0.2), 1)
                wall.append(t * S, t * S, {"power_w": y})
            step = Step(
                index=index, workload=workload, level=level,
                t_start_ns=begin * S, t_end_ns=t * S, settle_s=1.0,
            )  # fmt: skip
            writer.step(step)
        rapl.append(t * S, t * S, {"package_j": energy_j})
        writer.seal("success")
    return path


def whole(seed: int) -> list[tuple[str, float, int]]:
    plan = [(w, level, 10) for w, level in LEVELS] + [("idle", 0.0, 10)] * 3
    np.random.default_rng(seed).shuffle(plan)
    return [(str(w), float(level), int(s)) for w, level, s in plan]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("monday")
    run = record(folder / "monday", whole(1), seed=1)
    path = folder / "profile.json"
    assert main(["fit", str(run), "--input", "rapl_package", "-o", str(path)]) == 0
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_baseline_that_moved_by_30_w_is_found_and_verifies_again(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = record(tmp_path / "tuesday", [("idle", 0.0, 61)], seed=2, offset_w=30.0)
    later = record(tmp_path / "work", whole(3), seed=3, offset_w=30.0)
    assert call(capsys, "verify", profile, later, "--allow-simulated")[0] == 5
    new = tmp_path / "new.json"
    code, out, err = call(capsys, "rezero", profile, idle, "--allow-simulated", "-o", new, "--json")
    assert (code, err.count("\n")) == (0, 1)
    value = json.loads(out)
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(value)
    assert value["shift_w"] == pytest.approx(30.0, abs=4 * value["u_w"])
    assert value["u_w"] < 0.2
    assert value["moved_u"] > 3
    code, out, _ = call(capsys, "verify", new, later, "--allow-simulated", "--json")
    assert code == 0, out
    verified = json.loads(out)
    assert abs(verified["bias_w"]) < 0.2
    assert verified["flags"] == ["re-zeroed for session tuesday; these points are of work"]


def test_the_new_revision_keeps_the_gain_and_says_where_it_holds(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = record(tmp_path / "wednesday", [("idle", 0.0, 61)], seed=4, offset_w=-7.0)
    new = tmp_path / "new.json"
    code, out, _ = call(capsys, "rezero", profile, idle, "--allow-simulated", "-o", new)
    assert code == 0
    assert "Holds for session wednesday only." in out
    old_document, document = json.loads(profile.read_text()), json.loads(new.read_text())
    assert document["revision"] == old_document["revision"] + 1
    digest = hashlib.sha256(profile.read_bytes()).hexdigest()
    assert document["supersedes"] == f"sha256:{digest}"
    assert document["model"]["terms"][1] == old_document["model"]["terms"][1]
    offsets = [
        c for c in document["uncertainty"]["components"] if c["correlation"] == "within_session"
    ]
    assert [c["u"] for c in offsets] == [document["rezero"]["u_W"]]
    assert document["calibration"] == old_document["calibration"]
    before, after = (
        load_profile(profile, allow_simulated=True),
        load_profile(new, allow_simulated=True),
    )
    at_idle = document["rezero"]["inputs"]["rapl_package"]
    answer = after.correct(machine=None, rapl_package=at_idle)
    assert "rezeroed:wednesday" in answer.flags
    assert "session_offset:assumed" not in answer.flags
    assert answer.power_w == pytest.approx(document["rezero"]["idle_W"], abs=1e-9)
    assert answer.u_w < before.correct(machine=None, rapl_package=at_idle).u_w
    # The covariance is that of a line about its idle point: none of it is left there.
    (c00, c01), (_, c11) = document["model"]["covariance"]
    assert c00 + 2 * at_idle * c01 + at_idle**2 * c11 == pytest.approx(0.0, abs=1e-12)
    assert c11 == pytest.approx(old_document["model"]["covariance"][1][1])


def test_a_profile_above_idle_is_held_against_power_above_idle_until_it_is_re_zeroed(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(profile.read_text())
    document["measurand"]["above_idle_only"] = True
    where = document["applicability"]
    where["idle_inputs"] = {"rapl_package": 8.0}
    low, high = where["domain"]["rapl_package"]
    domain = Domain({"rapl_package": (low, high)}, tuple(where["domain"]["output"]), 1.0, None)
    state_uncertainty(document, domain)
    above = tmp_path / "above.json"
    above.write_text(json.dumps(document))
    later = record(tmp_path / "later", whole(3), seed=9, offset_w=30.0)
    code, out, err = call(capsys, "verify", above, later, "--allow-simulated", "--json")
    assert code == 0, out + err
    assert abs(json.loads(out)["energy_error_pct"]) < 1
    busy = record(tmp_path / "busy", [("int", 0.5, 30)], seed=10)
    code, _, err = call(capsys, "verify", above, busy, "--allow-simulated")
    assert code == 3
    assert "answers above idle only" in err
    new = tmp_path / "new.json"
    idle = record(tmp_path / "idle", [("idle", 0.0, 61)], seed=11, offset_w=30.0)
    assert call(capsys, "rezero", above, idle, "--allow-simulated", "-o", new)[0] == 0
    absolute = load_profile(new, allow_simulated=True)
    assert not absolute.above_idle_only
    at_full = absolute.correct(machine=None, rapl_package=68.0)
    assert at_full.power_w == pytest.approx(40 + 30 + 1.25 * 68, abs=1)


def test_another_meter_brings_its_own_gain(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = [("idle", 0.0, 61)]
    u_w: list[dict[str, Any]] = []
    for name, meter in (("same", "made-up meter"), ("other", "a plug")):
        run = record(tmp_path / name, plan, seed=5, meter=meter)
        _, out, _ = call(capsys, "rezero", profile, run, "--allow-simulated", "--json")
        u_w.append(json.loads(out))
    assert u_w[0]["u_meter_w"] == 0.0
    assert u_w[1]["u_meter_w"] == pytest.approx(0.005 / 3**0.5 * u_w[1]["idle_w"])


def test_what_cannot_be_a_zero_is_refused(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new.json"
    short = record(tmp_path / "short", [("idle", 0.0, 40)], seed=6)
    busy = record(tmp_path / "busy", [("int", 0.5, 61)], seed=7)
    idle = record(tmp_path / "idle", [("idle", 0.0, 61)], seed=8)
    statement = tmp_path / "statement.json"
    document = json.loads(profile.read_text())
    for key in ("model", "uncertainty", "table", "quick"):
        document.pop(key, None)
    statement.write_text(json.dumps({**document, "kind": "error_statement"}))
    for arguments, code, words in (
        ((profile, short, "--allow-simulated"), 5, "at least 50 s of idle"),
        ((profile, busy, "--allow-simulated"), 3, "expected an idle step"),
        ((profile, idle), 5, "simulated"),
        ((statement, idle, "--allow-simulated"), 5, "error statement"),
        ((profile, tmp_path / "no", "--allow-simulated"), 3, "no such directory"),
        ((tmp_path / "no.json", idle), 3, "cannot be read"),
    ):
        got, out, err = call(capsys, "rezero", *arguments, "-o", output)
        assert (got, out) == (code, ""), err
        assert words in err
        assert err.count("\n") == 1
        assert not output.exists()
