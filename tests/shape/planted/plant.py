"""Plant each fault of `faults.toml` in a copy and see a test fail: `make planted`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def copy(into: Path) -> None:
    """Copy what git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / name)


def passes(folder: Path, tests: list[str]) -> bool:
    """Run tests on the copy, with the copy's packages."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    data = os.environ.get("WATTCAL_DATA", ROOT / ".." / "shared" / "data")
    environment["WATTCAL_DATA"] = str(Path(data).resolve())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest could not run {tests}:\n{done.stdout}\n{done.stderr}")
    return done.returncode == 0


def main() -> int:
    """Print one line per fault; the exit code counts those that no test has seen."""
    faults = tomllib.loads((Path(__file__).parent / "faults.toml").read_text("utf-8"))["fault"]
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        every = sorted({test for fault in faults for test in fault["tests"]})
        if not passes(folder, every):
            raise SystemExit(f"without any fault these fail already: {', '.join(every)}")
        for fault in faults:
            path = folder / fault["file"]
            text = path.read_text(encoding="utf-8")
            if text.count(fault["old"]) != 1:
                raise SystemExit(f"{fault['name']}: its line stands {text.count(fault['old'])} "
                                 f"times in {fault['file']}; expected once")  # fmt: skip
            path.write_text(text.replace(fault["old"], fault["new"]), encoding="utf-8")
            unseen = passes(folder, fault["tests"])
            path.write_text(text, encoding="utf-8")
            missed += unseen
            print(f"{'NOT SEEN' if unseen else 'seen    '}  {fault['name']}", flush=True)
    print(f"{len(faults) - missed} of {len(faults)} planted faults make a test fail")
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
