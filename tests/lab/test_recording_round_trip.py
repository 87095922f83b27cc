"""What is written comes back, sealed or not, in SI units and at the right instants."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import RunError
from calibration.recording.check import check_run
from calibration.recording.documents import (
    ChannelInfo,
    Derived,
    Descriptor,
    Fault,
    Step,
    from_json,
    to_json,
)
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start


def wall(**changes: object) -> Descriptor:
    channel = ChannelInfo(
        name="power_w",
        quantity="active_power",
        unit="W",
        kind="mean",
        window_s=1.0,
        resolution=0.1,
    )
    body = {"stream": "wall", "role": "meter", "source": "test", "channels": (channel,)}
    return Descriptor(**{**body, **changes})  # type: ignore[arg-type]


def rapl() -> Descriptor:
    channel = ChannelInfo(
        name="package",
        quantity="energy",
        unit="uJ",
        kind="counter",
        wrap=262143328850.0,
        resolution=61.0,
        input="rapl_package",
    )
    return Descriptor(
        stream="rapl", role="estimator", source="powercap", channels=(channel,), mode="powercap"
    )


def bench(**changes: object) -> Descriptor:
    channels = tuple(
        ChannelInfo(name=name, quantity=quantity, unit=unit, kind="instant", scale=scale)
        for name, quantity, unit, scale in (
            ("slot_v", "voltage", "V", (473, 62500)),
            ("slot_i", "current", "mA", (244, 5)),
            ("aux_v", "voltage", "V", (473, 62500)),
            ("aux_i", "current", "mA", (244, 5)),
        )
    )
    power = ChannelInfo(name="power_w", quantity="active_power", unit="W", kind="instant")
    body = {
        "stream": "pmd",
        "role": "meter",
        "source": "test",
        "channels": channels,
        "derived": (Derived(channel=power, terms=(("slot_v", "slot_i"), ("aux_v", "aux_i"))),),
        "arrival": "streamed",
        "tick_rate_hz": 1e6,
    }
    return Descriptor(**{**body, **changes})  # type: ignore[arg-type]


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    start = new_start("measured", "s1", note="Prüfling № 1", machine={"dmi": {"vendor": "x"}})
    with RunWriter.create(tmp_path / "run", start=start) as writer:
        meter = writer.open_stream(wall())
        counter = writer.open_stream(rapl())
        for i in range(100):
            meter.append(i * 10**9, i * 10**9 + 8_000_000, {"power_w": 20.0 + i})
            counter.append(i * 10**9, i * 10**9 + 2000, {"package": i * 1e6})
        meter.append(100 * 10**9, 100 * 10**9 + 5, {}, "timeout")
        writer.step(Step(index=0, workload="idle", level=None, t_start_ns=0, t_end_ns=5))
        writer.fault(
            Fault(stream="wall", code="gone", message="unplugged", t_opened_ns=1, t_ended_ns=2)
        )
    run = read_run(tmp_path / "run")

    assert run.start == start
    assert run.stop is not None
    assert run.stop.exit_status == "success"
    assert run.stop.rows == {"wall": 101, "rapl": 100}
    assert run.stop.faults == {"gone": 1, "timeout": 1}
    assert len(run.clocks) == 2
    assert run.meters() == ("wall",)
    assert run.estimators() == ("rapl",)
    assert run.inputs() == {"rapl_package": ("rapl", "package")}
    assert run.descriptors["wall"] == wall()
    assert check_run(tmp_path / "run") == ()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "rapl.parquet",
        "run.jsonl",
        "wall.parquet",
    ]
    series = run.series("wall", "power_w")
    assert series.t_ns[3] == 3 * 10**9 + 8_000_000  # a meter: the reply
    assert series.t_half_width_ns[3] == 4_000_000
    assert series.faults == {100: "timeout"}
    assert np.isnan(series.value[100])
    assert not np.isnan(series.value[:100]).any()
    assert series.cadence_s == 1.0
    assert series.max_gap_s == 5.0
    energy = run.series("rapl", "package")
    assert energy.t_ns[3] == 3 * 10**9 + 1000  # an estimator: the middle
    assert energy.value[99] == 99.0
    assert energy.channel.unit == "J"
    assert energy.channel.wrap == pytest.approx(262143.32885, rel=1e-15)
    assert energy.channel.resolution == pytest.approx(61e-6)


def test_documents_survive_json() -> None:
    for document in (
        new_start("simulated", "s", plan={"steps": []}, seed=3, source={"url": "x"}),
        wall(),
        bench(),
        Step(index=1, workload="spin", level=0.5, t_start_ns=1, t_end_ns=2, achieved={"ops": 1}),
    ):
        assert from_json(json.loads(json.dumps(to_json(document)))) == document


def test_a_streaming_instrument_keeps_integers_and_its_own_clock(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    true_rate, n_block, blocks = 1e6 * (1 + 40e-6), 200, 400
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s")) as writer:
        stream = writer.open_stream(bench())
        before = 5 * 10**9
        for b in range(blocks):
            ticks = 12345 + (np.arange(n_block) + b * n_block) * 200
            last_ns = 5 * 10**9 + (ticks[-1] - 12345) / true_rate * 1e9
            arrival = int(last_ns + 2e6 + rng.exponential(3e6))
            columns = {
                "slot_v": np.full(n_block, 1600, np.int16),
                "slot_i": np.arange(n_block, dtype=np.int16) - 3,
                "aux_v": np.full(n_block, 1590, np.int16),
                "aux_i": np.full(n_block, 7, np.int16),
            }
            stream.append_block(before, arrival, ticks.astype(np.int64), columns)
            before = arrival
    run = read_run(tmp_path / "run")
    power = run.series("pmd", "power_w")
    expected = 1600 * 0.007568 * ((np.arange(n_block) - 3) * 0.0488) + 1590 * 0.007568 * 7 * 0.0488
    np.testing.assert_allclose(power.value, np.tile(expected, blocks), rtol=1e-12)
    assert power.channel.unit == "W"
    truth = 5 * 10**9 + np.arange(n_block * blocks) * 200 / true_rate * 1e9
    late = power.t_ns - truth
    # The smallest delay (2 ms) cannot be seen; the scatter of 3 ms must not be.
    assert late.min() > 1.9e6
    assert late.max() < 2.4e6
    assert np.all(np.diff(power.t_ns) > 0)


def test_a_restarted_instrument_starts_a_new_clock(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s")) as writer:
        stream = writer.open_stream(bench())
        columns = {c.name: np.ones(10, np.int16) for c in bench().channels}
        ticks = np.arange(10, dtype=np.int64) * 1000
        stream.append_block(0, 10**9, ticks, columns)
        empty = {c.name: np.ones(0, np.int16) for c in bench().channels}
        stream.append_block(10**9, 2 * 10**9, ticks[:0], empty, "gone")
        stream.append_block(10**9, 7 * 10**9, ticks, columns)
        stream.append_block(7 * 10**9, 8 * 10**9, ticks + 10**6, columns, "desync")
    series = read_run(tmp_path / "run").series("pmd", "power_w")
    assert series.faults == {10: "gone", 21: "desync"}
    assert np.isnan(series.value[10])
    assert series.t_ns[[9, 10, 20, 30]].tolist() == [10**9, 2 * 10**9, 7 * 10**9, 8 * 10**9]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**62), 2**62),
            st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
            st.one_of(st.none(), st.sampled_from(["crc", "timeout", "süß\n"])),
        ),
        max_size=40,
    ),
    flush_every=st.integers(1, 7),
)
def test_any_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, float | None, str | None]],
    flush_every: int,
) -> None:
    path = tmp_path_factory.mktemp("any") / "run"
    with RunWriter.create(path, start=new_start("measured", "s"), live=False) as writer:
        stream = writer.open_stream(wall())
        for i, (t, value, fault) in enumerate(rows):
            stream.append(t, t, {} if value is None else {"power_w": value}, fault)
            if i % flush_every == 0:
                stream.flush()
    series = read_run(path).series("wall", "power_w")
    assert series.t_ns.tolist() == [t for t, _, _ in rows]
    for i, (_, value, fault) in enumerate(rows):
        if value is None or not np.isfinite(value):
            assert np.isnan(series.value[i])
            assert series.faults[i] == (fault or "missing")
        else:
            assert series.value[i] == value
            assert series.faults.get(i) == fault


def test_many_rows_at_once_keep_their_order_and_windows(tmp_path: Path) -> None:
    n = 300_000
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s"), live=False) as writer:
        stream = writer.open_stream(wall(), windows=True)
        stream.append(-2, -1, {"power_w": 5.0}, window_ns=9)
        t = np.arange(n, dtype=np.int64)
        value = t * 0.5
        value[7] = np.nan
        stream.append_rows(t, t, {"power_w": value}, window_ns=t + 1)
        stream.append(n, n, {"power_w": 6.0})
    series = read_run(tmp_path / "run").series("wall", "power_w")
    np.testing.assert_array_equal(series.t_ns, np.arange(-1, n + 1))
    assert series.window_ns is not None
    assert series.window_ns[[0, 1, n, n + 1]].tolist() == [9, 1, n, 0]
    assert series.faults == {8: "missing"}
    assert series.value[-1] == 6.0


def test_a_batch_reaches_the_file_without_another_row(tmp_path: Path) -> None:
    """A slow stream's last row must not wait in memory for the next one."""
    writer = RunWriter.create(tmp_path / "run", start=new_start("measured", "s"))
    stream = writer.open_stream(wall())
    stream.append(0, 1, {"power_w": 1.0})
    deadline = time.monotonic() + 20
    while read_run(tmp_path / "run").rows("wall") == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert read_run(tmp_path / "run").rows("wall") == 1
    writer.seal("success")


