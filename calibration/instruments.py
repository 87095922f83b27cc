"""The one file that names `drivers`: what the laboratory needs of instruments, re-exported.

Both packages have generic names, and another distribution may ship a `drivers` of its own that
pip lays over ours without a word (pypa/pip#4625). So this crossing checks that the `drivers` it
finds lies beside this `calibration`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import drivers

from .errors import NotInstalled

_HERE = Path(__file__).resolve().parent
_THERE = Path(drivers.__file__ or "/nowhere/__init__.py").resolve().parent
if _THERE.parent != _HERE.parent:
    raise NotInstalled(
        f"Expected the package `drivers` beside {_HERE}; Python finds another one in {_THERE}. "
        "Uninstall that one, or start from another folder, then reinstall wattcal."
    )

from drivers import (  # noqa: E402 - only from the right one
    CATALOG,
    PLUG_METER,
    Accuracy,
    Block,
    Busy,
    Channel,
    Checksum,
    Conditions,
    CounterReset,
    Desync,
    DeviceError,
    DriverError,
    Entry,
    FrameError,
    Gone,
    Held,
    Implausible,
    Meter,
    OverRange,
    Reading,
    Rebooted,
    Refused,
    SampleError,
    StreamingMeter,
    Timeout,
    Transient,
    TransportError,
    Unsupported,
    channels_of,
    entries,
    open_meter,
)
from drivers.address import split_address  # noqa: E402
from drivers.catalog import find, mask_of, options_of  # noqa: E402
from drivers.discovery import (  # noqa: E402
    SerialPort,
    brltty_rules,
    processes,
    serial_ports,
    taken_by_brltty,
)
from drivers.emulators.by_model import start as start_emulator  # noqa: E402
from drivers.emulators.faults import FAULTS, FaultPlan  # noqa: E402
from drivers.emulators.pmd_usb import PmdUsbEmulator  # noqa: E402
from drivers.emulators.pmd_usb import synthesise as synthesise_pmd_usb  # noqa: E402
from drivers.emulators.pzem004t import Pzem004tEmulator  # noqa: E402
from drivers.masking import RULE as MASKING_RULE  # noqa: E402
from drivers.masking import Masker  # noqa: E402
from drivers.playing import TapeServer  # noqa: E402
from drivers.probing import Found, ask_port, candidates  # noqa: E402
from drivers.ranges import ranging_run  # noqa: E402
from drivers.tape import Recorder, TapeError, load_tape  # noqa: E402

if TYPE_CHECKING:
    from drivers.stream import Samples

__all__ = [
    "CATALOG",
    "FAULTS",
    "MASKING_RULE",
    "PLUG_METER",
    "Accuracy",
    "Block",
    "Busy",
    "Channel",
    "Checksum",
    "Conditions",
    "CounterReset",
    "Desync",
    "DeviceError",
    "DriverError",
    "Entry",
    "FaultPlan",
    "Found",
    "FrameError",
    "Gone",
    "Held",
    "Implausible",
    "Masker",
    "Meter",
    "OverRange",
    "PmdUsbEmulator",
    "Pzem004tEmulator",
    "Reading",
    "Rebooted",
    "Recorder",
    "Refused",
    "SampleError",
    "SerialPort",
    "StreamingMeter",
    "TapeError",
    "TapeServer",
    "Timeout",
    "Transient",
    "TransportError",
    "Unsupported",
    "ask_port",
    "brltty_rules",
    "candidates",
    "channels_of",
    "decode_pmd_usb",
    "entries",
    "find",
    "load_tape",
    "mask_of",
    "open_meter",
    "options_of",
    "processes",
    "ranging_run",
    "serial_ports",
    "split_address",
    "start_emulator",
    "synthesise_pmd_usb",
    "taken_by_brltty",
]


def decode_pmd_usb(data: bytes) -> Samples:
    """Decode a recorded PMD-USB stream into unwrapped clock counts and raw integers per channel."""
    from drivers.meters.pmd_usb import decode  # needs numpy, which the base install has not

    return decode(data)
