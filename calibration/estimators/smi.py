"""GPUs by the text of `nvidia-smi` or `rocm-smi`: for cards that no library reads here.

A process each time, 50 ms and more of it, and watts of one moment: the energy between two readings
is not seen by anybody. It is the way for AMD's cards, and a second door to NVIDIA's.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import NotAvailable
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor
from .smi_text import SmiAnswer, SmiCard, parse_nvidia_smi, parse_rocm_smi

__all__ = ["SMI", "SmiPower"]

_PATIENCE_S: Final = 5.0
SMI: Final[Mapping[str, tuple[tuple[str, ...], Callable[[bytes], SmiAnswer | None], str]]] = {
    "nvidia-smi": (("-q", "-x"), parse_nvidia_smi, "nvml"),
    "rocm-smi": (("--showallinfo", "--json"), parse_rocm_smi, "rocm_smi"),
}
"""By program: what it is asked, how its answer is read, the input that its sum is."""
_FIRST: Final = ("instant_w", "power_w", "average_w")


class SmiPower:
    """Reads the power of all cards by one program of `SMI`; a context manager.

    Raises:
        NotAvailable: the program is not there, or tells no power of any card.

    """

    since_previous = False

    def __init__(
        self,
        tool: str,
        *,
        id: str | None = None,
        cadence_s: float = 1.0,
        program: str | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.id, self.cadence_s, self._now_ns = id or tool, cadence_s, now_ns
        arguments, self._parse, self._input = SMI[tool]
        found = shutil.which(program or tool)
        if found is None:
            raise NotAvailable(f"Expected the program {tool} on PATH; it comes with the driver.")
        self._tool, self._command = tool, [found, *arguments]
        first = self._ask()
        if isinstance(first, str):
            raise NotAvailable(f"{tool} cannot be used: {first}. Run it by hand.")
        self._first = first
        self._kinds = {
            c.id: next(k for k in _FIRST if k in c.powers_w) for c in first.cards if c.powers_w
        }
        if not self._kinds:
            raise NotAvailable(
                f"Expected {tool} to tell the power of a card; it tells none of "
                f"{', '.join(c.name or c.id for c in first.cards) or 'no card'}."
            )

    def __enter__(self) -> SmiPower:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def descriptor(self) -> Descriptor:
        """Return what the channels mean: the sum, then every card that has a sensor."""
        seen = [c for c in self._first.cards if c.id in self._kinds]
        names = [f"{self._input}_w", *(f"{c.id}_{self._kinds[c.id]}" for c in seen)]
        return Descriptor(
            stream=self.id,
            role="estimator",
            source=self._tool,
            channels=tuple(
                ChannelInfo(
                    name=name,
                    quantity="power",
                    unit="W",
                    kind="instant",
                    input=self._input if name == names[0] else None,
                )
                for name in names
            ),
            cadence_s=self.cadence_s,
            mode=f"{self._tool} power",
            scope=tuple(f"{c.name or 'GPU'} {c.id}" for c in seen),
            configuration={
                "driver": self._first.driver,
                "gpus": {c.id: self._facts(c) for c in seen},
                "without_a_reading": [c.id for c in self._first.cards if c.id not in self._kinds],
            },
        )

    def read(self) -> Reading:
        """Take one reading of all cards, W; a fault says why there is none."""
        t_request_ns = self._now_ns()
        answer = self._ask()
        t_reply_ns = self._now_ns()
        if isinstance(answer, str):
            return Reading(t_request_ns, t_reply_ns, fault="unreadable")
        powers = {c.id: c.powers_w for c in answer.cards}
        lost = [i for i, kind in self._kinds.items() if kind not in powers.get(i, {})]
        if lost:
            return Reading(t_request_ns, t_reply_ns, fault=f"missing {', '.join(lost)}")
        values = {f"{i}_{kind}": powers[i][kind] for i, kind in self._kinds.items()}
        values[f"{self._input}_w"] = sum(values.values())
        return Reading(t_request_ns, t_reply_ns, values)

    def close(self) -> None:
        """Do nothing: no process stays."""

    def _facts(self, card: SmiCard) -> dict[str, object]:
        return {
            "name": card.name, "vbios": card.vbios, "power_limit_w": card.limit_w,
            "mig": card.mig, "summed": self._kinds[card.id],
        }  # fmt: skip

    def _ask(self) -> SmiAnswer | str:
        """Return the answer, or why there is none."""
        try:
            done = subprocess.run(
                self._command,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_PATIENCE_S,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_PATIENCE_S:g} s"
        except OSError as error:
            return str(error.strerror)
        found = self._parse(done.stdout) if done.returncode == 0 else None
        if found is None:
            words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            return words[-1][:200] if words else f"exit status {done.returncode}"
        return found
