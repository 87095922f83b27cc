"""NVML: the energy counters and power sensors of NVIDIA GPUs, each card by its UUID.

A card with an energy counter (Volta and later) is read through it, in mJ since the driver was
loaded; where one card has none, power is read of all of them, and the mode says so: the two
disagree in the field and are never mixed. Newer drivers tell an instant power (field 186) from an
average one (field 185; over 1 s on Ampere and later except GA100); the older question answers with
the one or the other, whichever the card pleases.

The sensor renews its number every 20 to 100 ms. How often is measured when the reader is opened.
Over how long it averages only a step of the load can tell, so a recording does
(`analysis.averaging`, printed by `wattcal compare`). On A100 and H100 the sensor looks at 25 ms of
every 100 ms (Yang, Adamek, Armour: "Part-time Power Measurements", SC24, arXiv:2312.02741); that
the energy counter adds up the same looks stands in no source and is assumed.

Sources: NVML API reference (NVIDIA), nvmlDeviceGetTotalEnergyConsumption, nvmlDeviceGetPowerUsage,
nvmlDeviceGetFieldValues.

A card that is lost, or whose counter cannot be explained, is a fault of the whole row: a failed
reading has no values, and what is fitted is the sum of all cards, which without one of them would
pass for a smaller machine. Counters go on meanwhile, so the next row has the energy of this one;
after a counter that cannot be explained the sum begins again at 0, which tells every reader that
the energy in between is unknown.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from ..errors import NotAvailable, NotInstalled
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor
from .nvml_cards import Card, UnknownStep, find_cards, powers_w, step_mj
from .renewal import looks, update_period_s

__all__ = ["NvmlReader"]

_LOOK_EVERY_S: Final = 0.003
_AGAIN_NS: Final = 1_000_000_000


@dataclass(slots=True)
class _Look:
    """What all cards said at one look."""

    counters_mj: dict[str, int] = field(default_factory=dict)
    powers_w: dict[str, dict[str, float]] = field(default_factory=dict)


class NvmlReader:
    """Reads all GPUs of this machine; a context manager.

    `look_s` is how long it may look for the sensor's update period when it is opened (0: not).

    Raises:
        NotAvailable: there is no library, no driver, no GPU, or none that tells energy or power.
        NotInstalled: nvidia-ml-py is missing.

    """

    since_previous = False

    def __init__(
        self,
        *,
        id: str = "nvml",
        cadence_s: float = 0.1,
        look_s: float = 1.5,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.id, self.cadence_s, self._now_ns = id, cadence_s, now_ns
        self._nvml = _library()
        self._open = False
        self._away_since_ns: int | None = None
        self._initialise()
        try:
            self._driver = str(self._nvml.nvmlSystemGetDriverVersion())
            self._cards, self._silent = find_cards(self._nvml)
            self.mode = "energy_counter" if all(c.counts for c in self._cards) else "power"
            for card in self._cards:
                card.period_s = self._period(card, look_s, sleep)
            self._t_last_ns, _, first = self._look()
        except self._nvml.NVMLError as error:
            self.close()
            raise NotAvailable(f"The GPUs cannot be read: {error}. Try nvidia-smi.") from None
        except BaseException:
            self.close()
            raise
        for card in self._cards:
            card.last_mj = first.counters_mj.get(card.uuid, 0)
        self._sum_mj = 0

    def __enter__(self) -> NvmlReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def version(self) -> str:
        """Return the version of the driver."""
        return self._driver

    def descriptor(self) -> Descriptor:
        """Return what the channels mean: the sum of all cards, then what each card says."""
        counted = self.mode == "energy_counter"
        share = min(c.observed_share for c in self._cards)
        channels = [
            ChannelInfo(
                name="nvml_j" if counted else "nvml_w",
                quantity="energy" if counted else "power",
                unit="J" if counted else "W",
                kind="counter" if counted else "instant",
                resolution=0.001,
                observed_share=share,
                input="nvml",
                assumed=("observed_share",) if share < 1.0 else (),
            )
        ]
        for card in self._cards:
            if card.counts:
                channels.append(
                    ChannelInfo(
                        name=f"{card.uuid}_j",
                        quantity="energy",
                        unit="J",
                        kind="counter",
                        resolution=0.001,
                    )
                )
            channels += [
                ChannelInfo(
                    name=f"{card.uuid}_{power}",
                    quantity="power",
                    unit="W",
                    kind="instant",
                    resolution=0.001,
                )
                for power in card.powers
            ]
        return Descriptor(
            stream=self.id,
            role="estimator",
            source="NVML",
            channels=tuple(channels),
            cadence_s=self.cadence_s,
            mode=self.mode,
            scope=tuple(f"{c.facts['name']} {c.uuid}" for c in self._cards),
            configuration={
                "driver": self._driver,
                "nvidia-ml-py": _version(),
                "gpus": {
                    c.uuid: {
                        **c.facts,
                        "energy_counter": c.counts,
                        "powers": list(c.powers),
                        "summed": "counter" if counted else c.powers[0],
                        "update_period_s": c.period_s,
                    }
                    for c in self._cards
                },
                # What draws power here and says nothing; no sum contains it.
                "without_a_reading": list(self._silent),
            },
        )

    def read(self) -> Reading:
        """Take one reading of all cards; a fault says what went wrong, and with which card."""
        before_ns = self._now_ns()
        if not self._back(before_ns):
            return Reading(before_ns, before_ns, fault="gone")
        try:
            t_request_ns, t_reply_ns, look = self._look()
        except self._nvml.NVMLError as error:
            # The counters go on meanwhile: the next good look has the energy of this one too.
            return Reading(before_ns, self._now_ns(), fault=self._fault(error, before_ns))
        elapsed_s = max(t_reply_ns - self._t_last_ns, 0) / 1e9
        self._t_last_ns = t_request_ns
        faults, sum_mj = [], 0
        for card in self._cards:
            if card.uuid not in look.counters_mj:
                continue
            now_mj = look.counters_mj[card.uuid]
            try:
                sum_mj += step_mj(card, now_mj, elapsed_s)
            except UnknownStep as unknown:
                faults.append(str(unknown))
            card.last_mj = now_mj
        if faults:
            self._sum_mj = 0
            return Reading(t_request_ns, t_reply_ns, fault=", ".join(faults))
        self._sum_mj += sum_mj
        if self.mode == "energy_counter":
            values = {"nvml_j": self._sum_mj / 1e3}
        else:
            values = {"nvml_w": sum(look.powers_w[c.uuid][c.powers[0]] for c in self._cards)}
        for card in self._cards:
            if card.counts:
                values[f"{card.uuid}_j"] = card.last_mj / 1e3
            values |= {f"{card.uuid}_{k}": v for k, v in look.powers_w[card.uuid].items()}
        return Reading(t_request_ns, t_reply_ns, values)

    def close(self) -> None:
        """Give the library back."""
        if self._open:
            self._open = False
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()

    def _initialise(self) -> None:
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise NotAvailable(
                f"NVIDIA's management library cannot be used: {error}. Look whether nvidia-smi "
                "works; in a container, start it with the GPUs (docker run --gpus all ...)."
            ) from None
        self._open = True

    def _period(self, card: Card, look_s: float, sleep: Callable[[float], None]) -> float | None:
        """Measure how often the card renews its counter, or its power where it has none."""
        n = self._nvml

        def read() -> float | None:
            if card.counts:
                return float(n.nvmlDeviceGetTotalEnergyConsumption(card.handle))
            return powers_w(n, card.handle, card.powers).get(card.powers[0])

        return update_period_s(
            *looks(read, last_s=look_s, every_s=_LOOK_EVERY_S, now_ns=self._now_ns, sleep=sleep)
        )

    def _look(self) -> tuple[int, int, _Look]:
        """Return the instants before and after, and what every card says."""
        look, before_ns = _Look(), self._now_ns()
        for card in self._cards:
            if card.counts:
                look.counters_mj[card.uuid] = int(
                    self._nvml.nvmlDeviceGetTotalEnergyConsumption(card.handle)
                )
        for card in self._cards:
            powers = powers_w(self._nvml, card.handle, card.powers)
            if len(powers) < len(card.powers):
                raise self._nvml.NVMLError(self._nvml.NVML_ERROR_NO_DATA)
            look.powers_w[card.uuid] = powers
        return before_ns, self._now_ns(), look

    def _fault(self, error: Any, now_ns: int) -> str:
        """Name what went wrong; a lost card or driver is looked for again later."""
        n = self._nvml
        lost = n.NVML_ERROR_GPU_IS_LOST
        away = (lost, n.NVML_ERROR_UNINITIALIZED, n.NVML_ERROR_DRIVER_NOT_LOADED,
                n.NVML_ERROR_INVALID_ARGUMENT)  # fmt: skip
        if error.value in away:
            self._away_since_ns = now_ns
        return "gpu_lost" if error.value == lost else "unreadable"

    def _back(self, now_ns: int) -> bool:
        """Whether all cards are there; a second after one was lost they are looked up anew."""
        if self._away_since_ns is None:
            return True
        if now_ns - self._away_since_ns < _AGAIN_NS:
            return False
        self._away_since_ns = now_ns
        self.close()
        n = self._nvml
        try:
            n.nvmlInit()
            self._open = True
            for card in self._cards:
                card.handle = n.nvmlDeviceGetHandleByUUID(card.uuid)
        except n.NVMLError:
            return False
        self._away_since_ns = None
        return True


def _library() -> Any:
    try:
        import pynvml
    except ImportError:
        raise NotInstalled(
            "NVML needs nvidia-ml-py, which is not installed: pip install 'wattcal[lab]'"
        ) from None
    return pynvml


def _version() -> str:
    from importlib.metadata import version

    return version("nvidia-ml-py")
