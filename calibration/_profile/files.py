"""Correct a whole file: every row guarded, overlapping rows as one machine, and the total.

Rows that overlap in time on one machine share its constant power, so they are corrected as one: the
intercept once over the time they cover together. Whether their energies add is another question.
Two trackers of CodeCarbon in machine mode each count every joule of the machine; two jobs with a
GPU each do not. Where nobody says which (`overlap=`), the energies are added and the possible
double count goes into the uncertainty as a rectangular distribution over the whole difference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import EstimatorError, MatchError, ProfileError, WrongMode
from ..toolfiles import ToolFile, ToolRow, overlapping
from .combine import combine
from .contained import contained
from .results import CorrectedEnergy
from .tools import Taken, take_row

if TYPE_CHECKING:
    from ..profile import Auto, Profile

__all__ = ["FileAnswer", "Overlap", "RowAnswer", "correct_file"]

Overlap: TypeAlias = Literal["sum", "once"]


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """One row: its corrected energy, or why there is none (`refusal`; None where it overlaps)."""

    row: ToolRow
    raw_j: float | None
    result: CorrectedEnergy | None
    flags: tuple[str, ...]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """All rows, their total (None when a row was refused), and what there is to say."""

    rows: tuple[RowAnswer, ...]
    total: CorrectedEnergy | None
    refusals: tuple[str, ...]
    notes: tuple[str, ...]


def correct_file(
    profile: Profile,
    file: ToolFile,
    *,
    asserted: Mapping[str, Any],
    machine: Mapping[str, Any] | Auto | None,
    share: Literal["time"] | None = None,
    overlap: Overlap | None = None,
) -> FileAnswer:
    """Correct every row of a file and add them up.

    Args:
        profile: a correction.
        file: what a tool wrote.
        asserted: settings that the user vouches for.
        machine: as for `Profile.correct`.
        share: split the constant energy of overlapping rows by their time, for answers per row.
        overlap: whether overlapping rows hold energies of their own (`sum`) or each saw the whole
            machine (`once`).

    Raises:
        InputError: a row lacks a field that the profile needs.

    """
    taken: dict[int, Taken] = {}
    refusals: dict[int, str] = {}
    for i, row in enumerate(file.rows):
        try:
            taken[i] = take_row(profile, row, asserted, any_machine=machine is None)
            _proven(taken[i], row)
        except (ProfileError, EstimatorError) as error:
            refusals[i] = str(error)
    partial = contained(file.rows)
    kept = tuple(i for i in range(len(file.rows)) if i not in partial)
    groups = overlapping(tuple(file.rows[i] for i in kept))
    answers: dict[int, RowAnswer] = {}
    totals: list[CorrectedEnergy] = []
    for members in (tuple(kept[j] for j in g) for g in groups):
        work = _Group(profile, file, members, taken, machine, overlap)
        refused = [i for i in members if i in refusals]
        if not refused:
            try:
                whole = work.correct()
            except ProfileError as error:
                refusals.update(dict.fromkeys(members, str(error)))
            else:
                if whole.calibrated:
                    totals.append(whole)
                    answers.update(work.rows(whole, share))
                    continue
                refusals.update(dict.fromkeys(members, _no_match(profile, whole)))
        for i in members:
            why = refusals.get(i)
            flags = _flags(file.rows[i], taken.get(i), "refused" if why else "overlap")
            answers[i] = RowAnswer(file.rows[i], _raw(profile, taken.get(i)), None, flags, why)
    for i, run in partial.items():
        flags = _flags(file.rows[i], taken.get(i), f"partial_of:{run}")
        answers[i] = RowAnswer(file.rows[i], _raw(profile, taken.get(i)), None, flags)
    hindered = [refusals[i] for i in sorted(refusals) if i not in partial]
    return FileAnswer(
        tuple(answers[i] for i in range(len(file.rows))),
        combine(totals) if totals and not hindered else None,
        tuple(dict.fromkeys(hindered)),
        _notes(groups, partial, share, overlap, file),
    )


class _Group:
    """Rows that overlap (often only one), to be corrected as one machine."""

    def __init__(
        self,
        profile: Profile,
        file: ToolFile,
        members: tuple[int, ...],
        taken: Mapping[int, Taken],
        machine: Mapping[str, Any] | Auto | None,
        overlap: Overlap | None,
    ) -> None:
        self._profile, self._file, self._members = profile, file, members
        self._taken, self._machine, self._overlap = taken, machine, overlap
        self._doubt: dict[str, float] = {}
        self._scale: dict[str, float] = {}

    def correct(self) -> CorrectedEnergy:
        """Correct the rows together."""
        first = self._members[0]
        if len(self._members) == 1:
            row, taken = self._file.rows[first], self._taken[first]
            u_j = self._u_j({}, self._members)
            return self._energy(taken.duration_s, taken, taken.inputs, _flags(row, taken), u_j)
        rows = [self._file.rows[i] for i in self._members]
        starts = [r.start_s or 0.0 for r in rows]
        ends = [r.end_s or 0.0 for r in rows]
        covered_s = max(ends) - min(starts)
        inputs = {
            name: self._together(name, rows, starts, ends) for name in self._profile.input_ids
        }
        flags: tuple[str, ...] = ("overlap",)
        if any(self._doubt.values()):
            flags += ("overlap:maybe_twice",)
        for row, i in zip(rows, self._members, strict=True):
            flags += _flags(row, self._taken[i])
        u_j = self._u_j(self._doubt, self._members)
        return self._energy(covered_s, self._taken[first], inputs, flags, u_j)

    def rows(self, whole: CorrectedEnergy, share: Literal["time"] | None) -> dict[int, RowAnswer]:
        """Return the answers per row: the whole for a row alone, shares where asked for."""
        rows = self._file.rows
        if len(self._members) == 1:
            i = self._members[0]
            return {i: RowAnswer(rows[i], _raw(self._profile, self._taken[i]), whole, whole.flags)}
        answers: dict[int, RowAnswer] = {}
        spent_s = math.fsum(rows[i].duration_s for i in self._members)
        for i in self._members:
            taken, result = self._taken[i], None
            flags = _flags(rows[i], taken, "overlap")
            if share is not None:
                part = rows[i].duration_s / spent_s
                inputs = {
                    n: v * self._scale.get(n, 1.0) if self._profile.units[n] == "W" else v
                    for n, v in taken.inputs.items()
                }
                doubt = {
                    n: u * taken.inputs[n] / (self._sum(n) or 1.0) for n, u in self._doubt.items()
                }
                flags = (*flags, f"share:{share}")
                u_j = self._u_j(doubt, (i,))
                result = self._energy(part * whole.duration_s, taken, inputs, flags, u_j)
                # The domain is a matter of the whole machine: a share alone lies anywhere.
                own = [f for f in result.flags if not f.startswith("outside:")]
                flags = tuple(dict.fromkeys((*own, *whole.flags)))
                result = replace(result, inside=whole.inside, flags=flags)
            answers[i] = RowAnswer(rows[i], _raw(self._profile, taken), result, flags)
        return answers

    def _energy(
        self,
        duration_s: float,
        taken: Taken,
        inputs: Mapping[str, float],
        flags: Sequence[str],
        inputs_u_j: Mapping[str, float],
    ) -> CorrectedEnergy:
        row = self._file.rows[self._members[0]]
        result = self._profile.correct_energy(
            duration_s,
            machine=self._machine,
            mode=taken.mode,
            duration_u_s=taken.duration_u_s,
            inputs_u_j={n: u for n, u in inputs_u_j.items() if u > 0},
            session=row.session,
            workload=row.workload if len(self._members) == 1 else None,
            **dict[str, Any](inputs),
        )
        return replace(result, flags=tuple(dict.fromkeys((*flags, *result.flags))))

    def _u_j(self, doubt: Mapping[str, float], members: Sequence[int]) -> dict[str, float]:
        """Add to a doubt what is uncertain of each row's own energies, J."""
        return {
            n: math.hypot(
                doubt.get(n, 0.0), *(self._taken[i].inputs_u_j.get(n, 0.0) for i in members)
            )
            for n in self._profile.input_ids
        }

    def _sum(self, name: str) -> float:
        return math.fsum(self._taken[i].inputs[name] for i in self._members)

    def _together(
        self, name: str, rows: Sequence[ToolRow], starts: Sequence[float], ends: Sequence[float]
    ) -> float:
        """Return one input of the machine: J over the rows together, or a mean without unit."""
        values = [self._taken[i].inputs[name] for i in self._members]
        powers = [
            v / r.duration_s if self._profile.units[name] == "W" else v
            for v, r in zip(values, rows, strict=True)
        ]
        once = 0.0
        edges = sorted({*starts, *ends})
        for begin, end in itertools.pairwise(edges):
            now = [
                p for p, a, b in zip(powers, starts, ends, strict=True) if a <= begin and b >= end
            ]
            once += (end - begin) * (math.fsum(now) / len(now) if now else 0.0)
        if self._profile.units[name] != "W":
            return once / (edges[-1] - edges[0])
        total = math.fsum(values)
        if self._overlap == "once":
            self._scale[name] = once / total if total else 1.0
            return once
        own = all(r.facts.get("tracking_mode") == "process" for r in rows)
        if self._overlap is None and not own:
            self._doubt[name] = max(total - once, 0.0) / math.sqrt(3)
        return total


