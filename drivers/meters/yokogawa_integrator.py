"""The watt-hour counter inside Yokogawa's WT310 family: started per run, watched, left stopped.

States and commands from intel/yoko-tool@650a35b and coolr-hpc/pycoolr; IM WT310-17EN (errors 813,
842, 844, 845; about 0.2 s until an integration that was started says so).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ..errors import Refused
from ..held import CounterWatch, StalledWatch
from ..scpi import same_words
from ..talk import Talk
from ..transport import Transport
from ..wire import drain

__all__ = ["Integrator"]

_STATES: Final = ("RESET", "START", "STOP", "TIMEUP", "ERROR")
_START_S: Final = 0.2


class Integrator:
    """The integrator of one instrument; `step_j` is the resolution of its counter in J."""

    def __init__(
        self,
        talk: Talk,
        transport: Transport,
        *,
        step_j: float,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._talk, self._transport, self._now_ns = talk, transport, now_ns
        self._counter = CounterWatch("energy_j")
        self._stalled = StalledWatch("energy_j", step=step_j)
        self._ours = False

    def goes_on(self) -> bool:
        """Whether the integration that was started here still runs: settings must not be set."""
        return self._ours and same_words(self._state(), "START")

    def reset(self) -> None:
        """Stop and reset an integration, whoever has left it.

        Raises:
            Refused: it does not let itself be reset.

        """
        state = self._state()
        if same_words(state, "START"):
            self._talk.tell(":INTEG:STOP")
        if not same_words(state, "RESET"):
            self._talk.tell(":INTEG:RES")
            self._expect("RESET")

    def start(self) -> None:
        """Begin to integrate, without an end.

        Raises:
            Refused: it does not begin.

        """
        self._talk.agree(":INTEG:MODE NORM;", ":INTEG:MODE?", ("NORMAL",))
        self._talk.agree(":INTEG:TIM 0,0,0;", ":INTEG:TIM?", ("0,0,0",))
        self._talk.tell(":INTEG:STAR")
        drain(self._transport, _START_S, now_ns=self._now_ns)  # nothing comes: a pause
        self._expect("START")
        self._ours = True

    def check(self, t_ns: int, energy_j: float, power_w: float) -> None:
        """See that the counter goes on as the power says.

        Raises:
            CounterReset: it has fallen.
            Held: it has stopped.

        """
        self._counter.check(t_ns, energy_j)
        self._stalled.check(t_ns, energy_j, power_w)

    def stop(self) -> None:
        """Leave it stopped, if it was started here."""
        if self._ours:
            self._talk.tell(":INTEG:STOP")
        self._ours = False

    def _state(self) -> str:
        """Ask what it does; whatever is none of its states is no answer."""
        answer = self._talk.ask(
            ":INTEG:STATE?",
            lambda text: None if any(same_words(text, s) for s in _STATES) else "no state",
        )
        return answer.payload.decode("ascii")

    def _expect(self, wanted: str) -> None:
        state = self._state()
        if not same_words(state, wanted):
            raise Refused(f"Expected the integrator to say {wanted}; it says {state!r}.")
