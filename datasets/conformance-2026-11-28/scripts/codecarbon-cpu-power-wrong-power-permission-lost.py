"""codecarbon 3.3.2, 40 W, and half-way the counter may not be read any more: cpu_power says 90.2
W for a true 40.0 W, +125.5 %; in 21 of 23 scenarios, by -100 % to +126 %.
SIMULATED counters, in namespaces of their own; found by wattcal 0.1.0:
    pip install codecarbon==3.3.2
    unshare -Urmn setpriv --bounding-set -dac_override,-dac_read_search python3 codecarbon-cpu-power-wrong-power-permission-lost.py
"""

import os, subprocess, tempfile, time
from multiprocessing import Value
from pathlib import Path

# Zones: folder, name, first value and range in uJ, power as (s, W) in straight pieces.
ZONES = [("intel-rapl:0", "package-0", 100000000000, 262143328850, [(0, 40)])]
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
        if t_s >= 4.0:
            [os.chmod(file, 0) for file in opened]  # nobody may read them any more
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

    import csv
    from codecarbon import OfflineEmissionsTracker
    options = dict(country_iso_code="FRA")
    first = OfflineEmissionsTracker(**options, output_file="first.csv")
    first.start()  # the first one of a process is slow
    first.stop()
    tracker = OfflineEmissionsTracker(**options)
    began.value = time.monotonic()
    tracker.start()
    t0_s = time.monotonic() - began.value
    time.sleep(8)
    t1_s = time.monotonic() - began.value
    tracker.stop()
    rows = [row for path in Path().glob("emissions.csv") for row in csv.DictReader(path.open())]
    says = float(rows[-1]["cpu_power"]) if rows else None
    truth = [(0, 40)]
    true = (energy_j(truth, t1_s) - energy_j(truth, t0_s)) / (t1_s - t0_s)
    print(f"SIMULATED, codecarbon 3.3.2: cpu_power says {says:.3f} W,"
          f" true {true:.3f} W, {100 * (says / true - 1):+.1f} %")