def _proven(taken: Taken, row: ToolRow) -> None:
    """Refuse what the file cannot prove and nobody vouches for."""
    if not taken.unproven:
        return
    need = " ".join(f"--assert {u}" for u in taken.unproven)
    raise WrongMode(
        f"{row.where}: Expected proof of {', '.join(taken.unproven)}, which the profile requires; "
        f"the file does not say how its numbers were made. If you know that it holds, add {need}."
    )


def _raw(profile: Profile, taken: Taken | None) -> float | None:
    """Return what the tool said, J; None for an input that is no energy."""
    if taken is None or any(u != "W" for u in profile.units.values()):
        return None
    return math.fsum(taken.inputs.values())


def _flags(row: ToolRow, taken: Taken | None, *more: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*(taken.flags if taken else row.flags), *more)))


def _no_match(profile: Profile, whole: CorrectedEnergy) -> str:
    differing = ", ".join(f for f in whole.flags if f.startswith(("mismatch:", "unseen:")))
    return str(
        MatchError(
            f"Profile {profile.id} belongs to another machine (match: {whole.match}; "
            f"{differing}). Correct the file on that machine, or say --machine any if it comes "
            "from there."
        )
    )


def _notes(
    groups: Sequence[Sequence[int]],
    partial: Mapping[int, str],
    share: str | None,
    overlap: Overlap | None,
    file: ToolFile,
) -> tuple[str, ...]:
    notes = []
    together = sum(len(g) for g in groups if len(g) > 1)
    if together:
        notes.append(
            f"{together} rows overlap in time: they are one machine, corrected as one, its "
            "constant power once."
        )
        if share is None:
            notes.append("For an answer per row say how they share that: --share time.")
        if overlap is None:
            notes.append(
                "The file does not say whether such rows counted the same joules. They are added, "
                "and U holds the doubt; say --overlap once (each row saw the whole machine) or "
                "--overlap sum (each row counted its own)."
            )
    if partial:
        notes.append(
            f"{len(partial)} rows lie within a longer row of the same run, which holds their "
            "energy; they are not added."
        )
    if any("unterminated" in r.flags for r in file.rows):
        notes.append("The last line has no end of line; its last digits may be missing.")
    return tuple(notes)
