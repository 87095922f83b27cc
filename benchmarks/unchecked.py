"""How much of a damaged packet is noticed where the format has no checksum.

One byte of a packet is replaced by another, or one of its bits is flipped; the packets before and
after are whole. Counted is the share of damaged packets that gave a sample whose values are not
those that were sent. `wattcal`'s drivers state these shares in their docstrings.

    python benchmarks/unchecked.py
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from drivers.emulators.pmd_usb import synthesise
from drivers.emulators.powersensor3 import PowerSensor3Device
from drivers.emulators.powerspy2 import PowerSpy2Device
from drivers.emulators.wattsup import WattsUpDevice
from drivers.meters import pmd_usb_frames, powersensor3_frames
from drivers.meters.powerspy2_frames import ReportDecoder, Scales
from drivers.meters.wattsup_packets import PacketDecoder
from drivers.stream import StreamDecoder

__all__ = ["powerspy2_share", "stream_share", "wattsup_share"]

_NAMES = {
    "W": "power_w", "V": "voltage_v", "A": "current_a", "WH": "energy_j",
    "PF": "power_factor", "Hz": "frequency_hz", "VA": "apparent_power_va",
}  # fmt: skip
_SIX = ("W", "V", "A", "WH", "Wmax", "PF")


def let_through(
    packets: Sequence[bytes],
    decoder: Callable[[], StreamDecoder],
    n: int,
    *,
    flips: bool,
    seed: int,
) -> float:
    """Return the share of `n` damaged packets from which wrong values came."""
    chance, passed = random.Random(seed), 0
    for _ in range(n):
        at = chance.randrange(1, len(packets) - 1)
        damaged = bytearray(packets[at])
        where = chance.randrange(len(damaged))
        if flips:
            damaged[where] ^= 1 << chance.randrange(8)
        else:
            damaged[where] = chance.choice([b for b in range(256) if b != damaged[where]])
        whole, broken = decoder(), decoder()
        sent, got = set[tuple[int, ...]](), set[tuple[int, ...]]()
        for i in (at - 1, at, at + 1):
            t_ns = (i + 1) * 1_000_000_000
            piece = bytes(damaged) if i == at else packets[i]
            for rows, source, data in ((sent, whole, packets[i]), (got, broken, piece)):
                columns = source.feed(data, t_ns).columns.values()
                rows.update(zip(*(c.tolist() for c in columns), strict=True))
        passed += not got <= sent
    return passed / n


def wattsup_share(n: int, *, fields: int, flips: bool, seed: int = 0) -> float:
    """Return what the checks of the Watts Up? let through, with 18 fields logged or with six."""
    logged = None if fields == 18 else _SIX
    chance = random.Random(seed)
    powers_w = [chance.uniform(5.0, 600.0) for _ in range(61)]
    device = WattsUpDevice(lambda t_s: powers_w[int(t_s / 5) % 61], logged=logged)
    device.advance(0.0)
    device.take(b"#L,W,3,E,,1;")
    packets = list[bytes]()
    for k in range(1, 301):
        device.advance(k + 0.001)
        packets.append(device.due(k + 0.001))
        device.sent(0)
    names = {f: n for f, n in _NAMES.items() if logged is None or f in logged}
    return let_through(packets, lambda: PacketDecoder(names), n, flips=flips, seed=seed)


def powerspy2_share(n: int, *, flips: bool, seed: int = 0) -> float:
    """Return what the checks of the PowerSpy2 let through."""
    chance = random.Random(seed)
    powers_w = [chance.uniform(5.0, 600.0) for _ in range(61)]
    device = PowerSpy2Device(lambda t_s: powers_w[int(t_s / 5) % 61])
    device.advance(0.0)
    device.take(b"<J0032>")
    packets = list[bytes]()
    for k in range(1, 301):
        device.advance(k + 0.001)
        packets.append(device.due(k + 0.001))
        device.sent(0)
    scales = Scales(device.volt, device.ampere)
    return let_through(packets, lambda: ReportDecoder(scales, 1.0), n, flips=flips, seed=seed)


def stream_share(model: str, n: int, *, flips: bool, seed: int = 0) -> float:
    """Return what a binary stream lets through: 40 frames, one of which is damaged."""
    chance = random.Random(seed)
    if model == "pmd-usb":
        data = synthesise(lambda t_s: 50.0 + 1000.0 * t_s, 0.05)[: 18 * 40]
        fresh: Callable[[], StreamDecoder] = pmd_usb_frames.decoder
    else:
        device = PowerSensor3Device(lambda t_s: 20.0 + 5000.0 * t_s, rails_v=(12.0, 3.3, 5.0, 12.0))
        device.advance(0.0)
        device.take(b"S")
        data = device.due(0.01)[: 18 * 40]
        fresh = powersensor3_frames.decoder

    def rows(stream: bytes) -> set[tuple[int, ...]]:
        samples = fresh().feed(stream, last=True)
        values = (c.tolist() for c in samples.columns.values())
        return set(zip(samples.device_ticks.tolist(), *values, strict=True))

    sent, passed = rows(data), 0
    for _ in range(n):
        damaged = bytearray(data)
        where = 18 * 20 + chance.randrange(18)
        if flips:
            damaged[where] ^= 1 << chance.randrange(8)
        else:
            damaged[where] = chance.choice([b for b in range(256) if b != damaged[where]])
        passed += not rows(bytes(damaged)) <= sent
    return passed / n


def main() -> None:
    """Print the shares."""
    n = 20_000
    print(f"share of {n} damaged packets that gave wrong values")
    for name, share in (
        ("wattsup, 18 fields", lambda flips: wattsup_share(n, fields=18, flips=flips)),
        ("wattsup, 6 fields", lambda flips: wattsup_share(n, fields=6, flips=flips)),
        ("powerspy2", lambda flips: powerspy2_share(n, flips=flips)),
        ("pmd-usb", lambda flips: stream_share("pmd-usb", n, flips=flips)),
        ("powersensor3", lambda flips: stream_share("powersensor3", n, flips=flips)),
    ):
        print(
            f"{name:20} one byte {100 * share(False):5.2f} %   one bit {100 * share(True):5.2f} %"
        )


if __name__ == "__main__":
    main()
