"""A simulated machine beside an emulated meter, and a recording that attaches itself to one."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError, NotInstalled

if TYPE_CHECKING:
    from ..plans import Plan
    from ..simulation.running import AttachedMachine, SimulatedMachine

__all__ = ["add_machine_option", "attach", "machine_text", "simulated_machine"]

_LIBRARY: Final = "lib"
_TRUTH: Final = "simulated-truth.csv"
_HOURS: Final = 4.0


@contextlib.contextmanager
def simulated_machine(name: str | None, folder: Path | None) -> Iterator[SimulatedMachine | None]:
    """Run the machine of that name in a new folder; its truth is written there at the end.

    Raises:
        InputError: there is no such machine, or no new folder for it.
        NotAvailable: it cannot run here, or its GPUs cannot be shown.

    """
    if name is None:
        if folder is not None:
            raise InputError("--folder: expected --machine beside it; there is none.")
        yield None
        return
    try:
        from ..simulation.machine import MACHINES
        from ..simulation.nvml import build_library
        from ..simulation.running import SimulatedMachine
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("calibration", "drivers"):
            raise
        raise NotInstalled(
            f"A simulated machine needs {error.name}, which is not installed: "
            "pip install 'wattcal[lab]'"
        ) from None
    if name not in MACHINES:
        raise InputError(f"--machine: expected one of {', '.join(MACHINES)}; got {name!r}.")
    if folder is None or folder.exists():
        was = "none" if folder is None else f"{folder}, which exists"
        raise InputError(f"--machine: expected a new --folder for its counters; got {was}.")
    machine = MACHINES[name]
    names = ("idle", *machine.memory_share, *machine.gpu_share)
    with SimulatedMachine(folder, machine, workloads=names, hours=_HOURS) as running:
        if machine.gpus:
            build_library(folder / _LIBRARY)
        yield running
        running.stop()
        running.truth().to_csv(folder / _TRUTH)


def machine_text(name: str, folder: Path) -> str:
    """Return what a machine shows, and how to read it."""
    library = folder / _LIBRARY
    lines = [
        f"SIMULATED: {name} follows this computer's load, for {_HOURS:g} h at most. Its RAPL "
        f"counters lie under {folder / 'sys'}; when it ends, its truth in {folder / _TRUTH}."
    ]
    if library.is_dir():
        lines.append(
            f"Tools see its GPUs with LD_LIBRARY_PATH={library} PATH={library}:$PATH "
            f"WATTCAL_NVML={folder / 'gpus.bin'}."
        )
    return "\n".join(lines)


def add_machine_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the machine to attach to."""
    parser.add_argument(
        "--simulated-machine",
        metavar="DIR",
        type=Path,
        help="record the simulated machine that `wattcal emulate --machine` runs there: its "
        "counters and GPUs; GPU workloads are played on it, without a library for GPUs",
    )


def attach(arguments: argparse.Namespace, plan: Plan) -> AttachedMachine | None:
    """Attach a recording to the machine in `--simulated-machine`, and mark it simulated.

    Its counters take the place of this computer's, its GPUs too, in this process and in those of
    the tools.

    Raises:
        InputError: there is no such machine, or the plan asks for GPUs that it does not have.
        NotAvailable: it does not live any more.

    """
    folder: Path | None = arguments.simulated_machine
    if folder is None:
        return None
    from ..simulation.nvml import use_library
    from ..simulation.running import AttachedMachine
    from ..workloads import workload

    found = AttachedMachine(folder)
    asked = [n for n in plan.workloads if workload(n).gpu]
    if asked and not found.machine.gpus:
        raise InputError(
            f"The plan asks for {asked[0]}, and {found.machine.id} has no GPU. Take it out, or "
            "start another machine (--machine gpu-node)."
        )
    arguments.simulated = True
    if arguments.powercap_root is None:
        arguments.powercap_root = found.sysfs
    if found.gpu_state is not None:
        use_library(folder / _LIBRARY, found.gpu_state)
    return found
