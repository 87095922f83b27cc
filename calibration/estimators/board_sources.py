"""Where a board's own power sensor is asked: ACPI, IPMI (DCMI), Redfish.

Each source tells watts by channel name, `power_w` first, and what it knows of itself (`facts`). The
parsers are pure functions of what was answered: they return `None` where it is no such answer.

ACPI: Linux, Documentation/hwmon/acpi_power_meter.rst: hwmon's name `power_meter`, `power1_average`
in microwatts, `power1_average_interval` in milliseconds.
IPMI: DCMI specification 1.5, 6.6.1 (Get Power Reading), as `ipmitool dcmi power reading` prints it.
Redfish: DMTF DSP0268, Power 1.x: `PowerControl[].PowerConsumedWatts`, over HTTPS.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from ..errors import InputError, NotAvailable

__all__ = ["AcpiMeter", "IpmiDcmi", "NoAnswer", "Redfish", "Source", "parse_dcmi", "parse_redfish"]

_PATIENCE_S: Final = 5.0
_MOST_BYTES: Final = 1 << 20
_MOST_CHASSIS: Final = 32


class NoAnswer(Exception):  # noqa: N818 - internal: becomes the fault of a row
    """There is no number this time; its text is the fault's code."""


class Source(Protocol):
    """One way to ask."""

    name: str
    facts: Mapping[str, Any]

    def read_w(self) -> Mapping[str, float]:
        """Return watts by channel, `power_w` first; raise `NoAnswer` where there are none."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


class AcpiMeter:
    """The ACPI power meter below `root`, which plays /sys."""

    name = "ACPI power meter"

    def __init__(self, root: Path = Path("/sys")) -> None:
        folder = next(
            (
                place
                for chip in sorted((root / "class" / "hwmon").glob("hwmon*"))
                if _text(chip / "name") == "power_meter"
                for place in (chip, chip / "device")
                if (place / "power1_average").exists()
            ),
            None,
        )
        if folder is None:
            raise NotAvailable(
                f"Expected an ACPI power meter (power1_average) under {root}/class/hwmon; this "
                "board shows none. Servers with one: sudo modprobe acpi_power_meter"
            )
        self._file = folder / "power1_average"
        interval = _text(folder / "power1_average_interval")
        self.facts: Mapping[str, Any] = {
            "file": str(self._file),
            "stated_interval_s": int(interval) / 1e3 if interval.isdigit() else None,
            "accuracy": _text(folder / "power1_accuracy") or None,
        }

    def read_w(self) -> Mapping[str, float]:
        """Return the average that it shows, W."""
        try:
            text = self._file.read_text(encoding="ascii")
        except (OSError, ValueError):
            raise NoAnswer("unreadable") from None
        if not re.fullmatch(r"\d+\s*", text):
            raise NoAnswer("malformed")
        return {"power_w": int(text) / 1e6}

    def close(self) -> None:
        """Do nothing: no file stays open."""


_DCMI_LINE: Final = re.compile(rb"^[ \t]*([A-Za-z ]+?)(?: is)?:[ \t]+(.+?)[ \t]*\r?$", re.MULTILINE)
_DCMI_WATTS: Final = {
    b"Instantaneous power reading": "power_w",
    b"Average power reading over sample period": "average_w",
}
_WATTS: Final = re.compile(rb"(\d+) Watts")
_SECONDS: Final = re.compile(rb"(\d+) Seconds?\.?")


def parse_dcmi(answer: bytes) -> dict[str, float] | None:
    """Return `power_w`, `average_w`, `sampling_s` of what `ipmitool dcmi power reading` printed.

    `None` where it is no such answer, or where the reading is not activated.
    """
    fields = {m[1]: m[2] for m in _DCMI_LINE.finditer(answer)}
    if fields.get(b"Power reading state") != b"activated":
        return None
    found: dict[str, float] = {}
    for label, name in _DCMI_WATTS.items():
        watts = _WATTS.fullmatch(fields.get(label, b""))
        if watts is None or len(watts[1]) > 6:
            return None
        found[name] = float(watts[1])
    seconds = _SECONDS.fullmatch(fields.get(b"Sampling period", b""))
    if seconds is not None and len(seconds[1]) <= 12:
        found["sampling_s"] = float(seconds[1])
    return found


class IpmiDcmi:
    """DCMI through `ipmitool`, in a process of its own each time."""

    name = "IPMI DCMI"

    def __init__(self, program: str = "ipmitool") -> None:
        found = shutil.which(program)
        if found is None:
            raise NotAvailable(
                f"IPMI needs the program {program}, which is not on PATH: sudo apt install ipmitool"
            )
        self._command = [found, "dcmi", "power", "reading"]
        first, said = self._ask()
        if first is None:
            raise NotAvailable(
                "Expected a power reading of the board's controller; `ipmitool dcmi power reading` "
                f"said: {said}. It needs root and /dev/ipmi0 (sudo modprobe ipmi_si ipmi_devintf)."
            )
        self.facts: Mapping[str, Any] = {
            "program": found,
            # Of the average; of the reading called instantaneous nobody says one.
            "stated_interval_s": None,
            "stated_sampling_s": first.get("sampling_s"),
        }

    def read_w(self) -> Mapping[str, float]:
        """Return the instantaneous reading and the average over the sampling period, W."""
        found, said = self._ask()
        if found is None:
            raise NoAnswer("timeout" if said == "nothing in time" else "malformed")
        return {name: found[name] for name in _DCMI_WATTS.values()}

    def close(self) -> None:
        """Do nothing: no process stays."""

    def _ask(self) -> tuple[dict[str, float] | None, str]:
        """Return the readings, or none, and the last words of the program."""
        try:
            done = subprocess.run(
                self._command,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_PATIENCE_S,
            )
        except subprocess.TimeoutExpired:
            return None, "nothing in time"
        except OSError as error:
            return None, str(error.strerror)
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        found = parse_dcmi(done.stdout) if done.returncode == 0 else None
        return found, lines[-1] if lines else "nothing"


def parse_redfish(body: bytes) -> dict[str, float | None] | None:
    """Return `power_w` and `interval_s` of a Redfish Power resource.

    `None` where it holds no power of a PowerControl. Where there are several, the first is meant:
    the others are parts of it or of other systems.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    controls = document.get("PowerControl") if isinstance(document, dict) else None
    if not isinstance(controls, list) or not controls or not isinstance(controls[0], dict):
        return None
    watts = _number(controls[0].get("PowerConsumedWatts"))
    if watts is None or watts < 0:
        return None
    metrics = controls[0].get("PowerMetrics")
    minutes = _number(metrics.get("IntervalInMin")) if isinstance(metrics, dict) else None
    return {"power_w": watts, "interval_s": None if minutes is None else 60 * minutes}


