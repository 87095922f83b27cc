"""`lab.toml`: what a laboratory owns, written down once.

    operator = "A. Person"
    reference = "wall"                      # or "psu-a+psu-b"; the first meter where it is absent

    [[meter]]
    name = "wall"                           # of its stream
    address = "pzem-004t@/dev/ttyUSB0"
    serial = "0417-22"
    range_w = 2300                          # where it is rated for less than its data sheet says
    boundary = "psu_ac_input"               # the default
    certificate = {id = "K-2217", issuer = "A Lab", issued = 2026-03-01, due = 2027-03-01}
    correction = {gain = 1.0021, u_gain = 0.0004, offset_w = -0.05, u_offset_w = 0.02}

    [[meter]]
    name = "plug"
    address = "manual"                      # somebody reads its display
    display = "0.1W"                        # its step
    accuracy = {of_reading = 0.02, absolute = 0.5, source = "the maker's leaflet"}

    [[machine]]
    name = "node7"
    full_w = 420                            # the most it can draw

    [ambient]
    sensor = "/sys/class/hwmon/hwmon2/temp1_input"    # or: prompt = true

A correction makes power = gain x reading + offset_w; the run keeps the readings as they came, and
the analysis applies it. Its uncertainties are standard ones (a certificate's U over its k).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..recording.toml_table import Table
from .display import parse_display

__all__ = [
    "Certificate",
    "Correction",
    "Lab",
    "LabMachine",
    "LabMeter",
    "read_lab",
    "same_serial",
]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MOST_GAIN: Final = 0.2


@dataclass(frozen=True, slots=True)
class Certificate:
    """A calibration certificate; `kind` says who calibrated, in the words of a profile's level."""

    id: str
    issuer: str
    issued: date
    due: date
    kind: str
    accreditation: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields that a profile's chain has."""
        found: dict[str, Any] = {
            "id": self.id,
            "issuer": self.issuer,
            "issued": self.issued.isoformat(),
            "due": self.due.isoformat(),
        }
        if self.accreditation is not None:
            found["accreditation"] = self.accreditation
        return found


@dataclass(frozen=True, slots=True)
class Correction:
    """What is known of a meter's error: power = gain x reading + offset_w, with standard u."""

    gain: float
    offset_w: float
    u_gain: float
    u_offset_w: float


@dataclass(frozen=True, slots=True)
class LabMeter:
    """One meter of the laboratory.

    `display` is the step of a meter that somebody reads, `accuracy` the limit of error by its data
    sheet (`of_reading`, `absolute` in W, `source`); a meter with a driver knows both itself.
    """

    name: str
    address: str
    model: str | None
    serial: str | None
    boundary: str | None
    range_w: float | None
    certificate: Certificate | None
    correction: Correction | None
    display: str | None = None
    accuracy: Mapping[str, Any] | None = None

    def traceability(self, today: date) -> dict[str, Any]:
        """Return what a run says of the meter's standing: level, certificate, correction."""
        certificate = self.certificate
        return {
            "level": "spec_only" if certificate is None else certificate.kind,
            "certificate": None if certificate is None else certificate.to_json(),
            "expired": certificate is not None and certificate.due < today,
            "correction": None
            if self.correction is None
            else {
                "gain": self.correction.gain,
                "offset_w": self.correction.offset_w,
                "u_gain": self.correction.u_gain,
                "u_offset_w": self.correction.u_offset_w,
            },
        }


@dataclass(frozen=True, slots=True)
class LabMachine:
    """A machine by its nickname; `full_w` is the most it can draw, `host` its name on the net."""

    name: str
    full_w: float | None
    host: str | None


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything that lab.toml says."""

    meters: tuple[LabMeter, ...] = ()
    machines: tuple[LabMachine, ...] = ()
    operator: str | None = None
    reference: str | None = None
    ambient_sensor: Path | None = None
    ambient_prompt: bool = False

    def machine(self, name: str | None, host: str) -> LabMachine | None:
        """Return the machine of a nickname, else the one on this host, else the only one.

        Raises:
            InputError: there is no machine of that nickname.

        """
        if name is not None:
            for machine in self.machines:
                if machine.name == name:
                    return machine
            known = ", ".join(m.name for m in self.machines) or "none"
            raise InputError(f"--machine: expected one of lab.toml's machines ({known}); got "
                             f"{name!r}.")  # fmt: skip
        here = [m for m in self.machines if m.host == host]
        if here:
            return here[0]
        only = self.machines if len(self.machines) == 1 and self.machines[0].host is None else ()
        return only[0] if only else None


def read_lab(path: Path) -> Lab:
    """Read and check a lab.toml.

    Raises:
        InputError: it cannot be read, or says something that cannot be; the sentence names the
            table and the key.

    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: expected the laboratory's file; {reason}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: expected TOML; {error}.") from None
    top = Table(values, str(path))
    meters = tuple(_meter(t) for t in top.tables("meter"))
    machines = tuple(_machine(t) for t in top.tables("machine"))
    operator, reference = top.text("operator", None), top.text("reference", None)
    ambient: Table | None = top.table("ambient", None)
    sensor, prompt = None, False
    if ambient is not None:
        sensor, prompt = ambient.text("sensor", None), ambient.flag("prompt", False)
        ambient.done()
        if sensor is None and not prompt:
            raise InputError(f"{ambient.where}: expected a sensor (a file), or prompt = true.")
    top.done()
    called = {"meters": [m.name for m in meters], "machines": [m.name for m in machines]}
    for kind, names in called.items():
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise InputError(f"{path}: two {kind} are called {twice}; give them different names.")
    return Lab(
        meters=meters,
        machines=machines,
        operator=operator,
        reference=reference,
        ambient_sensor=None if sensor is None else Path(sensor),
        ambient_prompt=prompt,
    )


