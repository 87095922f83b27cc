"""Plugs with the Tasmota firmware and power metering: JSON over HTTP.

Seen: no plug of our own yet. Answers of real ones stand in public code and manuals (the examples in
`FORMATS`, and `tests/tapes/tasmota_published.tape`).

Sources: tasmota.github.io/docs (text: tasmota/docs@0055399 docs/Commands.md), pages Commands
(Status 8; WattRes, VoltRes, AmpRes 0 to 3, EnergyRes 0 to 5: the most decimals that are shown) and
JSON-Status-Responses; real answers in camueller/SmartApplianceEnabler doc/Tasmota_DE.md and in an
Arduino client that quotes one. Defaults (no decimals
of W and V, three of A and kWh): arendst/Tasmota tasmota/settings.ino, SettingsDefaultSet2, and
ENERGY_RESOLUTION in my_user_config.h.

Wire: one GET per reading, on a connection of its own; the answer may come in chunks:

    GET /cm?cmnd=Status%208
    {"StatusSNS":{"Time":"2019-09-06T20:06:19","ENERGY":{"TotalStartTime":"2019-08-18T11:07:55",
     "Total":0.003,"Yesterday":0.000,"Today":0.003,"Power":26,"ApparentPower":25,
     "ReactivePower":25,"Factor":0.06,"Voltage":239,"Current":0.106}}}

`Total` kWh, `Power` W, `ApparentPower` VA, `ReactivePower` var, `Voltage` V, `Current` A. Of a plug
with several outlets a value may be a list; `outlet` (1, 2, ...) chooses. How many decimals are
shown is a setting of the plug, so the resolution is taken from the answer when it is opened.
TCP carries a checksum, the text has none. What is checked: JSON as a whole, each expected key with
a number, mains voltage from 80 to 300 V, factor from -1 to 1, power against voltage times current
(no more than it plus 10 % and 3 W). Of
single bytes of an answer that are replaced by others, 0.2 % come through as another value
(`tests/wire/test_http_frames.py`).

What the chip averages and how often the firmware asks it stands in no source. One second is
assumed for both, and an accuracy of 3 % and one count: it depends on the plug and its calibration.

Quirks
- Whole watts and whole volts by default: `WattRes 1` and `VoltRes 1` give a decimal more.
- `Time` moves on while the metering chip is dead, so it is no witness of a fresh value; at whole
  volts all fields may stand still for minutes. Ten minutes without any change are held.
- `Total` is set by the command EnergyTotal and by a reset of the plug's settings.
- A plug without a meter has no `ENERGY`; it is refused when it is opened. With a password it
  answers with `WARNING`; this driver knows no passwords.
- The real answer above has less apparent than active power: the fields are not of one instant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any, Final

from ..accuracy import PLUG_METER
from ..errors import DeviceError, Implausible, Refused, Unsupported
from ..formats import Format
from ..held import CounterWatch, HeldWatch
from ..http_frames import get, json_of, number_at, parse_response
from ..reading import Channel, Kind, Reading
from ..transport import Transport
from ..wire import ask

__all__ = ["CHANNELS", "FORMATS", "Tasmota", "decode", "energy_of"]

_STATUS: Final = "/cm?cmnd=Status%208"
_FIRMWARE: Final = "/cm?cmnd=Status%202"
_REFRESH_S: Final = 1.0
_HELD_REFRESHES: Final = 600
_J_PER_KWH: Final = 3_600_000
_PLAUSIBLE: Final = {"voltage_v": (80.0, 300.0), "power_factor": (-1.0, 1.0)}


def _channel(
    name: str, unit: str, scale: Fraction, high: float | None, kind: Kind = "mean"
) -> Channel:
    return Channel(
        name=name,
        quantity=name.rpartition("_")[0] if unit != "1" else name,
        unit=unit,
        kind=kind,
        scale=scale,
        resolution=float(scale),
        accuracy=PLUG_METER,
        window_s=None if kind == "counter" else 1.0,
        refresh_s=_REFRESH_S,
        range_max=high,
        assumed=("window_s", "refresh_s", "stamp_at", "accuracy"),
    )


# Key, unit of the text in the channel's, channel with the resolution of the default settings.
_TABLE: Final = (
    ("Power", 1, _channel("power_w", "W", Fraction(1), 3680.0)),
    ("Voltage", 1, _channel("voltage_v", "V", Fraction(1), 300.0)),
    ("Current", 1, _channel("current_a", "A", Fraction(1, 1000), 16.0)),
    ("Factor", 1, _channel("power_factor", "1", Fraction(1, 100), 1.0)),
    ("Total", _J_PER_KWH, _channel("energy_j", "J", Fraction(3600), None, "counter")),
)
CHANNELS: Final = tuple(channel for _, _, channel in _TABLE)


def energy_of(answer: Mapping[str, Any], outlet: int = 1) -> dict[str, Any]:
    """Return the ENERGY object of an answer to Status 8, of one outlet, numbers as texts.

    Raises:
        Refused: the plug asks for a password.
        Implausible: there is no ENERGY in it, or not as many outlets.

    """
    if "WARNING" in answer:
        raise Refused("The plug asks for a password; switch it off (WebPassword 0).")
    sensors = answer.get("StatusSNS")
    energy = sensors.get("ENERGY") if isinstance(sensors, dict) else None
    if not isinstance(energy, dict):
        raise Implausible(
            f"Expected StatusSNS with ENERGY; got {', '.join(map(str, answer)) or 'nothing'}."
        )
    chosen = {}
    for key, value in energy.items():
        if isinstance(value, list):
            if len(value) < outlet:
                raise Implausible(f"Expected outlet {outlet} of {key}; there are {len(value)}.")
            value = value[outlet - 1]
        chosen[key] = value
    return chosen


def decode(energy: Mapping[str, Any]) -> dict[str, float]:
    """Return the value of every channel, in the channel's unit, from the ENERGY object.

    Raises:
        Implausible: a key is missing or holds no number, or the values do not fit each other.

    """
    values = {c.name: number_at(energy, key) * unit for key, unit, c in _TABLE}
    for name, (low, high) in _PLAUSIBLE.items():
        if not low <= values[name] <= high:
            raise Implausible(f"Expected {name} from {low:g} to {high:g}; got {values[name]:g}.")
    apparent_va = values["voltage_v"] * values["current_a"]
    if abs(values["power_w"]) > 1.1 * apparent_va + 3.0:
        raise Implausible(
            f"Expected at most the {apparent_va:.1f} VA of voltage times current; got "
            f"{values['power_w']:g} W."
        )
    return values


def _resolved(energy: Mapping[str, Any]) -> tuple[Channel, ...]:
    """Return the channels with the resolution of the decimals that the plug shows."""
    channels = []
    for key, unit, channel in _TABLE:
        decimals = len(str(energy[key]).partition(".")[2])
        scale = Fraction(unit, 10**decimals)
        channels.append(replace(channel, scale=scale, resolution=float(scale)))
    return tuple(channels)


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


FORMATS: Final = {
    "status": Format(
        parse=parse_response,
        decode=lambda payload: decode(energy_of(json_of(payload))),
        checked=False,
        examples=(
            _whole(
                b'{"StatusSNS":{"Time":"2019-09-06T20:06:19","ENERGY":{"TotalStartTime":'
                b'"2019-08-18T11:07:55","Total":0.003,"Yesterday":0.000,"Today":0.003,"Power":26,'
                b'"ApparentPower":25,"ReactivePower":25,"Factor":0.06,"Voltage":239,'
                b'"Current":0.106}}}'
            ),
            _whole(
                b'{"StatusSNS":{"Time":"2020-06-29T22:22:24","ENERGY":{"TotalStartTime":'
                b'"2020-06-24T09:25:29","Total":41.573,"Yesterday":6.147,"Today":8.286,"Power":2,'
                b'"ApparentPower":22,"ReactivePower":21,"Factor":0.08,"Voltage":230,'
                b'"Current":0.094}}}'
            ),
        ),
    )
}


class Tasmota:
    """One plug; `outlet` is the number of its outlet, from 1 on."""

    model = "tasmota"
    baud = 0
    speaks = "http"
    channels = CHANNELS  # at the default settings of a plug

    def __init__(
        self,
        transport: Transport,
        *,
        outlet: int = 1,
        reply_s: float = 1.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if outlet < 1:
            raise Unsupported(f"Expected an outlet from 1 on; got {outlet}.")
        self._transport, self._outlet = transport, outlet
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        names = [c.name for c in CHANNELS]
        self._held = HeldWatch(names, refresh_s=_REFRESH_S, refreshes=_HELD_REFRESHES)
        self._counter = CounterWatch("energy_j")

    def identify(self) -> Mapping[str, str]:
        """Ask for the firmware, and take a reading as the proof that there is a meter.

        The resolutions become those that this plug shows.

        Raises:
            DeviceError: there is no Tasmota with a meter.

        """
        answer = self._json(_STATUS)
        try:
            energy = energy_of(answer, self._outlet)
            decode(energy)
        except Implausible as error:
            raise DeviceError(
                f"{self._transport.name} is no Tasmota with a meter: {error}"
            ) from None
        self.channels = _resolved(energy)
        firmware = self._json(_FIRMWARE).get("StatusFWR")
        version = firmware.get("Version") if isinstance(firmware, dict) else None
        return {"model": self.model, "firmware": str(version), "outlet": str(self._outlet)}

    def read(self) -> Reading:
        """Take one reading of all channels.

        Raises:
            CounterReset: the energy register fell.
            Held: nothing has moved for ten minutes.
            DriverError: there is no answer, or none that can be used.

        """
        answer = self._ask(get(_STATUS, self._transport.name), parse_response)
        values = decode(energy_of(json_of(answer.payload), self._outlet))
        self._counter.check(answer.t_reply_ns, values["energy_j"])
        self._held.check(answer.t_reply_ns, values)
        return Reading(answer.t_request_ns, answer.t_reply_ns, values)

    def close(self) -> None:
        """Hang up; the plug needs no farewell."""
        self._transport.close()

    def _json(self, path: str) -> dict[str, Any]:
        return json_of(self._ask(get(path, self._transport.name), parse_response).payload)

    def __enter__(self) -> Tasmota:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
