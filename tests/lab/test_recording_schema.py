"""Every document that a run holds fits the published schema, and the schema is as strict."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from calibration.recording.documents import (
    ChannelInfo,
    Clock,
    Cost,
    Derived,
    Descriptor,
    Fault,
    SourceCost,
    Start,
    Step,
    Stop,
    to_json,
)
from calibration.recording.writer import RunWriter, new_start

ROOT = Path(__file__).resolve().parents[2]
SCHEMA: dict[str, Any] = json.loads(
    (ROOT / "calibration" / "schema" / "run-1.0.json").read_text(encoding="utf-8")
)


def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize(
    "kind", [Start, Descriptor, Clock, Step, Fault, Cost, Stop, ChannelInfo, Derived, SourceCost]
)
def test_the_schema_knows_exactly_the_fields_of_the_documents(kind: Any) -> None:
    parts = {ChannelInfo: "channel", Derived: "derived", SourceCost: "source_cost"}
    name = parts.get(kind) or kind.type
    definition = SCHEMA["$defs"][name]
    own = {f.name for f in fields(kind)}
    expected = own if kind in parts else own | {"type"}
    assert set(definition["properties"]) == expected
    assert set(definition["required"]) == expected
    assert definition["additionalProperties"] is False


def test_a_run_fits_line_by_line(tmp_path: Path) -> None:
    channel = ChannelInfo(
        name="v",
        quantity="voltage",
        unit="V",
        kind="instant",
        scale=(473, 62500),
        plausible=(0.0, 1.0),
        accuracy={"of_reading": 0.005, "source": "manual 3"},
        assumed=("kind",),
    )
    power = ChannelInfo(name="power_w", quantity="active_power", unit="W", kind="instant")
    descriptor = Descriptor(
        stream="a",
        role="meter",
        source="s",
        channels=(channel,),
        derived=(Derived(channel=power, terms=(("v", "v"),)),),
        arrival="streamed",
        tick_rate_hz=1e6,
    )
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s", seed=1)) as run:
        run.open_stream(descriptor)
        run.step(Step(index=0, workload="idle", level=0.0, t_start_ns=0, t_end_ns=1))
        run.fault(Fault(stream=None, code="x", message="m", t_opened_ns=0))
        spent = {"process_cpu_s": 1.0, "writer_cpu_s": 0.1, "plan_cpu_s": 0.1, "view_cpu_s": 0.0}
        source = SourceCost(stream="a", cpu_s=0.1, child_cpu_s=0.5, child_rss_bytes=1)
        run.cost(Cost(t_ns=1, elapsed_s=1.0, sources=(source,), **spent))
    lines = (tmp_path / "run" / "run.jsonl").read_text().splitlines()
    assert {json.loads(line)["type"] for line in lines} == {
        "start",
        "descriptor",
        "clock",
        "step",
        "fault",
        "cost",
        "stop",
    }
    for line in lines:
        validator().validate(json.loads(line))


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"level": "high"},
        {"t_start_ns": 0.5},
        {"settle_s": -1.0},
        {"type": "stop"},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    good = to_json(Step(index=0, workload="idle", level=0.0, t_start_ns=0, t_end_ns=1))
    validator().validate(good)
    with pytest.raises(jsonschema.ValidationError):
        validator().validate({**good, **change})
    with pytest.raises(jsonschema.ValidationError):
        validator().validate({k: v for k, v in good.items() if k != "level"})
