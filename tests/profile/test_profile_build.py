"""From a fit to a document that everybody can load, and never from a refused one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from calibration import FitError, NotAllowed, SchemaError, load_profile
from calibration.analysis.results import (
    Component,
    Domain,
    ErrorSummary,
    FitResult,
    GroupSummary,
    Model,
    Reason,
    Term,
    Validation,
)
from calibration.publishing.build import profile_document, write_profile
from calibration.recording.documents import ChannelInfo, Descriptor, Start

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
ERRORS = ErrorSummary(-40.0, 41.0, 30.0, 45.0, 20.0, None)
SERVER: Mapping[str, Any] = {
    "dmi.board_name": "0PJ9XG", "cpu.id": "GenuineIntel-6-106-6", "cpu.sockets": 2,
    "cpu.model_name": "Xeon", "cpu.smt": True, "bios.version": "1.9.2", "virtual": False,
    "kernel": "6.8.0", "gpu.names": [], "cpu.threads": 64,
}  # fmt: skip


def fit(**changes: Any) -> FitResult:
    name = changes.pop("name", "codecarbon_cpu")
    base = FitResult(
        inputs=(name,),
        boundary="psu_ac_input",
        data_kind="measured",
        model=Model(
            (
                Term("b0", "const", 50.0, "W"),
                Term("b1", "input", 1.2, "1", input=name),
            ),
            ((0.25, -0.002), (-0.002, 0.0001)),
            20.0,
        ),
        form="affine",
        domain=Domain({name: (12.0, 90.0)}, (65.0, 157.0), 10.0, None),
        validation=Validation(
            "workload", 5, 30, False, {"time_only": ERRORS, "idle_only": None, "gain_only": ERRORS},
            ERRORS, replace(ERRORS, bias_w=0.1), (GroupSummary("int", 6, 0.1, 0.5, 1.0, 100.0),),
            96.0, 80.0, 99.0,
        ),
        uncertainty=(
            Component("meter_gain", "relative", 0.003, "full", "B", "rectangular", "manual"),
            Component(
                "session_offset", "absolute", 3.2, "within_session", "B", "normal", "assumed",
                status="assumed", sessions=1, span_days=0.1,
            ),
            Component("lack_of_fit", "absolute", 1.1, "within_workload", "A", "normal", "x", 5.0),
            Component(
                "residual", "absolute", 0.4, "independent", "A", "normal", "x", 20.0,
                correlation_time_s=30.0,
            ),
        ),
        verdict="correction",
        reasons=(Reason("extrapolation", "idle lies outside the others", "flag"),),
        n_points=30,
        sessions=("s1",),
        workloads=("idle", "int", "fp", "memory", "matrix"),
        levels=8,
        idle_w=65.0,
        modes={name: "intel_rapl"},
    )  # fmt: skip
    return replace(base, **changes)


def start(machine: Mapping[str, Any] = SERVER, **changes: Any) -> Start:
    values: dict[str, Any] = {
        "uid": "u", "t_wall_ns": 1_793_000_000 * 10**9, "data_kind": "measured", "session": "s1",
        "machine": machine, "versions": {"codecarbon": "3.3.2"},
    }  # fmt: skip
    return Start(**{**values, **changes})


TOOL = Descriptor(
    stream="codecarbon",
    role="estimator",
    source="codecarbon 3.3.2",
    channels=(
        ChannelInfo(
            name="codecarbon_cpu_j", quantity="energy", unit="J", kind="counter",
            input="codecarbon_cpu",
        ),
    ),
    mode="intel_rapl",
    configuration={"pue": 1.0, "tracking_mode": "machine"},
)  # fmt: skip
METER = Descriptor(
    stream="wall",
    role="meter",
    source="pzem-004t",
    boundary="psu_ac_input",
    channels=(
        ChannelInfo(
            name="power_w", quantity="power", unit="W", kind="mean",
            accuracy={"of_reading": 0.005, "of_range": 0.0, "counts": 0, "absolute": 0.0,
                      "source": "manual V3.0", "assumed": False},
        ),
    ),
    cadence_s=1.0,
    identity={"manufacturer": "Peacefair", "model": "PZEM-004T-100A V3"},
)  # fmt: skip


def document(result: FitResult | None = None, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "run_starts": (start(),), "descriptors": (TOOL, METER), "profile_id": "my lab/Node #7",
        "now": NOW,
    }  # fmt: skip
    return profile_document(result or fit(), **{**arguments, **changes})


def test_a_correction_says_everything() -> None:
    made = document(derived_from=("sha256:" + "5" * 64,))
    assert made["id"] == "my-lab/node-7"
    assert made["kind"] == "correction"
    assert made["provenance"]["data_kind"] == "measured"
    assert made["provenance"]["derived_from"] == ["sha256:" + "5" * 64]
    assert made["calibration"]["validation"]["before"]["mape_pct"] == 30.0
    assert made["calibration"]["validation"]["nulls"]["idle_only"] is None
    assert made["calibration"]["begun"] == "2026-10-26"
    assert made["traceability"]["level"] == "spec_only"
    (meter,) = made["traceability"]["chain"]
    assert meter["model"] == "PZEM-004T-100A V3"
    assert meter["spec"] == "0.5 % of reading (manual V3.0)"
    required = made["subject"]["match"]["required"]
    assert required["cpu.id"] == "GenuineIntel-6-106-6"
    assert required["gpu.names"] == []
    assert "cpu.threads" not in required
    assert made["subject"]["config_digest"].startswith("sha256:")
    assert made["validity"] == {
        "valid_from": "2026-11-01",
        "review_after": "2027-11-01",
        "triggers": made["validity"]["triggers"],
    }
    assert len(json.dumps(made)) < 12_000


def test_the_input_is_bound_to_tool_version_mode_and_settings() -> None:
    (entry,) = document()["inputs"]
    assert entry["source"] == {
        "api": "codecarbon", "domain": "cpu", "mode": "intel_rapl", "version": "3.3.2",
    }  # fmt: skip
    assert entry["aliases"] == [
        {
            "tool": "codecarbon",
            "field": "cpu_energy",
            "unit": "kWh",
            "versions": ">=3.3,<3.4",
            "requires": {
                "pue": 1.0,
                "tracking_mode": "machine",
                "cpu_mode": "intel_rapl",
                "rapl_prefer_psys": False,
                "rapl_include_dram": False,
            },
        }
    ]


def test_the_stated_vectors_are_those_of_the_loaded_profile(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    write_profile(document(), path)
    profile = load_profile(path, today=NOW.date())
    stated = profile.document["uncertainty"]["stated"]
    assert [n["inputs"]["codecarbon_cpu"] for n in stated["U_at"]] == [12.0, 51.0, 90.0]
    for node in stated["U_at"]:
        answer = profile.correct(machine=None, **node["inputs"])
        assert answer.power_w == pytest.approx(node["P"], abs=1e-4)
        assert answer.k * answer.u_w <= node["U"] + 1e-3
        assert answer.inside
    table, quick = profile.document["table"], profile.document["quick"]
    assert (table["x"][0], table["x"][-1]) == (12.0, 90.0)
    assert quick["slope"] == pytest.approx(1.2)
    assert quick["intercept_W"] == pytest.approx(50)


def test_simulated_stands_everywhere() -> None:
    made = document(
        fit(data_kind="simulated"), run_starts=(start({"simulation.id": "demo"}),), title="A node"
    )
    assert made["title"] == "SIMULATED: A node"
    assert made["provenance"]["data_kind"] == "simulated"
    assert made["subject"]["match"]["required"] == {"simulation.id": "demo"}
    assert made["traceability"] == {
        "level": "none",
        "chain": [{**made["traceability"]["chain"][0], "simulated": True}],
    }
    with pytest.raises(NotAllowed):
        load_profile(made)


def test_a_simulated_run_makes_it_simulated_whatever_the_fit_says() -> None:
    simulated = start({"simulation.id": "x"}, data_kind="simulated")
    made = document(run_starts=(simulated,))
    assert made["provenance"]["data_kind"] == "simulated"
    assert "SIMULATED" in made["title"]
    with pytest.raises(FitError, match="runs of one machine"):
        document(run_starts=(start(), simulated))


def test_a_refused_fit_gets_no_profile() -> None:
    refused = fit(
        verdict="refused", reasons=(Reason("no_relation", "the gain is noise", "refuse"),)
    )
    with pytest.raises(FitError, match="no_relation: the gain is noise"):
        document(refused)


def test_an_error_statement_has_errors_and_no_model() -> None:
    made = document(
        fit(
            verdict="error_statement",
            reasons=(Reason("workload_dependence", "it depends", "downgrade"),),
        )
    )
    assert made["kind"] == "error_statement"
    assert not {"model", "uncertainty", "table", "quick"} & set(made)
    assert made["calibration"]["reasons"][0]["code"] == "workload_dependence"
    load_profile(made)


def test_a_profile_made_here_matches_here() -> None:
    from calibration.machine import this_machine

    made = document(run_starts=(start(this_machine()),))
    answer = load_profile(made, today=NOW.date()).correct(codecarbon_cpu=50.0)
    known = "cpu.id" in this_machine()
    assert answer.match == ("same_configuration" if known else "unchecked")
    assert answer.calibrated


def test_points_without_runs_belong_to_no_machine() -> None:
    made = document(fit(name="rapl_package"), run_starts=(), descriptors=())
    assert made["subject"] == {"match": {"required": {}}}
    assert made["traceability"] == {"level": "none", "chain": []}
    assert made["calibration"]["begun"] == "2026-11-01"
    tools = {a["tool"] for a in made["inputs"][0]["aliases"]}
    assert tools == {"codecarbon", "zeus", "node_exporter"}


@pytest.mark.parametrize(
    ("starts", "tools", "named"),
    [
        ((start(), start({**SERVER, "cpu.id": "x"})), (TOOL,), "cpu.id"),
        ((start(), start(versions={"codecarbon": "3.4.0"})), (TOOL,), "one version of codecarbon"),
        (
            (start(),), (TOOL, replace(TOOL, configuration={"pue": 1.2})), "one setting of pue",
        ),
    ],
)  # fmt: skip
def test_runs_that_do_not_belong_together(
    starts: tuple[Start, ...], tools: tuple[Descriptor, ...], named: str
) -> None:
    with pytest.raises(FitError, match=named):
        document(run_starts=starts, descriptors=(*tools, METER))


def test_a_component_that_may_change_unseen_leaves_only_what_is_above_idle() -> None:
    reasons = (Reason("unseen_component", "GPUs without a GPU input", "flag"),)
    made = document(fit(reasons=reasons))
    assert made["measurand"]["above_idle_only"]
    assert made["applicability"]["idle_inputs"] == {"codecarbon_cpu": pytest.approx(12.5)}
    answer = load_profile(made, today=NOW.date()).correct(machine=None, codecarbon_cpu=62.5)
    assert answer.power_w == pytest.approx(60.0)
    assert "above_idle" in answer.flags


def test_a_bent_fit_and_a_load() -> None:
    name = "cpu_load"
    terms = (
        Term("b0", "const", 50.0, "W"),
        Term("b1", "input", 40.0, "W", input=name),
        Term("b2", "input", 10.0, "W", input=name, power=2),
    )
    covariance = ((0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.1))
    made = document(
        fit(
            name=name,
            model=Model(terms, covariance, 20.0),
            domain=Domain({name: (0.0, 1.0)}, (50.0, 99.0), 10.0, 60.0),
        )
    )
    assert made["inputs"][0]["unit"] == "1"
    assert not made["model"]["additive"]
    assert made["applicability"]["domain"]["output"] == [50.0, 100.0]  # the model's own corner
    profile = load_profile(made, today=NOW.date())
    assert profile.correct(machine=None, cpu_load=1.0).flags == ("session_offset:assumed",)


def test_a_second_codecarbon_is_still_codecarbon() -> None:
    made = document(fit(name="codecarbon_native_cpu", modes={"codecarbon_native_cpu": "cpu_load"}))
    alias = made["inputs"][0]["aliases"][0]
    assert alias["field"] == "cpu_energy"
    assert alias["requires"] == {
        "pue": 1.0, "tracking_mode": "machine", "cpu_mode": "cpu_load",
    }  # fmt: skip


def test_a_fit_that_makes_no_profile_is_said() -> None:
    falling = fit()
    assert falling.model is not None
    b0, b1 = falling.model.terms
    with pytest.raises(SchemaError, match="rise with codecarbon_cpu"):
        document(replace(falling, model=replace(falling.model, terms=(b0, replace(b1, value=-1)))))


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "p.json"
    write_profile(document(), path)
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_profile(document(), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    broken = document()
    broken["uncertainty"]["stated"]["U_at"][0]["P"] += 1
    with pytest.raises(SchemaError):
        write_profile(broken, tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()
