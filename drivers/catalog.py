"""Which instruments there are, and how one is opened: `open_meter("pzem-004t@/dev/ttyUSB0")`.

An address is `MODEL@PORT`; options of the driver may follow the model:
`pzem-004t,address=2@/dev/ttyUSB0`. Other packages add instruments through the entry-point group
`wattcal.drivers`; each entry point names an `Entry`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from .errors import Unsupported
from .reading import Channel, Meter, StreamingMeter
from .transport import open_port

__all__ = [
    "CATALOG",
    "ENTRY_POINT_GROUP",
    "Entry",
    "Evidence",
    "channels_of",
    "entries",
    "find",
    "open_meter",
]

ENTRY_POINT_GROUP: Final = "wattcal.drivers"
_log = logging.getLogger(__name__)

Evidence: TypeAlias = tuple[Literal["real", "spec", "calc", "crosscheck"], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One instrument: what it is, where its code lives, and what stands behind the driver.

    `driver` and `emulator` are `module:Class`; a module that begins with a dot lies in this
    package. A driver class has `baud` and takes a `Transport`. `evidence` says, per item, what
    kind it is (`real`: bytes of real hardware; `spec`: the maker's document; `calc`: frames
    computed from it; `crosscheck`: another implementation) and where it is found.
    """

    model: str
    family: str
    manufacturer: str
    interfaces: tuple[str, ...]
    quantities: tuple[str, ...]
    driver: str
    emulator: str | None
    evidence: tuple[Evidence, ...]


CATALOG: Final[tuple[Entry, ...]] = (
    Entry(
        model="pzem-004t",
        family="PZEM-004T v3, PZEM-014, PZEM-016",
        manufacturer="Peacefair",
        interfaces=("UART 5 V", "RS-485", "socket://", "rfc2217://"),
        quantities=("voltage", "current", "power", "energy", "frequency", "power_factor"),
        driver=".meters.pzem004t:Pzem004t",
        emulator=".emulators.pzem004t:Pzem004tEmulator",
        evidence=(
            ("real", "tests/tapes/pzem004t_v3_field_readings.tape"),
            ("spec", "PZEM-004T V3.0 User Manual"),
            ("calc", "tests/wire/test_pzem004t_frames.py"),
            ("crosscheck", "tests/wire/test_other_clients.py (pymodbus, minimalmodbus)"),
        ),
    ),
    Entry(
        model="pmd-usb",
        family="PMD-USB",
        manufacturer="ElmorLabs",
        interfaces=("USB serial (CH340)",),
        quantities=("voltage", "current"),
        driver=".meters.pmd_usb:PmdUsb",
        emulator=".emulators.pmd_usb:PmdUsbEmulator",
        evidence=(
            ("real", "JimZeyuYang/GPU_Power_Benchmark@4b5c944 plotting/data/*/*/PMD_data.bin"),
            ("spec", "ElmorLabs/PMD-USB@7263a95 PMD/FormPMD.cs"),
        ),
    ),
)


def entries() -> tuple[Entry, ...]:
    """Return all instruments: ours, then those of other packages.

    A package that cannot be loaded is named in the log and left out; a model of ours is never
    replaced.
    """
    found = {e.model: e for e in CATALOG}
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry = point.load()
        except Exception as error:
            _log.warning("The meter %s of another package cannot be loaded: %s", point.name, error)
            continue
        if not isinstance(entry, Entry) or entry.model in found:
            _log.warning("The entry point %s names no new meter; it is ignored", point.name)
            continue
        found[entry.model] = entry
    return tuple(found.values())


def find(model: str) -> Entry:
    """Return the entry of a model.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    known = entries()
    for entry in known:
        if entry.model == model.lower():
            return entry
    raise Unsupported(
        f"Expected one of the meters {', '.join(e.model for e in known)}; got {model!r}."
    )


def channels_of(model: str) -> tuple[Channel, ...]:
    """Return the channel table of a model, without opening one.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    channels: tuple[Channel, ...] = _load(find(model).driver).channels
    return channels


def open_meter(
    address: str, /, *, now_ns: Callable[[], int] = time.monotonic_ns, **options: Any
) -> Meter | StreamingMeter:
    """Open the instrument at `MODEL[,OPTION=VALUE...]@PORT` for this process alone.

    Raises:
        Unsupported: there is no such model, or it has no such option.
        Busy, Gone, TransportError: the port cannot be opened; the message says what to do.

    """
    head, at, port = address.partition("@")
    if not at or not port or not head:
        raise Unsupported(
            f"Expected MODEL@PORT, for example pzem-004t@/dev/ttyUSB0; got {address!r}."
        )
    model, *pairs = head.split(",")
    entry = find(model)
    driver = _load(entry.driver)
    options = {**_options(pairs), **options}
    known = set(inspect.signature(driver).parameters) - {"transport", "now_ns"}
    for name in options:
        if name not in known:
            raise Unsupported(
                f"{entry.model} has the options {', '.join(sorted(known))}; got {name!r}."
            )
    transport = open_port(port, baud=driver.baud, now_ns=now_ns)
    try:
        meter: Meter | StreamingMeter = driver(transport, now_ns=now_ns, **options)
    except BaseException:
        transport.close()
        raise
    return meter


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module, __package__), name)


def _options(pairs: list[str]) -> dict[str, int | float]:
    options: dict[str, int | float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            options[name] = int(text, 0)
        except ValueError:
            try:
                options[name] = float(text)
            except ValueError:
                raise Unsupported(
                    f"Expected OPTION=NUMBER after the model; got {pair!r}."
                ) from None
    return options
