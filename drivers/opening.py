"""How an instrument is opened: `open_meter("pzem-004t@/dev/ttyUSB0")`.

An address is `MODEL@PORT?key=value&...` (`drivers.address`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from .address import Address, parse_address, split_address
from .catalog import driver_of, find, keywords_of
from .errors import Gone, Transient, TransportError, Unsupported
from .reading import Meter, StreamingMeter
from .transport import SerialTransport, Transport, open_port

__all__ = ["open_meter"]

_WITHOUT_SPEED: Final = ("socket:", "visa:", "http:")  # or with one that is not ours to set
_OF_THE_LINE: Final = ("baud", "parity", "stopbits", "rtscts", "dtr", "rts")


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
    known = keywords_of(driver, entry)
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
