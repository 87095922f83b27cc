"""Which instruments there are, and how one is opened: `open_meter("pzem-004t@/dev/ttyUSB0")`.

An address is `MODEL@PORT?key=value&...` (`drivers.address`). Other packages add instruments
through the entry-point group `wattcal.drivers`; each entry point names an `Entry`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from .address import Address, parse_address, split_address
from .errors import Gone, Transient, TransportError, Unsupported
from .masking import Mask
from .reading import Channel, Meter, StreamingMeter
from .transport import SerialTransport, Transport, open_port

__all__ = [
    "CATALOG",
    "ENTRY_POINT_GROUP",
    "Entry",
    "Evidence",
    "Option",
    "channels_of",
    "driver_of",
    "emulator_of",
    "entries",
    "find",
    "mask_of",
    "open_meter",
    "options_of",
]

ENTRY_POINT_GROUP: Final = "wattcal.drivers"
_WITHOUT_SPEED: Final = ("socket:", "visa:", "http:")  # or with one that is not ours to set
_OF_THE_LINE: Final = ("baud", "parity", "stopbits", "rtscts", "dtr", "rts")
_log = logging.getLogger(__name__)

Evidence: TypeAlias = tuple[Literal["real", "spec", "calc", "crosscheck"], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One instrument: what it is, where its code lives, and what stands behind the driver.

    `driver` and `emulator` are `module:Class`; a module that begins with a dot lies in this
    package. `evidence` says, per item, what kind it is (`real`: bytes of real hardware; `spec`:
    the maker's document; `calc`: frames computed from it; `crosscheck`: another implementation)
    and where it is found. `preset` holds the keyword arguments that make driver and emulator of
    a family this model, for example `{"variant": "sdm230"}`. `bridges` are the USB ids
    (`vid:pid`) of the bridge built into the meter; empty where it sits behind any adapter.

    A driver class takes a `Transport`, `now_ns` and options, and says as class attributes how its
    line is set: `baud`, and where they differ from 8N1 without handshake `parity`, `stopbits`,
    `rtscts`, and the states of the lines `dtr` and `rts`; `speaks = "http"` where it has no line.
    `bauds` (and `parities`) are what to try when the port is opened and the address names no speed.
    `channels` is the table of its quantities; of a model with a preset it is what the static
    method `channels_of(**preset)` returns.

    An emulator class is called with the power in W (a constant or a function of monotonic seconds)
    and, by name, `link`, `faults`, `now_ns` and options; its `device`, called with the power and
    the options, makes the bare instrument.
    """

    model: str
    family: str
    manufacturer: str
    interfaces: tuple[str, ...]
    quantities: tuple[str, ...]
    driver: str
    emulator: str | None
    evidence: tuple[Evidence, ...]
    preset: Mapping[str, str | int | float] = field(default_factory=dict)
    bridges: tuple[str, ...] = ()


_WT300: Final = ".emulators.yokogawa_wt:YokogawaWtEmulator"
_BUS: Final = ("USB, LAN, GP-IB (visa:)",)
_WT310E: Final = "IM WT310E-17EN, IM WT310E-02EN"
_VISA: Final[tuple[Evidence, ...]] = (
    ("crosscheck", "tests/meters/test_yokogawa_visa.py (pyvisa-py, pyvisa-sim)"),
)
_WT200: Final = ".emulators.yokogawa_wt210:YokogawaWt210Emulator"

