"""Python packages: who owns the generic names that this project lives under, and what is missing.

Two distributions may ship packages of one name, and pip lays one over the other without a word
(pypa/pip#4625). `serial` is such a name: pyserial owns it, and so does a serialiser of data.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from .finding import Finding

__all__ = ["package_findings"]

_HERE: Final = Path(__file__).resolve().parents[2]
_COSTS: Final = {
    "calibration": "a foreign package of this name hides the laboratory",
    "drivers": "a foreign package of this name hides the meters' drivers",
    "serial": "no meter on a serial port can be read",
}
_LAB: Final = "pip install 'wattcal[lab]'"
_OPTIONAL: Final = (
    ("numpy", "recordings cannot be analysed, streaming meters cannot be read", _LAB),
    ("pyarrow", "nothing can be recorded", _LAB),
    ("codecarbon", "CodeCarbon cannot be recorded beside the meter", _LAB),
    ("pynvml", "NVIDIA GPUs cannot be recorded", _LAB),
)
# What makes a package `serial` that of pyserial: the other one has none of these files.
_OF_PYSERIAL: Final = ("serialutil.py", "serialposix.py")

Spec = Callable[[str], "str | None"]


def package_findings(
    owners: Mapping[str, Sequence[str]] | None = None, place: Spec | None = None
) -> tuple[Finding, ...]:
    """Say which distribution owns each name, and where Python finds it.

    `owners` maps import names to distributions, `place` an import name to its file; both by
    default as they are installed.
    """
    if owners is None:
        owners = importlib.metadata.packages_distributions()
    place = place or _place
    return (
        _ours("calibration", owners, place),
        _ours("drivers", owners, place),
        _serial(owners, place),
        *_optional(place),
    )


def _ours(name: str, owners: Mapping[str, Sequence[str]], place: Spec) -> Finding:
    subject, found = f"package {name}", place(name)
    if found is None or Path(found).resolve().parents[1] != _HERE:
        return Finding(
            "foreign_package", subject, "bad", f"found in {found}, not beside this wattcal",
            _COSTS[name], "start from another folder, or uninstall the other package, then:",
            ("pip install --force-reinstall wattcal",),
        )  # fmt: skip
    others = sorted(set(owners.get(name, ())) - {"wattcal"})
    if others:
        return _shared(name, "wattcal", others)
    by = "owned by wattcal" if owners.get(name) else "a source folder, not installed"
    return Finding("package", subject, "good", by)


def _serial(owners: Mapping[str, Sequence[str]], place: Spec) -> Finding:
    found = place("serial")
    others = sorted(set(owners.get("serial", ())) - {"pyserial"})
    if found is None:
        return Finding(
            "no_pyserial", "package serial", "bad", "pyserial is not installed",
            _COSTS["serial"], "install the laboratory:", (_LAB,),
        )  # fmt: skip
    if others:
        return _shared("serial", "pyserial", others)
    if not all((Path(found).parent / f).is_file() for f in _OF_PYSERIAL):
        return Finding(
            "foreign_package", "package serial", "bad", f"{found} is not pyserial",
            _COSTS["serial"], "move that file away, then:",
            ("pip install --force-reinstall pyserial",),
        )  # fmt: skip
    return Finding("package", "package serial", "good", "owned by pyserial")


def _shared(name: str, wanted: str, others: Sequence[str]) -> Finding:
    return Finding(
        "foreign_package", f"package {name}", "bad", f"also owned by {', '.join(others)}",
        _COSTS[name], "whichever was installed last has laid its files over the other's:",
        (f"pip uninstall {' '.join(others)}", f"pip install --force-reinstall {wanted}"),
    )  # fmt: skip


def _optional(place: Spec) -> Iterator[Finding]:
    for name, cost, command in _OPTIONAL:
        if place(name) is None:
            yield Finding(
                "no_package", f"package {name}", "absent", "not installed", cost,
                "if it is needed:", (command,),
            )  # fmt: skip
        else:
            yield Finding("package", f"package {name}", "good", "installed")


def _place(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.origin
