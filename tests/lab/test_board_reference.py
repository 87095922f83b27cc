"""The board's own sensor as the reference: only where it is named, and never for a correction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.cli import main
from calibration.estimators.board import BoardPower
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.writer import RunWriter, new_start

S = 1_000_000_000
PLAN = [(w, level) for w in ("int", "float", "copy", "sort") for level in (0.2, 0.4, 0.7, 1.0)]


class Shown:
    """A controller that shows 90 W."""

    name, facts = "simulated", {"stated_interval_s": 1.0}

    def read_w(self) -> dict[str, float]:
        return {"power_w": 90.0}

    def close(self) -> None: ...


def recorded(path: Path, *, meter: bool) -> Path:
    """A run of wall = 40 W + 1.25 x package, seen by the board and, perhaps, by a meter."""
    rng = np.random.default_rng(5)
    power = ChannelInfo(
        name="power_w", quantity="active_power", unit="W", kind="mean", window_s=1.0,
        resolution=0.1, accuracy={"of_reading": 0.005, "source": "made up"},
    )  # fmt: skip
    package = ChannelInfo(
        name="package_j", quantity="energy", unit="J", kind="counter", input="rapl_package"
    )
    with RunWriter.create(path, start=new_start("simulated", "s")) as writer:
        streams = [writer.open_stream(BoardPower(Shown(), look_s=0.0).descriptor())]
        if meter:
            wall = Descriptor(
                stream="wall", role="meter", source="made-up meter", boundary="psu_ac_input",
                channels=(power,), cadence_s=1.0,
            )  # fmt: skip
            streams.append(writer.open_stream(wall))
        rapl = writer.open_stream(
            Descriptor(
                stream="rapl", role="estimator", source="rapl", mode="powercap",
                scope=("package-0",), channels=(package,), cadence_s=0.2,
            )
        )  # fmt: skip
        t, energy_j = 0, 0.0
        for index, (workload, level) in enumerate([*PLAN, ("idle", 0.0), *PLAN, ("idle", 0.0)]):
            begin = t
            for _ in range(10):
                x = 8.0 + 60.0 * level + rng.normal(0, 0.05)
                for k in range(5):
                    t_ns = t * S + k * S // 5
                    rapl.append(t_ns, t_ns, {"package_j": energy_j})
                    energy_j += x / 5
                t += 1
                y = round(40.0 + 1.25 * x + rng.normal(0, 0.2), 1)
                for stream in streams:
                    stream.append(t * S, t * S, {"power_w": y})
            writer.step(
                Step(
                    index=index, workload=workload, level=level, t_start_ns=begin * S,
                    t_end_ns=t * S, settle_s=1.0,
                )
            )  # fmt: skip
        rapl.append(t * S, t * S, {"package_j": energy_j})
        writer.seal("success")
    return path


def fitted(
    run: Path, profile: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    command = ["fit", str(run), "--input", "rapl_package", "-o", str(profile), "--json", *more]
    assert main(command) == 0
    return json.loads(capsys.readouterr().out), json.loads(profile.read_text())


def test_the_board_as_reference_caps_verdict_and_traceability(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recorded(tmp_path / "run", meter=True)
    said, profile = fitted(run, tmp_path / "meter.json", capsys)
    assert (said["verdict"], profile["kind"]) == ("correction", "correction")
    assert [m["model"] for m in profile["traceability"]["chain"]] == ["made-up meter"]
    said, profile = fitted(run, tmp_path / "board.json", capsys, "--reference", "bmc")
    assert (said["verdict"], profile["kind"]) == ("error_statement", "error_statement")
    assert "board_reference" in {r["code"] for r in said["reasons"]}
    assert profile["traceability"] == {"level": "none", "chain": []}


def test_nobody_takes_the_board_for_a_meter_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(recorded(tmp_path / "run", meter=False))
    assert main(["compare", run]) == 3
    assert "--reference bmc" in capsys.readouterr().err
    assert main(["compare", run, "--reference", "bmc", "--json"]) == 0
    tools = [t["input"] for t in json.loads(capsys.readouterr().out)["tools"]]
    assert tools == ["rapl_package"], "the board is not compared with itself"
    assert main(["compare", run, "--reference", "wall"]) == 3