CATALOG: Final[tuple[Entry, ...]] = (
    *(
        Entry(
            model=model,
            family=family,
            manufacturer="Peacefair",
            interfaces=(interface, "socket://", "rfc2217://"),
            quantities=("voltage", "current", "power", "energy", "frequency", "power_factor"),
            driver=".meters.pzem004t:Pzem004t",
            emulator=".emulators.pzem004t:Pzem004tEmulator",
            evidence=(
                ("real", "tests/tapes/pzem004t_v3_field_readings.tape"),
                ("spec", "PZEM-004T V3.0 User Manual"),
                ("calc", "tests/wire/test_pzem004t_frames.py"),
                ("crosscheck", "tests/wire/test_other_clients.py (pymodbus, minimalmodbus)"),
                ("crosscheck", "tests/wire/test_other_servers.py (pymodbus)"),
            ),
            preset={"variant": model},
        )
        for model, family, interface in (
            ("pzem-004t", "PZEM-004T v3", "UART 5 V"),
            ("pzem-014", "PZEM-014", "RS-485"),
            ("pzem-016", "PZEM-016", "RS-485"),
        )
    ),
    Entry(
        model="pzem-004t-v1",
        family="PZEM-004T, first version",
        manufacturer="Peacefair",
        interfaces=("UART 5 V", "socket://", "rfc2217://"),
        quantities=("voltage", "current", "power", "energy"),
        driver=".meters.pzem004t_v1:Pzem004tV1",
        emulator=".emulators.pzem004t_v1:Pzem004tV1Emulator",
        evidence=(
            ("spec", "olehs/PZEM004T@0d6c138 PZEM004T.cpp"),
            ("calc", "tests/wire/test_pzem004t_v1_frames.py"),
        ),
    ),
    *(
        Entry(
            model=model,
            family=f"{model.upper()}-Modbus",
            manufacturer="Eastron",
            interfaces=("RS-485", "socket://", "rfc2217://"),
            quantities=(
                *("voltage", "current", "power", "apparent_power", "reactive_power"),
                *("power_factor", *angle, "frequency", "energy"),
            ),
            driver=".meters.sdm:EastronSdm",
            emulator=".emulators.sdm:SdmEmulator",
            evidence=(
                ("spec", "tests/wire/test_sdm_frames.py (the maker's printed frames)"),
                ("spec", "Eastron protocol documents, nmakel/sdm_modbus@fead352 documents/"),
                ("calc", f"tests/tapes/{model}_computed.tape"),
                ("crosscheck", "tests/wire/test_other_clients.py (pymodbus, minimalmodbus)"),
                ("crosscheck", "tests/wire/test_other_servers.py (pymodbus)"),
            ),
            preset={"variant": model},
        )
        for model, angle in (
            ("sdm120", ()),
            ("sdm220", ("phase_angle",)),
            ("sdm230", ("phase_angle",)),
            ("sdm630", ("phase_angle",)),
            ("sdm72d", ()),
        )
    ),
    *(
        Entry(
            model=model,
            family=f"{model.upper()} (DC, USB)",
            manufacturer="RDTech",
            interfaces=("Bluetooth SPP",),
            quantities=("voltage", "current", "power"),
            driver=".meters.um25c:Um25c",
            emulator=".emulators.um25c:Um25cEmulator",
            evidence=(
                ("spec", "libsigrok@883c2ac hardware/rdtech-um"),
                ("calc", "tests/wire/test_um25c_frames.py"),
            ),
            preset={"variant": model},
        )
        for model in ("um24c", "um25c", "um34c")
    ),
    *(
        Entry(
            model=model,
            family=model.upper(),
            manufacturer="Yokogawa",
            interfaces=("RS-232", *bus, "socket://", "rfc2217://"),
            quantities=("voltage", "current", "power", "power_factor"),
            driver=".meters.yokogawa_wt:YokogawaWt",
            emulator=emulator,
            evidence=(
                (
                    "real" if tape == "transcript" else "calc",
                    f"tests/tapes/yokogawa_{model}_{tape}.tape",
                ),
                ("spec", manuals),
                ("calc", "tests/wire/test_yokogawa_lines.py"),
                *own,
            ),
            preset={"variant": model},
        )
        for model, tape, emulator, bus, manuals, own in (
            ("wt310e", "transcript", _WT300, _BUS, _WT310E, _VISA),
            ("wt310", "computed", _WT300, _BUS, "IM WT310-17EN, IM WT310-02EN", ()),
            ("wt332e", "computed", _WT300, _BUS, _WT310E, ()),
            ("wt333e", "transcript", _WT300, _BUS, _WT310E, ()),
            ("wt210", "transcript", _WT200, ("GP-IB (visa:)",), "IM 760401-01E", ()),
        )
    ),
    Entry(
        model="hioki-3334",
        family="3334",
        manufacturer="Hioki",
        interfaces=("RS-232", "socket://", "rfc2217://"),
        quantities=("voltage", "current", "power", "power_factor"),
        driver=".meters.hioki3334:Hioki3334",
        emulator=".emulators.hioki3334:Hioki3334Emulator",
        evidence=(
            ("calc", "tests/tapes/hioki3334_computed.tape"),
            ("calc", "tests/wire/test_hioki3334_lines.py"),
        ),
    ),
    *(
        Entry(
            model=model,
            family=model.upper(),
            manufacturer="ZES Zimmer",
            interfaces=interfaces,
            quantities=("voltage", "current", "power"),
            driver=".meters.zes_lmg:ZesLmg",
            emulator=".emulators.zes_lmg:ZesLmgEmulator",
            evidence=(
                ("real", f"tests/tapes/zes_{model}_log.tape"),
                ("calc", "tests/wire/test_zes_lines.py"),
            ),
            preset={"variant": model},
        )
        for model, interfaces in (
            ("lmg95", ("RS-232", "socket://", "rfc2217://")),
            ("lmg670", ("socket://",)),
        )
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
        bridges=("1a86:7523",),
    ),
    Entry(
        model="powersensor3",
        family="PowerSensor3",
        manufacturer="ASTRON, NLeSC",
        interfaces=("USB CDC (STM32)",),
        quantities=("voltage", "current", "marker"),
        driver=".meters.powersensor3:PowerSensor3",
        emulator=".emulators.powersensor3:PowerSensor3Emulator",
        evidence=(
            ("spec", "nlesc-recruit/PowerSensor3@c5017f9 device/PowerSensor/PowerSensor.ino"),
            ("calc", "tests/wire/test_powersensor3_frames.py"),
            ("calc", "tests/tapes/powersensor3_computed.tape"),
        ),
        bridges=("0483:5740",),
    ),
    Entry(
        model="smartpower3",
        family="ODROID SmartPower 3",
        manufacturer="Hardkernel",
        interfaces=("USB serial",),
        quantities=("voltage", "current"),
        driver=".meters.smartpower3:SmartPower3",
        emulator=".emulators.smartpower3:SmartPower3Emulator",
        evidence=(
            ("spec", "hardkernel/smartpower3@ded7f0e, the firmware"),
            ("calc", "tests/wire/test_smartpower3_lines.py"),
            ("calc", "tests/tapes/smartpower3_computed.tape"),
        ),
    ),
    Entry(
        model="wattsup",
        family="Watts Up? PRO, PRO ES, .Net",
        manufacturer="EED",
        interfaces=("USB serial (FT232R)",),
        quantities=(
            "power",
            "voltage",
            "current",
            "energy",
            "power_factor",
            "frequency",
            "apparent_power",
        ),
        driver=".meters.wattsup:WattsUp",
        emulator=".emulators.wattsup:WattsUpEmulator",
        evidence=(
            ("real", "tests/tapes/wattsup_published_reading.tape"),
            ("spec", "Watts up? serial communication protocol, revision 4.41"),
            ("calc", "tests/wire/test_wattsup_packets.py"),
        ),
        bridges=("0403:6001",),
    ),
    Entry(
        model="powerspy2",
        family="PowerSpy2",
        manufacturer="Alciom",
        interfaces=("Bluetooth serial (RFCOMM)",),
        quantities=("power", "voltage", "current", "peak_voltage", "peak_current"),
        driver=".meters.powerspy2:PowerSpy2",
        emulator=".emulators.powerspy2:PowerSpy2Emulator",
        evidence=(
            ("spec", "green-coding-solutions/green-metrics-tool@2281f06 powerspy2.py"),
            ("crosscheck", "tests/wire/test_powerspy2_frames.py (reports in powerspy.py)"),
            ("calc", "tests/tapes/powerspy2_computed.tape"),
        ),
    ),
    Entry(
        model="pm-line",
        family="Microcontroller that speaks the pm line",
        manufacturer="anybody",
        interfaces=("USB serial", "UART", "socket://"),
        quantities=("voltage", "current"),
        driver=".meters.pm_line:PmLine",
        emulator=".emulators.pm_line:PmLineEmulator",
        evidence=(
            ("spec", "CONTRIBUTING.md, A meter of your own"),
            ("calc", "tests/wire/test_pm_line.py"),
            ("calc", "tests/tapes/pm_line_computed.tape"),
        ),
    ),
    # Behind those that take single bytes as commands: its questions hold some of them.
    *(
        Entry(
            model=model,
            family=model.upper(),
            manufacturer="Microchip",
            interfaces=interfaces,
            quantities=("voltage", "current", "power", "frequency", "power_factor"),
            driver=".meters.mcp39f511:Mcp39f511",
            emulator=".emulators.mcp39f511:Mcp39f511Emulator",
            evidence=(*evidence, ("calc", "tests/wire/test_mcp39f511_frames.py")),
            preset={"variant": model},
            bridges=bridges,
        )
        for model, interfaces, bridges, evidence in (
            (
                "mcp39f511n",
                ("USB (ADM00706, MCP2221)", "UART"),
                ("04d8:00dd",),
                (("spec", "green-coding-solutions/green-metrics-tool@86d4733 psu/energy/ac/mcp"),),
            ),
            (
                "mcp39f511",
                ("UART",),
                (),
                (
                    ("real", "tests/tapes/mcp39f511_without_mains.tape"),
                    ("spec", "Microchip forum m1140587; DS20005473"),
                ),
            ),
            (
                "mcp39f501",
                ("UART",),
                (),
                (
                    ("real", "tests/tapes/mcp39f501_real_answers.tape"),
                    ("spec", "arendst/Tasmota@20af465 xnrg_04_mcp39f501.ino"),
                ),
            ),
        )
    ),
    Entry(
        model="shelly",
        family="Shelly Gen2 and later: Switch and PM1 with power metering",
        manufacturer="Shelly",
        interfaces=("HTTP",),
        quantities=("voltage", "current", "power", "energy"),
        driver=".meters.shelly:Shelly",
        emulator=".emulators.shelly:ShellyEmulator",
        evidence=(
            ("real", "tests/tapes/shelly_gen2_published.tape"),
            ("spec", "shelly-api-docs.shelly.cloud/gen2, Switch, PM1, Shelly"),
        ),
    ),
    Entry(
        model="tasmota",
        family="plugs with the Tasmota firmware and power metering",
        manufacturer="various",
        interfaces=("HTTP",),
        quantities=("voltage", "current", "power", "energy", "power_factor"),
        driver=".meters.tasmota:Tasmota",
        emulator=".emulators.tasmota:TasmotaEmulator",
        evidence=(
            ("real", "tests/tapes/tasmota_published.tape"),
            ("spec", "tasmota.github.io/docs, Commands and JSON-Status-Responses"),
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


def driver_of(entry: Entry) -> Any:
    """Return the class of an entry's driver; it takes `**entry.preset` beside its options."""
    return _load(entry.driver)


def emulator_of(entry: Entry) -> Any:
    """Return the class of an entry's emulator: `emulator_of(e)(power_w, link=..., **e.preset)`.

    Raises:
        Unsupported: this instrument has no emulator.

    """
    if entry.emulator is None:
        raise Unsupported(f"{entry.model} has no emulator.")
    return _load(entry.emulator)


def channels_of(model: str) -> tuple[Channel, ...]:
    """Return the channel table of a model, without opening one.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    entry = find(model)
    driver = driver_of(entry)
    channels: tuple[Channel, ...] = (
        driver.channels_of(**entry.preset) if entry.preset else driver.channels
    )
    return channels


@dataclass(frozen=True, slots=True)
class Option:
    """A key of an address: its name, its default as text, and the kind of value, as annotated.

    `default` is None where the driver has none: the address must name it.
    """

    name: str
    default: str | None
    kind: str


def options_of(model: str) -> tuple[Option, ...]:
    """Return the keys that an address of a model may hold: those of the line, then the driver's.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    entry = find(model)
    driver = _load(entry.driver)
    line = []
    if getattr(driver, "baud", 0):
        bauds = getattr(driver, "bauds", ()) or (driver.baud,)
        line = [
            Option("baud", "|".join(map(str, bauds)), "int"),
            Option("parity", getattr(driver, "parity", "N"), "N | E | O"),
            Option("stopbits", str(getattr(driver, "stopbits", 1)), "int"),
        ]
    parameters = inspect.signature(driver).parameters
    for name, kind in _options_of(driver, entry).items():
        default = parameters[name].default
        line.append(
            Option(name, None if default is inspect.Parameter.empty else str(default), kind)
        )
    return tuple(line)


def open_meter(
    address: str,
    /,
    *,
    now_ns: Callable[[], int] = time.monotonic_ns,
    through: Callable[[Transport], Transport] | None = None,
    **options: Any,
) -> Meter | StreamingMeter:
    """Open the instrument at `MODEL@PORT?key=value&...` for this process alone.

    `options` are the driver's, as in the address; they win over those. `through` puts something
    between port and driver: a recorder of what passes.

    Raises:
        Unsupported: there is no such model, or it has no such option.
        Busy, Gone, TransportError: the port cannot be opened; the message says what to do.
        Timeout: the instrument answers at none of the speeds it may have been set to.

    """
    entry = find(split_address(address)[0])
    driver = driver_of(entry)
    known = _options_of(driver, entry)
    parsed = parse_address(address, known)
    for name in options:
        if name not in known:
            raise Unsupported(f"{entry.model} has the options {', '.join(known)}; got {name!r}.")
    transport: Transport = _open_line(driver, parsed, now_ns)
    if through is not None:
        transport = through(transport)
    try:
        meter: Meter | StreamingMeter = driver(
            transport, now_ns=now_ns, **entry.preset, **{**parsed.options, **options}
        )
        if parsed.line.baud is None and not parsed.port.startswith(_WITHOUT_SPEED):
            _find_line(transport, meter, driver)
    except BaseException:
        transport.close()
        raise
    return meter


def _options_of(driver: Any, entry: Entry) -> dict[str, str]:
    """Return the options of a driver in alphabetical order, with their annotations as written."""
    taken = {"transport", "now_ns", *entry.preset}
    parameters = inspect.signature(driver).parameters
    return {n: str(parameters[n].annotation) for n in sorted(parameters) if n not in taken}


def _open_line(driver: Any, address: Address, now_ns: Callable[[], int]) -> Transport:
    if (getattr(driver, "speaks", "") == "http") != address.port.startswith("http:"):
        wanted = "http://HOST" if hasattr(driver, "speaks") else "a port, socket:// or rfc2217://"
        raise Unsupported(f"{address.model} is found at {wanted}; got {address.port!r}.")
    settings: dict[str, Any] = {n: getattr(driver, n) for n in _OF_THE_LINE if hasattr(driver, n)}
    settings |= {n: value for n, value in asdict(address.line).items() if value is not None}
    return open_port(address.port, now_ns=now_ns, **settings)


def _find_line(transport: Transport, meter: Meter | StreamingMeter, driver: Any) -> None:
    """Ask at one speed (and parity) after the other who is there, until somebody answers.

    Only when a port is opened: at the wrong speed there is silence or noise, and what a fault in
    the middle of a run looks like must not change the line.

    Raises:
        DriverError: nobody answers at any of them (the last failure), or another instrument does.

    """
    bauds = getattr(driver, "bauds", ())
    parities = getattr(driver, "parities", (None,))
    failure: Transient | None = None
    for baud, parity in [(baud, parity) for parity in parities for baud in bauds]:
        try:
            transport.set_baud(baud)
            if parity is not None and isinstance(transport, SerialTransport):
                transport.set_parity(parity)
            meter.identify()
        except Transient as error:
            failure = error
        except Gone:
            raise
        except TransportError:  # a port that cannot be set so; a pseudo-terminal knows no parity
            if failure is None:
                raise
        else:
            return
    if failure is not None:
        raise failure


def mask_of(model: str) -> Mask | None:
    """Return how a model's driver masks an identity of its own in a tape, if it has one.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    module = find(model).driver.partition(":")[0]
    return getattr(importlib.import_module(module, __package__), "mask", None)


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module, __package__), name)
