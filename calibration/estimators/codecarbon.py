"""CodeCarbon, the real one, as an estimator: its accumulated energies and the mode behind them.

Four counters: CPU, GPU (where it has one), RAM, and their total, J. Which of them means anything
depends on the mode: `intel_rapl` reads counters, `cpu_load` multiplies a table's TDP by
(0.1 + 0.9 load³), `constant` is half the TDP, and RAM is a number of watts guessed from the amount
of memory (codecarbon 3.3.2, external/hardware.py and external/ram.py). The mode is read from the
running tracker and recorded; a component that is a constant times the duration is no input.

Where it may not read the counters, or finds no `nvidia-smi`, it goes on with a guess or without the
GPUs and says so nowhere. That is refused unless it is asked for (`fallback`), and a mode that
changes while it runs makes its rows faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ..errors import NotAvailable, WrongMode
from ..recording.documents import ChannelInfo, Descriptor
from .pipe import ToolProcess

__all__ = ["CodeCarbon"]


class CodeCarbon:
    """Runs CodeCarbon's offline tracker in a child process; a context manager.

    `rapl_root` plays /sys for its CPU item, which then must run in the mode `intel_rapl`.
    With `save_to_file` it writes its own `emissions.csv` into `output_dir` when it is finished;
    `file_window_ns` is then the span that this file's energies cover. `options` go to the tracker
    as they are (`pue`, `force_ram_power`, ...). `inputs` is the beginning of its input ids, for
    the second of two that run side by side. `fallback` takes it in whatever mode it runs; `host`
    plays / for what the machine has.

    Raises:
        NotAvailable: codecarbon is not installed or cannot run here.
        WrongMode: a powercap tree was given, and it does not use it; or the machine has counters or
            GPUs that it leaves unread, and nobody asked for that.

    """

    def __init__(
        self,
        *,
        id: str = "codecarbon",
        measure_power_secs: float = 1.0,
        output_dir: Path | None = None,
        save_to_file: bool = False,
        rapl_root: Path | None = None,
        inputs: str = "codecarbon",
        project_name: str = "wattcal",
        country_iso_code: str = "USA",
        options: Mapping[str, Any] | None = None,
        fallback: bool = False,
        host: Path = Path("/"),
    ) -> None:
        if save_to_file and output_dir is None:
            raise NotAvailable("CodeCarbon needs an output_dir to write its emissions.csv into.")
        self.id, self.cadence_s, self._inputs = id, measure_power_secs, inputs
        folder = (output_dir or Path.cwd()).resolve()
        self.emissions_file = folder / "emissions.csv" if save_to_file else None
        self._rapl_root = None if rapl_root is None else rapl_root.resolve()
        self._child = ToolProcess(
            "CodeCarbon",
            "codecarbon_child.py",
            {
                "project_name": project_name,
                "country_iso_code": country_iso_code,
                "measure_power_secs": measure_power_secs,
                "output_dir": str(folder),
                "save_to_file": save_to_file,
                "rapl_root": None if self._rapl_root is None else str(self._rapl_root),
                "options": dict(options or {}),
            },
        )
        # What a recorder asks for (`protocol.PushedEstimator`) the process gives itself.
        self.drain, self.finish = self._child.drain, self._child.finish
        self.close, self.pid = self._child.close, self._child.process.pid
        self.mode: Mapping[str, Any] = self._child.ready
        self.version = str(self.mode["version"])
        if self._rapl_root is not None:
            self._check_rapl(self._rapl_root)
        elif not fallback:
            self._check_fallback(host, options or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def cpu_mode(self) -> str | None:
        """Return how it gets the power of the CPU: `intel_rapl`, `cpu_load`, `constant`, ..."""
        return next((str(h["mode"]) for h in self._hardware if h["class"] == "CPU"), None)

    @property
    def file_window_ns(self) -> tuple[int, int] | None:
        """Return first and last instant (monotonic ns) of its file's energies, once finished."""
        if self._child.finished is None:
            return None
        return int(self._child.finished["t_start_ns"]), int(self._child.finished["t_stop_ns"])

    def descriptor(self) -> Descriptor:
        """Return what the channels mean, the mode of every component, and every constant used."""
        constant = self._constant_components()
        channels = []
        for name in self.mode["columns"]:
            component = name.removeprefix("codecarbon_").removesuffix("_j")
            channels.append(
                ChannelInfo(
                    name=name,
                    quantity="energy",
                    unit="J",
                    kind="counter",
                    input=None if component in constant else f"{self._inputs}_{component}",
                )
            )
        configuration = {k: v for k, v in self.mode.items() if k not in ("columns", "t_start_ns")}
        return Descriptor(
            stream=self.id,
            role="estimator",
            source=f"codecarbon {self.version}",
            channels=tuple(channels),
            cadence_s=self.cadence_s,
            mode=self.cpu_mode,
            scope=tuple(h["class"] for h in self._hardware),
            configuration={
                **configuration,
                "cpu_mode": self.cpu_mode,
                "rapl_root": None if self._rapl_root is None else str(self._rapl_root),
                "constant_times_duration": sorted(constant),
            },
        )

    def _check_rapl(self, root: Path) -> None:
        """Refuse to go on where it does not read that tree, or adds up none of its zones."""
        if self.cpu_mode != "intel_rapl":
            problem = f"it runs in {self.cpu_mode or 'no CPU mode'}"
        elif not any(h["summed"] for h in self._hardware):
            problem = "it adds up none of its zones and would report 0 W"
        else:
            return
        self.close()
        raise WrongMode(
            f"Expected CodeCarbon in the mode intel_rapl on {root}; {problem}. Look for readable "
            "package zones in that tree."
        )

    def _check_fallback(self, host: Path, options: Mapping[str, Any]) -> None:
        """Refuse what it has fallen back to without a word, on a machine that could do better."""
        zones = sorted((host / "sys" / "class" / "powercap").glob("intel-rapl*:*"))
        cards = sorted((host / "proc" / "driver" / "nvidia" / "gpus").glob("*"))
        forced = any(options.get(k) for k in ("force_cpu_power", "force_mode_cpu_load"))
        counted = self.cpu_mode == "intel_rapl" and any(h["summed"] for h in self._hardware)
        if zones and not counted and not forced:
            what = (
                f"the machine has RAPL counters, and it runs in {self.cpu_mode or 'no CPU mode'}. "
                f"Until the next start this opens them: sudo chmod a+r {zones[0].parent}"
                "/intel-rapl*/energy_uj"
            )
        elif cards and not any(h["class"] == "GPU" for h in self._hardware):
            what = (
                f"the machine has {len(cards)} NVIDIA GPUs, and it reads none. It looks for the "
                "program nvidia-smi on PATH first"
            )
        else:
            return
        self.close()
        raise WrongMode(
            f"CodeCarbon has fallen back without a word: {what}. To record it as it runs, say "
            "codecarbon-fallback."
        )

    @property
    def _hardware(self) -> list[dict[str, Any]]:
        hardware: list[dict[str, Any]] = self.mode["hardware"]
        return hardware

    def _constant_components(self) -> set[str]:
        """Return the components whose power never changes: no regression can tell them apart."""
        constant = set()
        if self.mode["tracking_mode"] == "machine" and "RAM" in {
            h["class"] for h in self._hardware
        }:
            constant.add("ram")
        no_zones = self.cpu_mode == "intel_rapl" and not any(h["summed"] for h in self._hardware)
        if self.cpu_mode == "constant" or no_zones:
            constant.add("cpu")
        return constant
