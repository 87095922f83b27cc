"""An emulated Shelly plug, Gen2: the JSON of the real one, the power of your choice.

Written from the pages that `drivers.meters.shelly` names, without its table. Window, refresh and
rounding are assumed, as the driver says; the voltage wanders by `wander_v` at every refresh.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

from .faults import Damage
from .http_plug import HTTP_FAULTS, HttpPlugServer, respond, take_question
from .window import WindowedPower

__all__ = ["ShellyDevice", "ShellyEmulator"]


def _over(_chance: random.Random, _question: bytes, answer: bytes) -> bytes:
    """Return the same answer with the error that an exceeded limit gives."""
    body = answer.partition(b"\r\n\r\n")[2].decode()
    return respond(body[:-1] + ',"errors":["overpower"]}')


def _other(_chance: random.Random, _question: bytes, answer: bytes) -> bytes:
    return answer.replace(b'"id":0', b'"id":1')


class ShellyDevice:
    """The plug without its port; `power_w` is called with monotonic seconds."""

    faults: Mapping[str, Damage] = {**HTTP_FAULTS, "over_range": _over, "wrong_id": _other}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        window_s: float = 1.0,
        refresh_s: float = 1.0,
        voltage_v: float = 230.0,
        wander_v: float = 0.4,
        power_factor: float = 0.95,
        energy_wh: float = 0.0,
        metered: bool = True,
        generation: int = 2,
        password: bool = False,
    ) -> None:
        self._power = WindowedPower(power_w, window_s=window_s, refresh_s=refresh_s)
        self._voltage_v, self._wander_v, self._power_factor = voltage_v, wander_v, power_factor
        self._energy_wh, self._metered = energy_wh, metered
        self._generation, self._password = generation, password

    def advance(self, t_s: float) -> None:
        """Measure until `t_s` (monotonic seconds)."""
        self._power.advance(t_s)

    def reboot(self) -> None:
        """Restart: the energy register survives."""
        self._power.restart()

    def reset_counters(self) -> None:
        """Let the energy begin anew, as Switch.ResetCounters does."""
        self._power.imported_j = self._energy_wh = 0.0

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received."""
        question, path, rest = take_question(buffer)
        return question, self._answer(path) if question else b"", rest

    def _answer(self, path: str) -> bytes:
        if path == "/rpc/Shelly.GetDeviceInfo":
            return respond(
                '{"name":null,"id":"shellyplusplugs-000000000000","mac":"000000000000","slot":0,'
                f'"model":"SNPL-00112EU","gen":{self._generation},"fw_id":"emulated",'
                '"ver":"1.0.0","app":"PlusPlugS",'
                f'"auth_en":{str(self._password).lower()},"auth_domain":null}}'
            )
        if self._password:
            return respond('{"code":401}', 401)
        if path in ("/rpc/Switch.GetStatus?id=0", "/rpc/PM1.GetStatus?id=0"):
            return respond(self._status())
        return respond('{"code":-105,"message":"Argument id, value not found!"}', 500)

    def _status(self) -> str:
        head = '{"id":0, "source":"init", "output":true, '
        if not self._metered:
            return head + '"temperature":{"tC":47.7, "tF":117.8}}'
        power_w = self._power.shown_w
        voltage_v = self._power.wandering(self._voltage_v, self._wander_v)
        current_a = math.fabs(power_w) / (voltage_v * self._power_factor)
        energy_wh = self._energy_wh + self._power.imported_j / 3600.0
        return (
            f'{head}"apower":{power_w:.1f}, "voltage":{voltage_v:.1f}, "current":{current_a:.3f}, '
            f'"aenergy":{{"total":{energy_wh:.3f},"by_minute":[0.000,0.000,0.000],'
            '"minute_ts":1700000000},"temperature":{"tC":47.7, "tF":117.8}}'
        )


class ShellyEmulator(HttpPlugServer):
    """The plug on a TCP port; a context manager. `options` are those of `ShellyDevice`."""

    device = ShellyDevice
