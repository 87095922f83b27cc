"""The sum of two supplies, its uncertainty, its gaps; a known correction; a meter under test."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.analysis.compare import compare_points
from calibration.analysis.fit import fit_points
from calibration.analysis.segments import run_points
from calibration.analysis.supplies import measured_reference
from calibration.cli import main
from calibration.errors import InputError, RunError
from calibration.keyed import keyed_hash, lab_key
from calibration.publishing.sections import traceability
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.reader import Run, read_run
from calibration.recording.writer import RunWriter, new_start

S = 10**9
LIMIT = {"a": 0.005, "b": 0.01, "plug": 0.02}
TRACED = {
    "level": "accredited",
    "certificate": {"id": "K-1", "issuer": "A Lab", "issued": "2026-01-01", "due": "2090-01-01"},
    "expired": False,
    "correction": None,
}


def recorded(
    path: Path,
    *,
    sources: Mapping[str, str],
    setup: Mapping[str, Any] | None = None,
    traced: Mapping[str, Any] | None = None,
    missing: tuple[str, range] = ("", range(0)),
    step_s: int = 12,
) -> Run:
    """Write a machine of 40 W + 1.25 x package; supply a carries 60 %, b 40 %, a plug is 3 % off.

    Meter a is read each second, b each 0.8 s, both over windows without gaps.
    """
    levels = [(w, level) for w in ("int", "copy", "sort", "mixed") for level in (0.1, 0.4, 0.7, 1)]
    levels = [("idle", 0.0), *levels[::2], ("idle", 0.0), *levels[1::2], ("idle", 0.0)]
    total_s = step_s * len(levels)
    share = {"a": 0.6, "b": 0.4, "plug": 1.03}
    rng = np.random.default_rng(3)
    start = new_start("measured", path.name, setup=setup)
    with RunWriter.create(path, start=start, live=False) as writer:
        for name, source in sources.items():
            cadence_s = 0.8 if name == "b" else 1.0
            sink = writer.open_stream(
                Descriptor(
                    stream=name, role="meter", source=source, boundary="psu_ac_input",
                    cadence_s=cadence_s, traceability=traced, identity={"serial": "0417-22"},
                    channels=(
                        ChannelInfo(
                            name="power_w", quantity="active_power", unit="W", kind="mean",
                            window_s=cadence_s, resolution=0.1,
                            accuracy={"of_reading": LIMIT[name], "absolute": 0.3, "source": "made"},
                        ),
                    ),
                )
            )  # fmt: skip
            for k in range(1, round(total_s / cadence_s) + 1):
                t_s = k * cadence_s
                level = levels[min(int((t_s - cadence_s / 2) / step_s), len(levels) - 1)][1]
                wall = 40 + 1.25 * (8 + 60 * level) + rng.normal(0, 0.05)
                t_ns = round(t_s * S)
                if name == missing[0] and int(t_s) in missing[1]:
                    sink.append(t_ns, t_ns, {}, "gone")
                else:
                    sink.append(t_ns, t_ns, {"power_w": round(share[name] * wall, 1)})
        rapl = writer.open_stream(
            Descriptor(
                stream="rapl", role="estimator", source="rapl", mode="powercap", cadence_s=0.2,
                channels=(
                    ChannelInfo(name="package_j", quantity="energy", unit="J", kind="counter",
                                input="rapl_package"),
                ),
            )
        )  # fmt: skip
        energy_j = 0.0
        for k in range(5 * total_s + 1):
            rapl.append(k * S // 5, k * S // 5, {"package_j": energy_j})
            energy_j += (8 + 60 * levels[min(k // (5 * step_s), len(levels) - 1)][1]) / 5
        for index, (workload, level) in enumerate(levels):
            begin = index * step_s
            writer.step(
                Step(index=index, workload=workload, level=level, t_start_ns=begin * S,
                     t_end_ns=(begin + step_s) * S, settle_s=2.0)
            )  # fmt: skip
    return read_run(path)


@pytest.mark.parametrize(("b", "r"), [("another", 0.0), ("one", 1.0)])
def test_two_supplies_are_added_with_their_correlation(b: str, r: float, tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", sources={"a": "one", "b": b}, setup={"reference": "a+b"})
    points = run_points([run])
    truth = 40 + 1.25 * (8 + 60 * np.array([0 if math.isnan(v) else v for v in points.level]))
    assert points.reference_w == pytest.approx(truth, abs=0.1)
    assert set(points.inputs) == {"rapl_package"}, "a part of the reference is no input"
    assert points.reference is not None
    a, b_ = 0.6 * LIMIT["a"] / math.sqrt(3), 0.4 * LIMIT["b"] / math.sqrt(3)
    assert points.reference.u_gain == pytest.approx(
        math.sqrt(a * a + b_ * b_ + 2 * r * a * b_), 1e-3
    )
    offset = 0.3 / math.sqrt(3)
    assert points.reference.u_offset_w == pytest.approx(offset * math.sqrt(2 + 2 * r))
    assert points.reference.resolution_w == pytest.approx(0.1 * math.sqrt(2))
    assert "of the energy: a 60 %, b 40 %" in " ".join(points.notes)
    alone = run_points([run], reference="a")
    assert alone.reference_w == pytest.approx(0.6 * truth, abs=0.1)
    assert "b" in alone.inputs


def test_half_a_machine_is_no_machine(tmp_path: Path) -> None:
    run = recorded(
        tmp_path / "run", sources={"a": "one", "b": "two"}, setup={"reference": "a+b"},
        missing=("b", range(30, 50)),
    )  # fmt: skip
    measured = measured_reference(run)
    lost = [t / S for t, v in zip(measured.series.t_ns, measured.series.value, strict=True)
            if math.isnan(v)]  # fmt: skip
    assert set(range(31, 50)) <= set(lost)
    assert len(lost) <= 23
    assert set(measured.series.faults.values()) == {"missing:b"}
    assert np.nanmin(measured.series.value) > 49, "no interval holds one supply only"
    assert "supply b was not seen" in " ".join(run_points([run]).notes)
    never = recorded(
        tmp_path / "never", sources={"a": "one", "b": "two"}, setup={"reference": "a+b"},
        missing=("b", range(10_000)),
    )  # fmt: skip
    with pytest.raises(RunError, match="supply b"):
        run_points([never])
    for wrong in ("a+", "a+a", "a+c"):
        with pytest.raises(InputError, match="--reference: expected"):
            run_points([run], reference=wrong)


def test_a_known_correction_is_applied_and_brings_its_own_uncertainty(tmp_path: Path) -> None:
    correction = {"gain": 1.02, "offset_w": -0.5, "u_gain": 0.0003, "u_offset_w": 0.04}
    expired = {**TRACED, "expired": True, "correction": correction}
    as_read = recorded(tmp_path / "as-read", sources={"a": "one"})
    run = recorded(tmp_path / "run", sources={"a": "one"}, traced=expired)
    before, points = run_points([as_read]), run_points([run])
    assert points.reference_w == pytest.approx(1.02 * before.reference_w - 0.5)
    assert points.reference is not None
    assert (points.reference.u_gain, points.reference.u_offset_w) == (0.0003, 0.04)
    assert "certificate K-1" in points.reference.source
    assert "was due on" in " ".join(points.notes)
    stored = run.series("a", "power_w").value
    assert stored == pytest.approx(as_read.series("a", "power_w").value), "the run keeps readings"


def test_a_plug_is_calibrated_against_a_better_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded(
        tmp_path / "run", sources={"a": "good", "plug": "cheap"}, traced=TRACED,
        setup={"reference": "a", "compare": ["plug"]},
    )  # fmt: skip
    points = run_points([run])
    assert "plug" in {tool.input for tool in compare_points(points).tools}
    result = fit_points(points, ("plug",))
    assert result.model is not None
    gain = result.model.terms[1].value
    assert gain == pytest.approx(0.6 / 1.03, rel=1e-3)
    streams = tuple(run.descriptors.values())
    of_plug = traceability(streams, False, starts=[run.start], inputs=("plug",), key=b"k" * 32)
    assert of_plug["level"] == "transfer"
    assert [c["model"] for c in of_plug["chain"]] == ["good"]
    assert of_plug["chain"][0]["certificate"]["id"] == "K-1"
    assert traceability(streams, False, starts=[run.start])["level"] == "accredited"
    assert traceability(streams, True, starts=[run.start])["level"] == "none"
    key_file = tmp_path / "key"
    monkeypatch.setenv("WATTCAL_KEY_FILE", str(key_file))
    output = tmp_path / "plug.json"
    assert main(["fit", str(run.path), "--input", "plug", "-o", str(output)]) == 0
    profile = json.loads(output.read_text())
    assert profile["traceability"]["level"] == "transfer"
    (link,) = profile["traceability"]["chain"]
    assert link["serial_hash"] == keyed_hash("good 0417-22", lab_key())
    assert "0417-22" not in output.read_text()
    assert profile["validity"]["review_after"] < "2090"
    untraced = {"level": "none", "certificate": None, "expired": False, "correction": None}
    other = recorded(tmp_path / "other", sources={"a": "good"}, traced=untraced)
    assert traceability(tuple(other.descriptors.values()), False)["level"] == "none"