def test_threads_may_append_to_one_run(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s")) as writer:
        stream = writer.open_stream(wall())

        def work(k: int) -> None:
            for i in range(500):
                stream.append(i, i, {"power_w": float(k)})
                if i % 100 == 0:
                    writer.fault(Fault(stream=None, code="x", message="m" * 500, t_opened_ns=i))
                    stream.flush()

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    run = read_run(tmp_path / "run")
    value = run.series("wall", "power_w").value
    assert [int(np.count_nonzero(value == k)) for k in range(4)] == [500] * 4
    assert len(run.faults) == 20
    assert run.notes == ()


def test_two_streams_of_one_input_stay_apart(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s")) as writer:
        writer.open_stream(rapl())
        second = Descriptor(
            stream="msr", role="estimator", source="msr", channels=rapl().channels, mode="msr"
        )
        writer.open_stream(second)
    inputs = read_run(tmp_path / "run").inputs()
    assert inputs == {"rapl_package": ("rapl", "package"), "rapl_package@msr": ("msr", "package")}


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a b"])
def test_names_that_are_no_file_are_refused(tmp_path: Path, name: str) -> None:
    with (
        RunWriter.create(tmp_path / "run", start=new_start("measured", "s")) as writer,
        pytest.raises(RunError, match="expected a name"),
    ):
        writer.open_stream(wall(stream=name))


def test_questions_that_a_run_cannot_answer(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s")) as writer:
        stream = writer.open_stream(wall())
        with pytest.raises(RunError, match="got a value for watts"):
            stream.append(0, 1, {"watts": 3.0})
    run = read_run(tmp_path / "run")
    with pytest.raises(RunError, match="has the streams wall; got 'pdu'"):
        run.series("pdu", "power_w")
    with pytest.raises(RunError, match="has power_w; got 'energy_j'"):
        run.series("wall", "energy_j")
    with pytest.raises(RunError, match="no such directory"):
        read_run(tmp_path / "nothing")
    with pytest.raises(RunError, match=r"no run\.jsonl"):
        read_run(tmp_path)
