"""What it costs to read a meter: a PowerSensor3 at 20 kHz, and one exchange of Modbus.

Printed, never asserted in a test. The emulated instrument runs in a process of its own behind a
pty. What is stated is the process time of the reader (all its threads, user and system) as a share
of the time that went by; the exchanges of two clients are timed in turn, in rounds, on one pty.

    python benchmarks/meter_speed.py [--seconds 60] [--exchanges 2000]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from drivers.emulators.powersensor3 import PowerSensor3Device, PowerSensor3Emulator
from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.meters.powersensor3 import PowerSensor3
from drivers.meters.powersensor3_frames import decoder
from drivers.meters.pzem004t import Pzem004t
from drivers.reading import Block
from drivers.transport import open_port

RAILS_V = (12.0, 3.3, 5.0, 12.0)
RATE_HZ = 20_000
ROUNDS = 10


def serve(make: Callable[[], Any], line: Connection) -> None:
    """Run an emulated instrument until told to stop; tell its path, and at the end what it lost."""
    with make() as emulator:
        line.send(emulator.path)
        line.recv()
        lost = getattr(getattr(emulator, "instrument", None), "lost_frames", 0)
        line.send((lost, time.process_time()))


def powersensor3() -> PowerSensor3Emulator:
    """Make one with four pairs, eight sensors."""
    return PowerSensor3Emulator(60.0, rails_v=RAILS_V)


def pzem() -> Pzem004tEmulator:
    """Make one that answers at once."""
    return Pzem004tEmulator(60.0)


class Served:
    """An emulated instrument in a process of its own."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._line, there = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=serve, args=(make, there), daemon=True)
        self._process.start()
        self.path: str = self._line.recv()

    def stop(self) -> tuple[int, float]:
        """End it; return how many frames it could not send, and its process time in s."""
        self._line.send("stop")
        lost, used_s = self._line.recv()
        self._process.join()
        return lost, used_s


def stream(seconds: float, sink: Callable[[Block], None] | None, block_s: float) -> None:
    """Read a PowerSensor3 and print what it took."""
    served = Served(powersensor3)
    meter = PowerSensor3(open_port(served.path, baud=PowerSensor3.baud), block_s=block_s)
    meter.identify()
    meter.start()
    frames, gaps, faults, last = 0, 0, 0, None
    begin_s, cpu_s = time.monotonic(), time.process_time()
    while time.monotonic() - begin_s < seconds:
        block = meter.read_block()
        if sink is not None:
            sink(block)
        ticks = block.device_ticks
        if last is not None:
            gaps += int(ticks[0]) - last != 50
        gaps += int((np.diff(ticks) != 50).sum())
        last, frames, faults = int(ticks[-1]), frames + len(ticks), faults + len(block.faults)
    took_s, used_s = time.monotonic() - begin_s, time.process_time() - cpu_s
    meter.close()
    lost, emulator_s = served.stop()
    what = "recorded to disk" if sink else "driver and decode"
    print(
        f"powersensor3, 8 sensors, {what:17} {took_s:5.1f} s  {frames:9,} frames "
        f"({frames / took_s:7,.0f}/s)  lost by the line {lost}, gaps {gaps}, faults {faults}  "
        f"{100 * used_s / took_s:5.2f} % of a core (emulator: {100 * emulator_s / took_s:.0f} %)"
    )


def recorded(seconds: float, block_s: float) -> None:
    """The same with the recorder's writer."""
    from calibration.bench import descriptor_from_meter
    from calibration.recording.writer import RunWriter, new_start

    served = Served(powersensor3)
    meter = PowerSensor3(open_port(served.path, baud=PowerSensor3.baud))
    identity = meter.identify()
    descriptor = descriptor_from_meter("rails", meter, boundary="gpu_dc", identity=identity)
    meter.close()
    served.stop()
    with tempfile.TemporaryDirectory() as folder:
        writer = RunWriter.create(Path(folder) / "run", start=new_start("simulated", "speed"))
        sink = writer.open_stream(descriptor)

        def keep(block: Block) -> None:
            fault = " ".join(dict.fromkeys(block.faults)) or None
            sink.append_block(
                block.t_request_ns, block.t_reply_ns, block.device_ticks, block.columns, fault
            )

        stream(seconds, keep, block_s)
        writer.seal("success", "benchmark")


def decode_only() -> None:
    """Decode ten seconds of stream from memory, in blocks of a tenth of a second."""
    device = PowerSensor3Device(60.0, rails_v=RAILS_V)
    device.advance(0.0)
    device.take(b"S")
    blocks = [b""]
    for k in range(1, 101):
        blocks.append(device.due(0.1 * k + 1e-6))
        device.sent(len(blocks[-1]))
    best_s = 1e9
    for _ in range(7):
        fresh, begin_s, frames = decoder(), time.process_time(), 0
        for block in blocks:
            frames += len(fresh.feed(block).device_ticks)
        best_s = min(best_s, time.process_time() - begin_s)
    device_s = frames / RATE_HZ
    print(
        f"powersensor3, block decode: {device_s:.1f} s of stream in {1000 * best_s:.1f} ms, ",
        end="",
    )
    print(f"{device_s / best_s:,.0f} times real time")


def exchanges(n: int) -> None:
    """Time an exchange of ten registers, ours and minimalmodbus in turn."""
    import minimalmodbus

    served = Served(pzem)
    port = open_port(served.path, baud=Pzem004t.baud)
    ours = Pzem004t(port, unit=1)
    times: dict[str, list[float]] = {"wattcal": [], "minimalmodbus": []}
    cpu: dict[str, float] = {"wattcal": 0.0, "minimalmodbus": 0.0}
    each = max(1, n // ROUNDS)

    def timed(name: str, action: Callable[[], object]) -> None:
        used_s = time.process_time()
        for _ in range(each):
            begin_s = time.perf_counter()
            action()
            times[name].append(time.perf_counter() - begin_s)
        cpu[name] += time.process_time() - used_s

    for _ in range(ROUNDS):
        timed("wattcal", ours.read)
        port.close()
        theirs = minimalmodbus.Instrument(served.path, 1)
        theirs.serial.baudrate = 9600
        theirs.serial.timeout = 0.5
        timed("minimalmodbus", lambda peer=theirs: peer.read_registers(0, 10, functioncode=4))
        theirs.serial.close()
        port = open_port(served.path, baud=Pzem004t.baud)
        ours = Pzem004t(port, unit=1)
    port.close()
    served.stop()
    for name, spent in times.items():
        print(
            f"pzem-004t, ten registers, {name:14} median {1e6 * statistics.median(spent):6.0f} us, "
            f"process time {1e6 * cpu[name] / len(spent):6.0f} us an exchange"
        )
    ratio = cpu["wattcal"] / cpu["minimalmodbus"]
    wall = statistics.median(times["wattcal"]) / statistics.median(times["minimalmodbus"])
    print(f"  wattcal / minimalmodbus: {wall:.2f} in time, {ratio:.2f} in process time")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each stream is read")
    parser.add_argument("--exchanges", type=int, default=2000, help="how many per client")
    parser.add_argument("--block", type=float, default=0.1, help="length of a block in s")
    arguments = parser.parse_args()
    decode_only()
    stream(arguments.seconds, None, arguments.block)
    recorded(arguments.seconds, arguments.block)
    exchanges(arguments.exchanges)


if __name__ == "__main__":
    main()