def _meter(table: Table) -> LabMeter:
    name = table.text("name")
    if not _NAME.fullmatch(name):
        raise table.wrong("name", "letters, digits, `.`, `_` and `-`")
    address = table.text("address")
    model = table.text("model", None)
    if address != "manual" and "@" not in address:
        raise table.wrong("address", "MODEL@PORT, or manual for a meter with only a display")
    meter = LabMeter(
        name=name,
        address=address,
        model=model,
        serial=table.text("serial", None),
        boundary=table.text("boundary", None),
        range_w=table.positive("range_w", None),
        certificate=_certificate(table),
        correction=_correction(table),
        display=table.text("display", None),
        accuracy=_accuracy(table),
    )
    table.done()
    if address == "manual":
        if meter.display is None:
            raise InputError(
                f"{table.where}: a meter that somebody reads needs its display's step, such as "
                'display = "0.1W".'
            )
        try:
            parse_display(meter.display)
        except InputError as error:
            raise InputError(f"{table.where}, display: {error}") from None
    elif meter.display is not None or meter.accuracy is not None:
        raise InputError(
            f"{table.where}: display and accuracy belong to a meter that somebody reads (address = "
            f'"manual"); {address} knows its own.'
        )
    return meter


def _accuracy(meter: Table) -> dict[str, Any] | None:
    table: Table | None = meter.table("accuracy", None)
    if table is None:
        return None
    found = {"of_reading": table.positive("of_reading"), "source": table.text("source")}
    if "absolute" in table:
        found["absolute"] = table.positive("absolute")
    table.done()
    if found["of_reading"] >= _MOST_GAIN:
        raise table.wrong("of_reading", "a fraction such as 0.02 for 2 %")
    return found


def _certificate(meter: Table) -> Certificate | None:
    table: Table | None = meter.table("certificate", None)
    if table is None:
        return None
    accreditation = table.text("accreditation", None)
    default = "manufacturer" if accreditation is None else "accredited"
    found = Certificate(
        id=table.text("id"),
        issuer=table.text("issuer"),
        issued=_day(table, "issued"),
        due=_day(table, "due"),
        kind=table.choice("kind", ("accredited", "manufacturer", "transfer"), default),
        accreditation=accreditation,
    )
    table.done()
    if found.kind == "accredited" and accreditation is None:
        raise InputError(
            f"{table.where}: an accredited certificate names its accreditation; expected "
            "accreditation, such as the laboratory's number."
        )
    if found.due <= found.issued:
        raise table.wrong("due", f"a day after issued, {found.issued}")
    return found


def _day(table: Table, key: str) -> date:
    expected = "a day such as 2026-03-01"
    value = table.get(key, (date, str), expected)
    if isinstance(value, date) and type(value) is date:
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise table.wrong(key, expected) from None


def _correction(meter: Table) -> Correction | None:
    table: Table | None = meter.table("correction", None)
    if table is None:
        return None
    gain = table.positive("gain", 1.0)
    if abs(gain - 1.0) > _MOST_GAIN:
        raise table.wrong("gain", "a factor near 1 (power = gain x reading), not per cent")
    found = Correction(
        gain=gain,
        offset_w=table.number("offset_w", 0.0),
        u_gain=table.number("u_gain"),
        u_offset_w=table.number("u_offset_w", 0.0),
    )
    for key in ("u_gain", "u_offset_w"):
        if getattr(found, key) < 0:
            raise table.wrong(key, "a standard uncertainty, 0 or more")
    table.done()
    return found


def _machine(table: Table) -> LabMachine:
    found = LabMachine(
        name=table.text("name"),
        full_w=table.positive("full_w", None),
        host=table.text("host", None),
    )
    table.done()
    return found


def same_serial(stated: str, identity: Mapping[str, str]) -> bool:
    """Whether a meter that says its serial number says the stated one; a silent one may be it."""
    said = identity.get("serial") or identity.get("serial_number")
    return said is None or said.strip().lstrip("0") == stated.strip().lstrip("0")
