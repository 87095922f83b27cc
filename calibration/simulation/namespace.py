"""Run an unmodified program where it sees a simulated machine, and reaches nobody.

In private mount and network namespaces (unshare(1): root, or a kernel that allows unprivileged
user namespaces) a tmpfs lies over /sys/class that links every class to the original and
`powercap` to the simulated tree. The network holds a loopback only. As root, file permissions bind
nobody: where a scenario takes a right away, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH are dropped
from the bounding set (setpriv(1)).
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .nvml import variables

__all__ = ["environment", "inside", "why_not"]

_SCRIPT: Final = """
set -e
ip link set lo up 2>/dev/null || true
if [ -n "$WATTCAL_SYSFS" ]; then
    mount --bind /sys/class "$WATTCAL_ORIGINAL"
    mount -t tmpfs none /sys/class
    for entry in "$WATTCAL_ORIGINAL"/*; do
        [ "${entry##*/}" = powercap ] || ln -s "$entry" /sys/class/
    done
    ln -s "$WATTCAL_SYSFS/class/powercap" /sys/class/powercap
fi
unset WATTCAL_ORIGINAL WATTCAL_SYSFS
exec "$@"
"""
_CAPABILITIES: Final = "-dac_override,-dac_read_search"


@functools.cache
def why_not() -> str | None:
    """Return why no such namespace can be had here, None where it can."""
    for program in ("unshare", "setpriv", "mount"):
        if shutil.which(program) is None:
            return f"the program {program} (util-linux) is missing"
    done = subprocess.run(
        ["unshare", "-Urmn", "mount", "-t", "tmpfs", "none", "/sys/class"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return f"the kernel does not allow it ({done.stderr.strip()[:120]})"
    return None


def inside(command: Sequence[str], *, bound_by_permissions: bool = False) -> list[str]:
    """Return the command that runs `command` in there; give it `environment` too."""
    inner = list(command)
    if bound_by_permissions:
        inner = ["setpriv", "--bounding-set", _CAPABILITIES, *inner]
    return ["unshare", "-Urmn", "sh", "-c", _SCRIPT, "sh", *inner]


def environment(
    folder: Path, *, sysfs: Path | None, library: Path | None, state: Path | None
) -> Mapping[str, str]:
    """Return the environment for `inside`: the tree, the library of GPUs and its state file.

    `folder` is where the program may write.
    """
    found = dict(os.environ)
    found["HOME"] = str(folder)
    if sysfs is not None:
        original = folder / "original-class"
        original.mkdir(exist_ok=True)
        found["WATTCAL_SYSFS"], found["WATTCAL_ORIGINAL"] = str(sysfs), str(original)
    if library is not None and state is not None:
        found |= variables(library, state)
    return found
