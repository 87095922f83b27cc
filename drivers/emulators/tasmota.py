"""An emulated plug with Tasmota: the JSON of the real one, the power of your choice.

Written from the pages that `drivers.meters.tasmota` names, without its table. Window, refresh and
rounding are assumed, as the driver says. It answers in chunks, as public clients report.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from .faults import Damage
from .http_plug import HTTP_FAULTS, HttpPlugServer, respond, take_question
from .window import WindowedPower

__all__ = ["TasmotaDevice", "TasmotaEmulator"]


class TasmotaDevice:
    """The plug without its port; `power_w` is called with monotonic seconds.

    `watt_res` and `volt_res` are the decimals of power and voltage (commands WattRes and VoltRes).
    `outlets` more than one gives lists, all power on the first.
    """

    faults: Mapping[str, Damage] = HTTP_FAULTS

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        window_s: float = 1.0,
        refresh_s: float = 1.0,
        voltage_v: float = 230.0,
        wander_v: float = 1.0,
        power_factor: float = 0.95,
        energy_wh: float = 0.0,
        watt_res: int = 0,
        volt_res: int = 0,
        outlets: int = 1,
        metered: bool = True,
        password: bool = False,
    ) -> None:
        self._power = WindowedPower(power_w, window_s=window_s, refresh_s=refresh_s)
        self._voltage_v, self._wander_v, self._power_factor = voltage_v, wander_v, power_factor
        self._energy_wh, self._outlets = energy_wh, outlets
        self._watt_res, self._volt_res = watt_res, volt_res
        self._metered, self._password = metered, password
        self._now_s = 0.0

    def advance(self, t_s: float) -> None:
        """Measure until `t_s` (monotonic seconds)."""
        self._now_s = t_s
        self._power.advance(t_s)

    def reboot(self) -> None:
        """Restart: the energy register survives."""
        self._power.restart()

    def reset_counters(self) -> None:
        """Let the energy begin anew, as EnergyTotal 0 does."""
        self._power.imported_j = self._energy_wh = 0.0

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received."""
        question, path, rest = take_question(buffer)
        return question, self._answer(path) if question else b"", rest

    def _answer(self, path: str) -> bytes:
        if not path.startswith("/cm?"):
            return respond("{}", 404)
        if self._password:
            return respond('{"WARNING":"Need user=<username>&password=<password>"}', chunk=64)
        if path == "/cm?cmnd=Status%208":
            return respond(self._status(), chunk=64)
        if path == "/cm?cmnd=Status%202":
            return respond('{"StatusFWR":{"Version":"12.5.0(emulated)"}}', chunk=64)
        return respond('{"Command":"Unknown"}', chunk=64)

    def _status(self) -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._now_s))
        if not self._metered:
            return f'{{"StatusSNS":{{"Time":"{now}","Switch1":"OFF"}}}}'
        power_w = self._power.shown_w
        voltage_v = self._power.wandering(self._voltage_v, self._wander_v)
        apparent_va = math.fabs(power_w) / self._power_factor
        reactive_var = math.sqrt(max(apparent_va**2 - power_w**2, 0.0))
        energy_kwh = (self._energy_wh + self._power.imported_j / 3600.0) / 1000.0
        decimals = {
            "Total": (energy_kwh, 3),
            "Power": (power_w, self._watt_res),
            "ApparentPower": (apparent_va, self._watt_res),
            "ReactivePower": (reactive_var, self._watt_res),
            "Factor": (self._power_factor if power_w else 0.0, 2),
        }
        texts = {key: self._texts(value, d) for key, (value, d) in decimals.items()}
        texts["Voltage"] = f"{voltage_v:.{self._volt_res}f}"
        texts["Current"] = self._texts(apparent_va / voltage_v, 3)
        energy = ",".join(f'"{key}":{text}' for key, text in texts.items())
        return (
            f'{{"StatusSNS":{{"Time":"{now}","ENERGY":{{"TotalStartTime":"2020-01-01T00:00:00",'
            f"{energy}}}}}}}"
        )

    def _texts(self, value: float, decimals: int) -> str:
        """Return a number, or the list of all outlets."""
        first = f"{value:.{decimals}f}"
        if self._outlets == 1:
            return first
        return "[" + ",".join([first] + [f"{0.0:.{decimals}f}"] * (self._outlets - 1)) + "]"


class TasmotaEmulator(HttpPlugServer):
    """The plug on a TCP port; a context manager. `options` are those of `TasmotaDevice`."""

    device = TasmotaDevice
