"""CodeCarbon in a process of its own.

It runs the real offline tracker, without network, and reports its accumulated energies. They are
taken from an output handler (`live_out` after every measurement, `out` after the last one), from
the energies of the total and never from its `*_power` (a mean over samples of unlike length),
`duration` (it counts the tool's own loading) or utilisation columns. The stamps are those
of CLOCK_MONOTONIC around the measurement itself.

The first measurement of a process is a warm-up (detection of the hardware, lazy imports): the
rows begin with the second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from tool_line import Line

__all__ = ["main"]

# kWh -> J
_J: Final = 3.6e6
_ENERGIES: Final = {
    "codecarbon_cpu_j": "cpu_energy",
    "codecarbon_gpu_j": "gpu_energy",
    "codecarbon_ram_j": "ram_energy",
    "codecarbon_total_j": "energy_consumed",
}


_OPTIONS: Final = ("tracking_mode", "pue", "wue", "measure_power_secs", "rapl_prefer_psys")
_FORCED: Final = ("force_cpu_power", "force_ram_power", "force_mode_cpu_load")


class _Stamps:
    """The instants around the measurement that is reported next."""

    def __init__(self) -> None:
        self.count, self.t_request_ns, self.t_reply_ns = 0, 0, 0

    def around(self, measure: Any) -> Any:
        """Wrap the tracker's measurement so that it is stamped."""

        def measured(*args: Any, **kwargs: Any) -> Any:
            before_ns = time.monotonic_ns()
            result = measure(*args, **kwargs)
            self.t_request_ns, self.t_reply_ns = before_ns, time.monotonic_ns()
            self.count += 1
            return result

        return measured


def _handler(
    line: Line, stamps: _Stamps, columns: tuple[str, ...], changed: Callable[[], str | None]
) -> Any:
    from codecarbon.output_methods.base_output import BaseOutput

    class Reporter(BaseOutput):
        """Sends every total through the pipe and changes nothing."""

        sent = 0

        def live_out(self, total: Any, delta: Any) -> None:
            if stamps.count >= 2 and stamps.count != self.sent:
                self.sent = stamps.count
                said: dict[str, Any] = {
                    "t_request_ns": stamps.t_request_ns,
                    "t_reply_ns": stamps.t_reply_ns,
                    "values": {},
                }
                now = changed()
                if now is None:
                    said["values"] = {c: getattr(total, _ENERGIES[c]) * _J for c in columns}
                else:  # in another mode it is another estimator, whose joules do not belong here
                    said["fault"] = f"mode_changed {now}"
                line.say(said)

        out = live_out

    return Reporter()


def _tracker(config: Mapping[str, Any]) -> Any:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.output_methods.base_output import OutputMethod

    return OfflineEmissionsTracker(
        project_name=config["project_name"],
        country_iso_code=config["country_iso_code"],
        measure_power_secs=config["measure_power_secs"],
        api_call_interval=1,
        output_methods=[OutputMethod.CSV] if config["save_to_file"] else [],
        output_dir=config["output_dir"],
        output_handlers=[],
        emissions_endpoint=None,
        log_level="error",
        allow_multiple_runs=True,
        **config["options"],
    )


def _inject(tracker: Any, config: Mapping[str, Any]) -> None:
    """Give the tracker a CPU item that reads another powercap tree in its RAPL mode."""
    from codecarbon.external.hardware import CPU

    old = next((h for h in tracker._hardware if isinstance(h, CPU)), None)
    model = getattr(old, "_model", None) or "unknown"
    new = CPU(
        config["output_dir"],
        "intel_rapl",
        model,
        getattr(old, "_tdp", 0),
        rapl_dir=os.path.join(config["rapl_root"], "class", "powercap", "intel-rapl"),
    )
    kept = [h for h in tracker._hardware if h is not old]
    tracker._hardware = [*kept, new]


def _summed(item: Any) -> list[str] | None:
    """Return the RAPL zones that a CPU item adds up; it opens others, which it ignores."""
    files = getattr(getattr(item, "_intel_interface", None), "_rapl_files", None)
    if files is None:
        return None
    names = [(f.name, os.path.basename(os.path.dirname(f.path))) for f in files]
    return [zone for name, zone in names if name.startswith("Processor Energy Delta_")]


def _gpu_sources(item: Any) -> dict[str, str] | None:
    """Return by UUID how a GPU item gets each card's energy: its counter, or power times time."""
    if type(item).__name__ != "GPU":
        return None
    cards = getattr(getattr(item, "devices", None), "devices", ())
    return {
        str(getattr(card, "_uuid", None) or index): (
            "power" if getattr(card, "_use_power_fallback", False) else "energy_counter"
        )
        for index, card in enumerate(cards)
    }


def _sources(hardware: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what must stay as it is while it runs: each item's way to its number."""
    return [(h["class"], h["mode"], *(h["gpus"] or {}).items()) for h in hardware]


def _mode(tracker: Any) -> dict[str, Any]:
    """Return how the tracker gets its numbers, as it stands after everything was set up."""
    from codecarbon._version import __version__

    return {
        "version": __version__,
        "hardware": _hardware(tracker),
        **{k: getattr(tracker, f"_{k}", None) for k in (*_OPTIONS, *_FORCED)},
    }


def _hardware(tracker: Any) -> list[dict[str, Any]]:
    hardware = []
    for item in tracker._hardware:
        hardware.append(
            {
                "class": type(item).__name__,
                "mode": getattr(item, "_mode", None),
                "tdp_w": getattr(item, "_tdp", None),
                "model": getattr(item, "_model", None),
                "summed": _summed(item),
                "gpus": _gpu_sources(item),
            }
        )
    return hardware


def main() -> int:
    """Run the tracker until stdin ends, then let it measure once more and write its file."""
    line, stamps = Line(), _Stamps()
    config = line.config
    try:
        tracker = _tracker(config)
        tracker._ensure_hardware_ready()
        if config["rapl_root"] is not None:
            _inject(tracker, config)
        mode = _mode(tracker)
    except Exception as error:
        line.say({"error": f"{type(error).__name__}: {error}"})
        return 1
    classes = {h["class"] for h in mode["hardware"]}
    columns = tuple(c for c in _ENERGIES if c != "codecarbon_gpu_j" or "GPU" in classes)
    tracker._do_measurements = stamps.around(tracker._do_measurements)
    # Before the file's own handler, so that the last row stands even if the file cannot be written.
    began_as = _sources(mode["hardware"])

    def changed() -> str | None:
        now = _sources(_hardware(tracker))
        return None if now == began_as else str(now)

    tracker._output_handlers.insert(0, _handler(line, stamps, columns, changed))
    t_start_ns = time.monotonic_ns()
    tracker.start()
    if tracker._start_time is None or stamps.count == 0:
        line.say({"error": "its tracker did not start"})
        return 1
    # perf_counter is CLOCK_MONOTONIC on Linux: the instant from which its counters count.
    began_ns = round(tracker._start_time * 1e9)
    if not t_start_ns <= began_ns <= time.monotonic_ns():
        began_ns = t_start_ns
    line.say({"ready": {**mode, "columns": columns, "t_start_ns": began_ns}})
    line.wait_for_the_end()
    tracker.stop()
    line.say({"finished": {"t_start_ns": began_ns, "t_stop_ns": stamps.t_reply_ns}})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
