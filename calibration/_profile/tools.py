"""Take from a tool's row what a profile asks for, and guard the mode in which it was made.

A profile is bound to a tool at a version and in a mode; the same field in another mode is another
quantity. Three things can be known of each setting that an alias requires: the file says it (then
it must agree), the user asserts it (then the answer is stamped `asserted`), or neither. What is
neither may pass only where it is the tool's own default and no silent fallback changes it; a mode
is never such a setting, since CodeCarbon falls back from RAPL to a guess with a warning only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError, MatchError, WrongMode
from ..toolfiles import ToolRow
from .as_used import why_not
from .results import Mode
from .versions import in_range

if TYPE_CHECKING:
    from ..profile import Profile

__all__ = ["Taken", "same_setting", "take_row"]

_DEFAULTS: Final[Mapping[str, Any]] = {
    "pue": 1.0,
    "tracking_mode": "machine",
    "rapl_prefer_psys": False,
    "rapl_include_dram": False,
    "update_interval": 1.0,
}
"""Defaults of CodeCarbon (emissions_tracker.py, 3.3) and, the last one, s, of CarbonTracker
(tracker.py, 2.4); none of them changes by itself."""
_KERNEL: Final = frozenset({"linux-powercap", "nvml", "proc-stat"})


@dataclass(frozen=True, slots=True)
class Taken:
    """What a row gives to a profile: inputs (J, or a mean without unit), mode, doubts, flags.

    `inputs_u_j` is what the tool's way of measuring leaves uncertain of the inputs, J. `unproven`
    are the settings that neither the file nor the user vouches for, as `key=value`.
    """

    inputs: Mapping[str, float]
    inputs_u_j: Mapping[str, float]
    duration_s: float
    duration_u_s: float
    mode: Mode
    unproven: tuple[str, ...]
    flags: tuple[str, ...]


def take_row(
    profile: Profile, row: ToolRow, asserted: Mapping[str, Any], *, any_machine: bool = False
) -> Taken:
    """Return the profile's inputs from one row.

    Args:
        profile: what asks.
        row: what a tool reported.
        asserted: settings that the user vouches for.
        any_machine: do not compare the CPU that the row names with the profile's.

    Raises:
        WrongMode: the row, or what was asserted, contradicts what the profile requires, or the
            tool's figures do not make what the profile was fitted to.
        MatchError: the tool, its version or the CPU is not the profile's, or the profile failed on
            files that the tool writes by itself.
        InputError: the row lacks a field that the profile needs.

    """
    failed = why_not(profile.document, row.tool)
    if failed is not None:
        raise MatchError(
            f"{row.where}: Profile {profile.id} is not offered for files of {row.tool}: {failed}. "
            "Calibrate the tool as it is run, or read the counters that the profile knows."
        )
    if not any_machine:
        _same_cpu(profile, row)
    inputs: dict[str, float] = {}
    uncertain: dict[str, float] = {}
    evidence = _Evidence(row, asserted)
    for entry in profile.document["inputs"]:
        alias = _alias(profile, entry, row, evidence)
        name = alias["field"]
        source = row.energies_j if entry["unit"] == "W" else row.ratios
        if name not in source:
            wanted = f"{name}_j, _wh, _kwh or _w" if row.tool == "csv" else name
            if entry["unit"] != "W":
                wanted = name
            raise InputError(
                f"{row.where}: Expected a number in {wanted}, the input {entry['id']} of profile "
                f"{profile.id}; it is missing. Use a profile for what this file holds."
            )
        inputs[entry["id"]] = source[name]
        if name in row.energies_u_j:
            uncertain[entry["id"]] = row.energies_u_j[name]
        evidence.check(entry, alias.get("requires", {}), source[name])
    return Taken(
        inputs, uncertain, row.duration_s, row.duration_u_s, evidence.mode(),
        tuple(evidence.unproven), (*row.flags, *evidence.flags),
    )  # fmt: skip


def same_setting(a: Any, b: Any) -> bool:
    """Compare two settings: numbers by value, words without case, true as `true`."""
    if isinstance(a, bool) or isinstance(b, bool):
        return str(a).lower() == str(b).lower()
    try:
        return float(a) == float(b)
    except (TypeError, ValueError):
        return str(a).lower() == str(b).lower()


class _Evidence:
    """Collects, for one row, what is proven, asserted or open."""

    def __init__(self, row: ToolRow, asserted: Mapping[str, Any]) -> None:
        self._row, self._asserted = row, asserted
        self._verified = False
        self._vouched = False
        self._unrecorded = False
        self.unproven: list[str] = []
        self.flags: list[str] = []

    def check(self, entry: Mapping[str, Any], requires: Mapping[str, Any], value: float) -> None:
        """Check every setting that one input requires, and those that no input tolerates."""
        required = dict(requires)
        if self._row.tool == "codecarbon" or entry["source"]["api"] == "codecarbon":
            # Another PUE or psys changes what every energy means, whether or not a profile
            # thought of naming it.
            for key in ("pue", "rapl_prefer_psys"):
                required.setdefault(key, _DEFAULTS[key])
        for key, wanted in required.items():
            self._setting(entry, key, wanted)
        if "cpu_mode" in required:
            self._counted(str(required["cpu_mode"]), value)
            return
        source = entry["source"]
        guessable = source["api"] == "codecarbon" and source.get("domain") in ("cpu", "total")
        if guessable and source.get("mode") is None:
            self._unrecorded = True
            self.flags.append("mode:unrecorded")

    def version(self) -> str | None:
        """Return the version of the tool: what the file says, or else what the user vouches for."""
        key = f"{self._row.tool}_version"
        seen = self._row.facts.get(key)
        if seen is None and key in self._asserted:
            self._vouched = True
            return str(self._asserted[key])
        return seen

    def mode(self) -> Mode:
        """Return what is known of the mode as a whole."""
        if self.unproven:
            return "unknown"
        if self._vouched or (self._unrecorded and self._asserted):
            return "asserted"
        return "verified" if self._verified and not self._unrecorded else "unknown"

    def _setting(self, entry: Mapping[str, Any], key: str, wanted: Any) -> None:
        where = self._row.where
        seen = self._row.facts.get(key)
        if seen is None and key in ("cpu_mode", f"{entry['id']}_mode"):
            seen = self._row.facts.get(f"{entry['id']}_mode")
        said = self._asserted.get(key)
        for word, came in (("says", seen), ("is asserted to have", said)):
            if came is not None and not same_setting(came, wanted):
                raise WrongMode(
                    f"{where}: Expected {key} = {_text(wanted)}, as the profile requires; the file "
                    f"{word} {key} = {_text(came)}. This profile does not apply to it."
                )
        if seen is not None:
            self._verified = True
        elif said is not None:
            self._vouched = True
        elif not (key in _DEFAULTS and same_setting(_DEFAULTS[key], wanted)):
            self.unproven.append(f"{key}={_text(wanted)}")

    def _counted(self, wanted: str, value: float) -> None:
        """Look for signs against a counter of the whole machine."""
        if not wanted.startswith("intel_rapl"):
            return
        system = self._row.facts.get("os", "Linux")
        signs = []
        if not system.lower().startswith("linux"):
            signs.append(f"os = {system}, and RAPL counters are read on Linux only")
        if self._row.facts.get("tracking_mode", "machine") != "machine":
            signs.append("tracking_mode = process, and the counters are the machine's")
        if self._row.facts.get("cpu_counter") == "no":
            signs.append("a cpu_energy that is no whole number of microjoules, as a counter's is")
        if value == 0:
            signs.append(f"0 J in {self._row.duration_s:g} s, and a counter that runs counts")
        if signs:
            raise WrongMode(
                f"{self._row.where}: Expected cpu_mode = {wanted}, as the profile requires; the "
                f"file shows {signs[0]}."
            )


def _alias(
    profile: Profile, entry: Mapping[str, Any], row: ToolRow, evidence: _Evidence
) -> dict[str, Any]:
    """Return how the row's tool exposes an input, with what it requires."""
    if row.tool == "csv":
        # The column is named after the input, so it is the indication itself; only where the input
        # is a tool is there a mode to guard.
        if entry["source"]["api"] in _KERNEL:
            return {"field": entry["id"]}
        for alias in entry["aliases"]:
            if alias["tool"] == entry["source"]["api"]:
                return {"field": entry["id"], "requires": _modes(alias.get("requires", {}))}
        mode = entry["source"].get("mode")
        return {
            "field": entry["id"], "requires": {} if mode is None else {f"{entry['id']}_mode": mode}
        }  # fmt: skip
    known = [a for a in entry["aliases"] if a["tool"] == row.tool]
    if not known:
        tools = ", ".join(sorted({a["tool"] for a in entry["aliases"]})) or "no tool"
        raise MatchError(
            f"{row.where}: Profile {profile.id} takes {entry['id']}, which it knows from {tools}; "
            f"this file is {row.tool}'s. Use a profile made for it."
        )
    for alias in known:
        if alias["field"] in row.lacks:
            raise WrongMode(f"{row.where}: {row.lacks[alias['field']]}.")
    version = evidence.version()
    for alias in known:
        if "versions" not in alias or (version and in_range(version, alias["versions"])):
            return dict(alias)
    wanted = " or ".join(a["versions"] for a in known)
    if version is None:
        raise MatchError(
            f"{row.where}: Expected {row.tool} {wanted}, for which the profile was made; the file "
            f"names no version. If you know it, add --assert {row.tool}_version=VERSION."
        )
    raise MatchError(
        f"{row.where}: Expected {row.tool} {wanted}, for which the profile was made; got "
        f"{version}. What its numbers mean may have changed in between."
    )


def _modes(requires: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in requires.items() if k.endswith("_mode") and k != "tracking_mode"}


def _same_cpu(profile: Profile, row: ToolRow) -> None:
    """Compare the CPU that the row names with the profile's: every letter, blanks aside."""
    wanted = profile.document["subject"]["match"]["required"].get("cpu.model_name")
    seen = row.facts.get("cpu_model")
    if wanted and seen and seen.split() != str(wanted).split():
        raise MatchError(
            f"{row.where}: Expected a run on {wanted}, the machine of profile {profile.id}; the "
            f"file names {seen}."
        )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