class Redfish:
    """A controller's web service at `url` (https://HOST, or the path of a Power resource too).

    User and password are those of WATTCAL_REDFISH_USER and WATTCAL_REDFISH_PASSWORD and travel
    over TLS only, or within this machine. The certificate is verified against the system's
    authorities or the file that WATTCAL_REDFISH_CA names.
    """

    name = "Redfish"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.username or parts.password:
            raise InputError(
                "A password in an address ends up in logs: give it in WATTCAL_REDFISH_USER and "
                "WATTCAL_REDFISH_PASSWORD."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise InputError(
                f"Expected the address of the board's controller, for example "
                f"bmc-redfish@https://10.0.0.5; got {url!r}."
            )
        self._headers = {"Accept": "application/json"}
        user = os.environ.get("WATTCAL_REDFISH_USER")
        if user is not None:
            if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
                raise InputError(f"A password is not sent over {parts.scheme}: use https.")
            secret = f"{user}:{os.environ.get('WATTCAL_REDFISH_PASSWORD', '')}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(secret).decode("ascii")
        self._connection = _connection(parts.scheme, parts.hostname, port)
        try:
            self._path, first = self._find(parts.path.rstrip("/"))
        except BaseException:
            self.close()
            raise
        self.facts: Mapping[str, Any] = {
            "host": parts.hostname,
            "path": self._path,
            # That of its average; PowerConsumedWatts may have another or none.
            "stated_interval_s": None,
            "stated_sampling_s": first["interval_s"],
        }

    def read_w(self) -> Mapping[str, float]:
        """Return the power consumed, W."""
        found = parse_redfish(self._get(self._path))
        if found is None or found["power_w"] is None:
            raise NoAnswer("malformed")
        return {"power_w": found["power_w"]}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _find(self, path: str) -> tuple[str, dict[str, float | None]]:
        """Return the first resource that holds a power, and what it says."""
        try:
            places = [path] if path else self._chassis()
            for place in places:
                found = parse_redfish(self._get(place))
                if found is not None:
                    return place, found
        except NoAnswer as error:
            raise NotAvailable(
                f"Expected an answer of the board's controller; got: {error}. Look at address, "
                "user (WATTCAL_REDFISH_USER) and certificate (WATTCAL_REDFISH_CA)."
            ) from None
        raise NotAvailable(
            f"Expected PowerConsumedWatts in one of {', '.join(places) or 'its chassis'}; none has."
        )

    def _chassis(self) -> list[str]:
        try:
            members = json.loads(self._get("/redfish/v1/Chassis"))["Members"]
            paths = [str(m["@odata.id"]) for m in members[:_MOST_CHASSIS]]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise NoAnswer("no list of chassis under /redfish/v1/Chassis") from None
        return [f"{p.rstrip('/')}/Power" for p in paths if re.fullmatch(r"/[!-~]*", p)]

    def _get(self, path: str) -> bytes:
        """Ask for one resource, again on a new connection where the old one was closed."""
        for last in (False, True):
            try:
                self._connection.request("GET", path, headers=self._headers)
                answer = self._connection.getresponse()
                body = answer.read(_MOST_BYTES)
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                if not last and not isinstance(error, TimeoutError | ssl.SSLError):
                    continue
                code = "timeout" if isinstance(error, TimeoutError) else "unreadable"
                raise NoAnswer(f"{code} ({error})") from None
            if answer.status == http.client.NOT_FOUND:
                return b""
            if answer.status != http.client.OK:
                raise NoAnswer(f"refused (status {answer.status})")
            return body
        raise NoAnswer("unreadable")


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
    authorities = os.environ.get("WATTCAL_REDFISH_CA")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise InputError(
            f"Expected certificates in WATTCAL_REDFISH_CA ({authorities}): {error}."
        ) from None
    return http.client.HTTPSConnection(host, port, timeout=_PATIENCE_S, context=context)


def _number(value: object) -> float | None:
    """Return a finite number; None for anything else that JSON may hold there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
