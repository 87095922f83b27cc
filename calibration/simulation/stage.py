"""A stage for programs under test: counters and GPUs that follow given powers, exactly known.

A `Scene` says which zones and GPUs there are, and how the power of each goes over time. A `Stage`
lets a process of its own play it: it rewrites the counters in place about a thousand times a second
and keeps the GPUs' state file current. Time zero of a scene is when the program under test says
`go` (it makes a file); before that every power is that of its profile's first knot. So the truth of
any window is a closed form, whenever the program was ready.

    python -m calibration.simulation.stage FOLDER PARENT_PID
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ..errors import NotAvailable
from .gpu import Gpu, GpuReadings, Sensor
from .nvml import NvmlState
from .powercap_tree import Zone, ZoneCounter, make_tree
from .profile import PowerProfile

__all__ = ["Scene", "SceneZone", "Stage", "Truth"]

PERIOD_NS: Final = 1_000_000
_LATE_NS: Final = 3_000_000
_START_LIMIT_S: Final = 15.0
_GO: Final = "go"


@dataclass(frozen=True, slots=True)
class SceneZone:
    """One RAPL zone: where it stands, its true power, and what goes wrong with it, in s.

    From `lost_at_s` on nobody may read it; from `stalls_at_s` on it stands still; at `resets_at_s`
    it starts again from its first value, as after a suspend.
    """

    zone: Zone
    truth: PowerProfile
    lost_at_s: float | None = None
    stalls_at_s: float | None = None
    resets_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything on the stage: zones (outer before nested ones) and GPUs."""

    zones: tuple[SceneZone, ...] = ()
    gpus: tuple[Gpu, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the scene as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scene:
        """Build the scene that `to_json` took apart."""
        zones = [
            SceneZone(**{**z, "zone": Zone(**z["zone"]), "truth": _profile(z["truth"])})
            for z in value["zones"]
        ]
        gpus = [
            Gpu(**{**g, "truth": _profile(g["truth"]), "sensor": Sensor(**g["sensor"])})
            for g in value["gpus"]
        ]
        return cls(tuple(zones), tuple(gpus))


def _profile(value: Mapping[str, Any]) -> PowerProfile:
    return PowerProfile.of(zip(value["times_s"], value["powers_w"], strict=True))


@dataclass(frozen=True, slots=True)
class Truth:
    """What the scene truly did, once it was played, on the clock CLOCK_MONOTONIC.

    `began_ns` is when the stage was set, `go_ns` the time zero of the scene. `late_ns` are the
    stretches, from one renewal of the counters to the next, that took longer than 3 ms because the
    computer had other work.
    """

    scene: Scene
    began_ns: int
    go_ns: int
    late_ns: tuple[tuple[int, int], ...] = ()

    def late_s(self, start_ns: int, end_ns: int) -> float:
        """Return how old a counter may have been that was read between two instants, s.

        Nothing where renewals came in time. A renewal may be held up before or after it looks at
        the clock, so that the stretch before a late one counts with it.
        """
        found = (
            last - first
            for first, last in self.late_ns
            if first - PERIOD_NS <= end_ns and last + PERIOD_NS >= start_ns
        )
        return max(found, default=0) * 1e-9

    def energy_j(self, truth: PowerProfile, start_ns: int, end_ns: int) -> float:
        """Return the energy of one of the scene's profiles between two monotonic instants, J."""
        return truth.energy_j((start_ns - self.go_ns) * 1e-9, (end_ns - self.go_ns) * 1e-9)

    def counted_j(self, gpu: Gpu, start_ns: int, end_ns: int) -> float:
        """Return what a card's own counter gained between two monotonic instants, J."""
        readings, lead_s = GpuReadings(gpu), (self.go_ns - self.began_ns) * 1e-9
        first, last = (
            readings.at((t - self.began_ns) * 1e-9, lead_s)["energy_mj"] for t in (start_ns, end_ns)
        )
        return (last - first) / 1000.0


class Stage:
    """Play a scene in `folder`, which must not exist yet; `sysfs` and `gpu_state` are its props."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.scene, self.folder = scene, folder
        self.sysfs, self.gpu_state, self.go = folder / "sys", folder / "gpus.bin", folder / _GO
        folder.mkdir(parents=True)
        make_tree(self.sysfs, [z.zone for z in scene.zones])
        text = json.dumps(scene.to_json())
        (folder / "scene.json").write_text(text, encoding="utf-8")
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with (folder / "stage.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(folder), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        try:
            self._wait(folder / "ready", _START_LIMIT_S)
        except BaseException:
            self.close()
            raise

    def _wait(self, file: Path, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while not file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotAvailable(
                    f"Expected the simulated machine to write {file.name} within {limit_s:g} s; "
                    f"what its process said stands in {self.folder / 'stage.log'}."
                )
            time.sleep(0.005)

    def truth(self) -> Truth:
        """Return the truth.

        Raises:
            NotAvailable: nobody has said `go`.

        """
        self._wait(self.folder / "began.json", 1.0)
        began = json.loads((self.folder / "began.json").read_text(encoding="utf-8"))
        lines = (self.folder / "late").read_text(encoding="ascii").split("\n")[:-1]
        late_ns = tuple((int(a), int(b)) for a, _, b in (line.partition(" ") for line in lines))
        return Truth(self.scene, int(began["began_ns"]), int(began["go_ns"]), late_ns)

    def close(self) -> None:
        """End the process; what it wrote stays."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _ZonePlayer:
    """One zone's counter and its mishaps."""

    def __init__(self, root: Path, zone: SceneZone) -> None:
        self._zone, self._counter = zone, ZoneCounter(root, zone.zone)
        self._lost = False

    def write(self, t_s: float, lead_j: float) -> None:
        """Show the counter at `t_s` of the scene; `lead_j` went by before its time zero."""
        zone = self._zone
        if zone.lost_at_s is not None and t_s >= zone.lost_at_s and not self._lost:
            self._counter.path.chmod(0)
            self._lost = True
        shown_s = t_s if zone.stalls_at_s is None else min(t_s, zone.stalls_at_s)
        if zone.resets_at_s is not None and t_s >= zone.resets_at_s:
            self._counter.write(zone.truth.energy_j(zone.resets_at_s, shown_s))
            return
        self._counter.write(lead_j + zone.truth.energy_j(0.0, shown_s))


def _play(folder: Path, parent: int) -> None:
    text = (folder / "scene.json").read_text(encoding="utf-8")
    scene = Scene.from_json(json.loads(text))
    zones = [_ZonePlayer(folder / "sys", z) for z in scene.zones]
    state = NvmlState(folder / "gpus.bin", [g.describe() for g in scene.gpus])
    cards = [GpuReadings(g) for g in scene.gpus]
    began_ns = due_ns = now_ns = time.monotonic_ns()
    go_ns: int | None = None
    ready = False
    late = (folder / "late").open("w", encoding="ascii", buffering=1)
    while os.getppid() == parent:
        before_ns, now_ns = now_ns, time.monotonic_ns()
        if now_ns - before_ns > _LATE_NS:
            late.write(f"{before_ns} {now_ns}\n")
        if go_ns is None and (folder / _GO).exists():
            go_ns = now_ns
            _say(folder / "began.json", {"began_ns": began_ns, "go_ns": go_ns})
        # Before `go` the scene stands at its time zero, and the powers of that instant go on.
        lead_s = ((go_ns or now_ns) - began_ns) * 1e-9
        t_s = 0.0 if go_ns is None else (now_ns - go_ns) * 1e-9
        for player, zone in zip(zones, scene.zones, strict=True):
            player.write(t_s, zone.truth.powers_w[0] * lead_s)
        for index, card in enumerate(cards):
            state.write(index, card.at((now_ns - began_ns) * 1e-9, lead_s))
        if not ready:
            _say(folder / "ready", {})
            ready = True
        due_ns = max(due_ns + PERIOD_NS, time.monotonic_ns())
        time.sleep(max(due_ns - time.monotonic_ns(), 0) * 1e-9)


def _say(path: Path, value: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)


def main(arguments: Sequence[str]) -> None:
    """Play the scene that `Stage` has prepared."""
    with contextlib.suppress(KeyboardInterrupt):
        _play(Path(arguments[0]), int(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
