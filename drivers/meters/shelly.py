"""Shelly plugs and relays with power metering, Gen2 and later: JSON over HTTP.

Seen: no plug of our own yet. Answers of real ones stand in public code and issues (the examples in
`FORMATS`, and `tests/tapes/shelly_gen2_published.tape`); the rest is from the maker's pages.

Sources: shelly-api-docs.shelly.cloud/gen2, pages ComponentsAndServices/Switch, PM1 and Shelly
(methods GetStatus, GetDeviceInfo, ResetCounters; properties, units, the words of `errors`). Real
answers: a Shelly Plus Plug US in the notes of a public MQTT bridge, a plug with a 242.5 V mains in
a public API note; of who it is (`id`, `mac`, `model`, `gen`, `fw_id`, `ver`, `app`, `auth_en`): a
Plus 1 in the wiki of alexryd/homebridge-shelly-ng, Finding a device ID.

Wire: one GET per reading, on a connection of its own:

    GET /rpc/Switch.GetStatus?id=0
    {"id":0, "source":"WS_in", "output":true, "apower":4.1, "voltage":242.5, "current":0.033,
     "aenergy":{"total":18.015}, "temperature":{...}}

`apower` W, `voltage` V, `current` A, `freq` Hz and `pf` where the model has them, `aenergy.total`
Wh. PM1 (meters without a relay) has the same keys. TCP carries a checksum, the text has none. What
is checked: JSON as a whole, each expected key with a number, the component's `id`, mains voltage
from 80 to 300 V, power against voltage times current (no more than it plus 5 % and 2 W). Of
single bytes of an answer that are replaced by others, 0.2 % come through as another value
(`tests/wire/test_http_frames.py`).

What it averages and how often it refreshes stands in no source. One second is assumed for both,
as for the accuracy (3 % and one count): no figure is published for the plugs.

Quirks
- `aenergy.total` is reset by Switch.ResetCounters and by a factory reset, not by a loss of power.
- A relay that is off is no fault: it measures 0 W. Relays without a meter have no `apower`; that is
  refused when the meter is opened.
- `errors` is there only while something is wrong. Of a Switch it may hold overtemp, overpower,
  overvoltage, undervoltage; of a PM1 power_meter_failure and out_of_range: with voltage, current,
  aprtpower or apower. Heat and undervoltage leave the values as they are (assumed); with any other
  word, one that is not known here included, the reading is a fault.
- With authentication switched on it answers 401; this driver knows no passwords.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, Final

from ..accuracy import PLUG_METER
from ..errors import DeviceError, Implausible, OverRange, Unsupported
from ..formats import Format
from ..held import CounterWatch, HeldWatch
from ..http_frames import get, json_of, number_at, parse_response
from ..reading import Channel, Kind, Reading
from ..transport import Transport
from ..wire import ask

__all__ = ["CHANNELS", "COMPONENTS", "FORMATS", "Shelly", "decode"]

COMPONENTS: Final = {"switch": "Switch", "pm1": "PM1"}
_REFRESH_S: Final = 1.0
_ASSUMED: Final = ("window_s", "refresh_s", "stamp_at", "accuracy")
_PLAUSIBLE_V: Final = (80.0, 300.0)
_HARMLESS: Final = ("overtemp", "undervoltage")
_OVER: Final = ("overpower", "overvoltage", "out_of_range:")


def _channel(
    name: str, quantity: str, unit: str, scale: Fraction, high: float | None, kind: Kind = "mean"
) -> Channel:
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind=kind,
        scale=scale,
        resolution=float(scale),
        accuracy=PLUG_METER,
        window_s=None if kind == "counter" else 1.0,
        refresh_s=_REFRESH_S,
        range_min=0.0,
        range_max=high,
        assumed=_ASSUMED,
    )


# Path in the JSON, unit of the text in the channel's, channel. Rated 16 A at 240 V.
_TABLE: Final = (
    (("apower",), 1, _channel("power_w", "power", "W", Fraction(1, 10), 3840.0)),
    (("voltage",), 1, _channel("voltage_v", "voltage", "V", Fraction(1, 10), 300.0)),
    (("current",), 1, _channel("current_a", "current", "A", Fraction(1, 1000), 16.0)),
    (
        ("aenergy", "total"),
        3600,
        _channel("energy_j", "energy", "J", Fraction(36, 10), None, "counter"),
    ),
)
CHANNELS: Final = tuple(channel for _, _, channel in _TABLE)


def decode(answer: Mapping[str, Any], component_id: int = 0) -> dict[str, float]:
    """Return the value of every channel, in the channel's unit, from the JSON object.

    Raises:
        Implausible: a key is missing or holds no number, it is another component's, the values
            do not fit each other, or the plug says that something else is wrong with them.
        OverRange: the plug says that its limit is exceeded.

    """
    if answer.get("id") != str(component_id):
        raise Implausible(f"Expected component {component_id}; got {answer.get('id')!r}.")
    wrong = _errors_of(answer)
    if wrong:
        reports = f"The plug reports {' and '.join(wrong)}"
        if all(word.startswith(_OVER) for word in wrong):
            raise OverRange(f"{reports}; its limit is exceeded.")
        raise Implausible(f"{reports}; its values cannot be used.")
    values = {}
    for path, unit, channel in _TABLE:
        values[channel.name] = number_at(answer, *path) * unit
    low, high = _PLAUSIBLE_V
    if not low <= values["voltage_v"] <= high:
        raise Implausible(
            f"Expected voltage_v from {low:g} to {high:g}; got {values['voltage_v']:g}."
        )
    apparent_va = values["voltage_v"] * values["current_a"]
    if abs(values["power_w"]) > 1.05 * apparent_va + 2.0:
        raise Implausible(
            f"Expected at most the {apparent_va:.1f} VA of voltage times current; got "
            f"{values['power_w']:g} W."
        )
    return values


def _errors_of(answer: Mapping[str, Any]) -> list[str]:
    """Return what the plug says is wrong with its values."""
    errors = answer.get("errors") or []
    words = errors if isinstance(errors, list) else [errors]
    return [text[:40] for text in map(str, words) if text not in _HARMLESS]


def _whole(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nServer: Mongoose/6.18\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


FORMATS: Final = {
    "status": Format(
        parse=parse_response,
        decode=lambda payload: decode(json_of(payload)),
        checked=False,
        examples=(
            _whole(
                b'{"id":0, "source":"WS_in", "output":true, "apower":4.1, "voltage":242.5, '
                b'"current":0.033, "aenergy":{"total":18.015},"temperature":{"tC":30.3, "tF":86.5}}'
            ),
            _whole(
                b'{"id":0, "source":"loopback", "output":true, "apower":10.7, "voltage":120.7, '
                b'"current":0.133, "aenergy":{"total":46791.262,"by_minute":[73.921,177.749,'
                b'177.749],"minute_ts":1682952864},"temperature":{"tC":47.9, "tF":118.3}}'
            ),
        ),
    )
}


class Shelly:
    """One plug; `component` is switch or pm1, `id` which of them."""

    model = "shelly"
    baud = 0
    speaks = "http"
    channels = CHANNELS

    def __init__(
        self,
        transport: Transport,
        *,
        component: str = "switch",
        id: int = 0,
        reply_s: float = 1.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if component not in COMPONENTS:
            raise Unsupported(
                f"Expected the component {' or '.join(COMPONENTS)}; got {component!r}."
            )
        self._transport, self._id = transport, id
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._path = f"/rpc/{COMPONENTS[component]}.GetStatus?id={id}"
        self._held = HeldWatch([c.name for c in CHANNELS], refresh_s=_REFRESH_S)
        self._energy = CounterWatch("energy_j")

    def identify(self) -> Mapping[str, str]:
        """Ask for the device's model and firmware, and whether this component measures.

        Raises:
            DeviceError: it is no Shelly of Gen2 or later, or its component has no meter.

        """
        info = self._json("/rpc/Shelly.GetDeviceInfo")
        generation = info.get("gen")
        if not (isinstance(generation, str) and generation.isdigit() and int(generation) >= 2):
            raise DeviceError(f"Expected a Shelly of Gen2 or later; got {str(info)[:60]}.")
        status = self._json(self._path)
        if "apower" not in status:
            raise DeviceError(
                f"{self._transport.name} has no power meter at {self._path}; got the keys "
                f"{', '.join(status)}."
            )
        texts = {"model": self.model}
        for key, name in (("model", "product"), ("ver", "firmware"), ("id", "device")):
            if isinstance(info.get(key), str):
                texts[name] = info[key]
        return texts

    def read(self) -> Reading:
        """Take one reading of all channels.

        Raises:
            CounterReset: the energy register fell.
            Held: nothing has moved for a minute.
            DriverError: there is no answer, or none that can be used.

        """
        answer = self._ask(get(self._path, self._transport.name), parse_response)
        values = decode(json_of(answer.payload), self._id)
        self._energy.check(answer.t_reply_ns, values["energy_j"])
        self._held.check(answer.t_reply_ns, values)
        return Reading(answer.t_request_ns, answer.t_reply_ns, values)

    def close(self) -> None:
        """Hang up; the plug needs no farewell."""
        self._transport.close()

    def _json(self, path: str) -> dict[str, Any]:
        return json_of(self._ask(get(path, self._transport.name), parse_response).payload)

    def __enter__(self) -> Shelly:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
