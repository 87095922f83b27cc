"""carbontracker 2.4.7, 20 to 100 W: Average power (cpu) says 55.0 W for a true 60.0 W, -8.3 %.
SIMULATED counters, in namespaces of their own; found by wattcal 0.1.0:
    pip install carbontracker==2.4.7
    unshare -Urmn python3 carbontracker-average-power-cpu-wrong-power-ramp.py
"""

import os, subprocess, tempfile, time
from multiprocessing import Value
from pathlib import Path

# Zones: folder, name, first value and range in uJ, power as (s, W) in straight pieces.
ZONES = [("intel-rapl:0", "package-0", 100000000000, 262143328850, [(0, 20), (8, 100)])]
ROOT = Path("/sys/class/powercap/intel-rapl")
MOUNT = """mkdir class; mount --bind /sys/class class; mount -t tmpfs none /sys/class
for c in $PWD/class/*; do [ ${c##*/} = powercap ] || ln -s $c /sys/class/; done
mkdir -p /sys/class/powercap/intel-rapl; ln -s .. /sys/class/powercap/intel-rapl/subsystem
"""

def energy_j(power, t_s):
    ends = [*power[1:], (1e9, power[-1][1])]  # the last power goes on
    spans = [(min(t_s, b) - a, p, q, b - a) for (a, p), (b, q) in zip(power, ends)]
    return sum(s * (p + (q - p) * s / whole / 2) for s, p, q, whole in spans if s > 0)

def play(began, parent):
    opened = [os.open(ROOT / zone[0] / "energy_uj", os.O_WRONLY) for zone in ZONES]
    born = time.monotonic()
    while os.getppid() == parent:
        now = time.monotonic()
        t_s = now - began.value if began.value else 0.0
        for file, (_, _, first_uj, range_uj, power) in zip(opened, ZONES):
            joules = power[0][1] * (now - t_s - born) + energy_j(power, t_s)
            os.pwrite(file, b"%012d\n" % (int(first_uj + 1e6 * joules) % range_uj), 0)
        time.sleep(0.001)
    os._exit(0)

if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    subprocess.run(["sh", "-ec", MOUNT], check=True)
    for folder, name, first_uj, range_uj, _ in ZONES:
        (ROOT / folder).mkdir()
        (ROOT.parent / Path(folder).name).symlink_to(ROOT / folder)
        (ROOT / folder / "name").write_text(name)
        (ROOT / folder / "energy_uj").write_text(str(first_uj))
        (ROOT / folder / "max_energy_range_uj").write_text(str(range_uj))
    began, parent = Value("d", 0.0, lock=False), os.getpid()
    os.fork() or play(began, parent)

    import re
    from carbontracker.tracker import CarbonTracker
    tracker = CarbonTracker(epochs=1, epochs_before_pred=0, monitor_epochs=1, log_dir=".")
    time.sleep(1.0)  # its thread looks for components first
    began.value = time.monotonic()
    tracker.epoch_start()
    t0_s = time.monotonic() - began.value
    time.sleep(8)
    t1_s = time.monotonic() - began.value
    tracker.epoch_end()
    tracker.stop()
    log = "".join(path.read_text() for path in Path().glob("*_carbontracker.log"))
    watts = re.findall(r"\(W\) for cpu: (\S+)", log)
    says = None if watts[-1:] in ([], ["None"]) else float(watts[-1])
    truth = [(0, 20), (8, 100)]
    true = (energy_j(truth, t1_s) - energy_j(truth, t0_s)) / (t1_s - t0_s)
    print(f"SIMULATED, carbontracker 2.4.7: Average power (cpu) says {says:.3f} W,"
          f" true {true:.3f} W, {100 * (says / true - 1):+.1f} %")
