"""Load a calibration profile and apply it: a corrected number never comes without its uncertainty.

    profile = load_profile("profile.json")
    wall = profile.correct(rapl_package=143.2)                  # watts in, watts out
    job = profile.correct_energy(3600, rapl_package=515_520.0)  # joules in, joules out

Standard library only. Numbers may be floats or arrays with the usual operators. Flags that a
result may carry:

    outside:INPUT, outside:output, outside:halfspace    beyond the calibrated domain
    averaging:below_min, averaging:above_max    a window for which the profile does not speak
    session_offset:assumed      how far the offset moves between sessions was not measured
    rezeroed:SESSION            the offset was established in that session and holds for it only
    expired_review, not_yet_valid    the date; after review the offset's u is doubled
    simulated, indicative, above_idle    what kind of answer this is
    subject_unknown, mismatch:KEY, unseen:KEY, virtual    from the comparison of machines
    uncalibrated    the raw reading: the profile belongs to another machine

and, on rows of a file,

    short           under 60 s: the tool's start-up, or what it looks at by turns, weighs much
    overlap, overlap:maybe_twice, share:time    see `calibration._profile.files`
    partial_of:RUN    lies within another row, see `calibration._profile.contained`
    mode:unrecorded    the profile itself was made in a mode that nobody recorded
    unterminated    the last line has no end; its last digits may be missing
    refused         no answer; the reason is printed
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

from ._profile.apply import brief, budget, measured, where, window
from ._profile.assemble import assemble
from ._profile.combine import combine
from ._profile.evaluate import Component, Quantity, Term, basis, dot, everywhere, expand
from ._profile.load import parse, read
from ._profile.results import Corrected, CorrectedEnergy, Mode
from ._profile.semantics import check_semantics
from ._profile.structure import check_structure
from .errors import InputError, NotAllowed, OutOfRange, ProfileError, SchemaError
from .machine import Match, match, this_machine

__all__ = [
    "AUTO",
    "Auto",
    "Corrected",
    "CorrectedEnergy",
    "Mode",
    "Profile",
    "combine",
    "load_profile",
]


class Auto(Enum):
    """The default of `machine=`: compare with the machine that this process runs on."""

    AUTO = "auto"


AUTO: Final = Auto.AUTO


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile that passed every check; `document` is the JSON it came from.

    `today` replaces the calendar for the checks of validity.
    """

    document: Mapping[str, Any] = field(repr=False)
    id: str
    revision: int
    title: str
    kind: Literal["correction", "error_statement"]
    digest: str | None
    boundary: str
    simulated: bool
    input_ids: tuple[str, ...]
    units: Mapping[str, str]
    valid_from: date
    review_after: date
    today: date | None = None
    above_idle_only: bool = False
    terms: tuple[Term, ...] = ()
    covariance: tuple[tuple[float, ...], ...] = ()
    dof: float = math.inf
    additive: bool = True
    components: tuple[Component, ...] = ()
    between_unit: float = 0.0
    between_unit_by_input: Mapping[str, float] = field(default_factory=dict)
    probability: float = 0.95
    domain: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    halfspaces: tuple[tuple[Mapping[str, float], float], ...] = ()
    extrapolation: Literal["flag", "refuse"] = "refuse"
    min_averaging_s: float = 0.0
    max_averaging_s: float | None = None
    idle_inputs: Mapping[str, float] = field(default_factory=dict)
    rezeroed: str | None = None

    @property
    def day(self) -> date:
        """Return the day by which validity is judged."""
        return self.today or date.today()

    def correct(
        self,
        *,
        machine: Mapping[str, Any] | Auto | None = AUTO,
        averaging_s: Quantity | None = None,
        mode: Mode = "unknown",
        idle: Mapping[str, float] | None = None,
        indicative: bool = False,
        **inputs: Quantity,
    ) -> Corrected:
        """Correct mean powers in W (`cpu_load`: 0 to 1) and return the power in W.

        Args:
            machine: `AUTO` compares this machine with the profile's subject; a fingerprint
                compares that one; None compares nothing, adds nothing and says `unchecked`.
            averaging_s: length of the window of the mean, s. Without it, what averages out is
                not averaged: an upper bound.
            mode: what the caller knows about the mode of the tool behind the inputs.
            idle: the inputs' means at idle, W; then the answer is the power above idle.
            indicative: give a correction on a `similar` machine too, flagged `indicative`.
            inputs: one value per input of the profile.

        Raises:
            OutOfRange: outside the domain of a profile that refuses extrapolation.
            ProfileError: the profile gives no correction, or only one above idle.
            InputError: an input is missing, unknown or not a number.

        """
        x = self._taken(inputs, "mean power in W")
        found = self._match(machine)
        raw = self._raw(x)
        if not (found.corrects or (indicative and found.kind == "similar")):
            return Corrected(
                power_w=raw, u_w=math.inf, k=2.0, raw_w=raw, match=found.kind, mode=mode,
                flags=(*found.flags, "uncalibrated"), calibrated=False, inside=False,
                digest=self.digest,
            )  # fmt: skip
        if averaging_s is not None and not everywhere(averaging_s > 0):
            raise InputError(f"Expected averaging_s above 0 s; got {averaging_s}.")
        at_idle = self._idle(idle)
        gradient = self._gradient(x, at_idle, None)
        power = dot(self.terms, gradient)
        inside, flags = where(self, x, None if at_idle else power)
        flags += window(self, averaging_s)
        items = budget(self, gradient, power, 1.0, averaging_s, found, bool(at_idle))
        u, k = expand(items, self.probability)
        return Corrected(
            power_w=power, u_w=u, k=k, raw_w=raw, match=found.kind, mode=mode,
            flags=self._flags(found, flags, bool(at_idle)), calibrated=True, inside=inside,
            digest=self.digest,
        )  # fmt: skip

    def correct_energy(
        self,
        duration_s: Quantity,
        *,
        machine: Mapping[str, Any] | Auto | None = AUTO,
        mode: Mode = "unknown",
        idle: Mapping[str, float] | None = None,
        indicative: bool = False,
        duration_u_s: float = 0.0,
        inputs_u_j: Mapping[str, float] | None = None,
        session: str | None = None,
        workload: str | None = None,
        **inputs: Quantity,
    ) -> CorrectedEnergy:
        """Correct the energies of one job in J and return its energy in J.

        The job is one workload in one session: what is constant within either does not average
        out. Idle, machine, mode and indicative are as in `correct`.

        Args:
            duration_s: how long the job took, s.
            machine: which machine to compare with the profile's subject.
            mode: what the caller knows about the mode of the tool behind the inputs.
            idle: the inputs' means at idle, W; then the answer is the energy above idle.
            indicative: give a correction on a `similar` machine too, flagged `indicative`.
            duration_u_s: standard uncertainty of that, s.
            inputs_u_j: standard uncertainty of the inputs' energies, J.
            session: names the session for `combine`; None is "not told".
            workload: names the workload for `combine`; None is "not told".
            inputs: J for each input in W; for an input without unit (`cpu_load`) its mean.

        Raises:
            OutOfRange: the model is not additive and the job is longer than the windows for which
                it holds (the mean of a bent function is not the function of the mean), or the
                domain is left and the profile refuses extrapolation.

        """
        x_j = self._taken(inputs, "energy in J")
        if not everywhere(duration_s > 0) or not everywhere(duration_s < math.inf):
            raise InputError(
                f"Expected duration_s to be a finite time above 0 s; got {duration_s}."
            )
        power = {n: v / duration_s if self.units[n] == "W" else v for n, v in x_j.items()}
        self._refuse_long(duration_s)
        found = self._match(machine)
        raw = self._raw(power) * duration_s
        if not (found.corrects or (indicative and found.kind == "similar")):
            return CorrectedEnergy(
                energy_j=raw, u_j=math.inf, k=2.0, raw_j=raw, duration_s=duration_s,
                match=found.kind, mode=mode, flags=(*found.flags, "uncalibrated"),
                calibrated=False, inside=False, session=session, workload=workload,
                gradient=(), budget=(), profile=self,
            )  # fmt: skip
        at_idle = self._idle(idle)
        gradient = self._gradient(power, at_idle, duration_s)
        energy = dot(self.terms, gradient)
        inside, flags = where(self, power, None if at_idle else energy / duration_s)
        flags += window(self, duration_s)
        items = budget(self, gradient, energy, duration_s, duration_s, found, bool(at_idle))
        items += measured(
            self, power, energy, duration_s, duration_u_s, inputs_u_j or {}, bool(at_idle)
        )
        u, k = expand(items, self.probability)
        return CorrectedEnergy(
            energy_j=energy, u_j=u, k=k, raw_j=raw, duration_s=duration_s, match=found.kind,
            mode=mode, flags=self._flags(found, flags, bool(at_idle)), calibrated=True,
            inside=inside, session=session, workload=workload, gradient=gradient, budget=items,
            profile=self,
        )  # fmt: skip

    def correct_row(
        self,
        row: Mapping[str, str],
        *,
        asserted: Mapping[str, Any] | None = None,
        machine: Mapping[str, Any] | Auto | None = AUTO,
        indicative: bool = False,
    ) -> CorrectedEnergy:
        """Correct one row of a CodeCarbon `emissions.csv` (as `csv.DictReader` gives it), in J.

        The units are the file's. What the row contradicts (another mode, version, PUE) is refused;
        what it cannot prove makes `.mode` `unknown`, unless it is `asserted`. (The command
        `wattcal correct` refuses such rows; here the caller has `.mode` to decide by.)

        Raises:
            WrongMode: the row contradicts the mode that the profile requires.
            MatchError: another version or CPU, or the profile does not know the tool.

        """
        from ._profile.tools import take_row
        from .toolfiles import codecarbon_row

        taken = take_row(self, codecarbon_row(row), asserted or {}, any_machine=machine is None)
        result = self.correct_energy(
            taken.duration_s,
            machine=machine,
            mode=taken.mode,
            indicative=indicative,
            duration_u_s=taken.duration_u_s,
            **dict[str, Any](taken.inputs),
        )
        return replace(result, flags=tuple(dict.fromkeys((*taken.flags, *result.flags))))

    def _taken(self, inputs: Mapping[str, Quantity], what: str) -> dict[str, Quantity]:
        """Return the inputs that the profile asks for, or say what it asks for."""
        if self.kind == "error_statement":
            raise ProfileError(_statement(self.document))
        if "codecarbon" in inputs and "codecarbon_total" in self.input_ids:
            rest = {k: v for k, v in inputs.items() if k != "codecarbon"}
            inputs = {"codecarbon_total": inputs["codecarbon"], **rest}
        if set(inputs) != set(self.input_ids):
            came = ", ".join(sorted(inputs)) or "nothing"
            raise InputError(
                f"Profile {self.id} takes {', '.join(self.input_ids)} ({what}); got {came}."
            )
        for name, value in inputs.items():
            plain = isinstance(value, (int, float)) and not isinstance(value, bool)
            if plain and not math.isfinite(value):
                raise InputError(f"Expected {name} to be a finite number; got {value}.")
            if not plain and (
                isinstance(value, (bool, str, bytes, list, tuple, Mapping))
                or not hasattr(value, "__mul__")
            ):
                raise InputError(
                    f"Expected {name} to be a number or an array; got {type(value).__name__}."
                )
        return {n: inputs[n] for n in self.input_ids}

    def _match(self, machine: Mapping[str, Any] | Auto | None) -> Match:
        if machine is None:
            return Match("unchecked")
        if machine is AUTO and self.simulated:
            # A simulated machine is nowhere: comparing would always say no, and whoever loads
            # such a profile has already said that this is fine.
            return Match("unchecked")
        seen = this_machine() if isinstance(machine, Auto) else machine
        return match(self.document["subject"], seen)

    def _raw(self, x: Mapping[str, Quantity]) -> Quantity:
        """Return the sum of the inputs in W; NaN where one of them is no power."""
        total: Quantity = 0.0
        for name, value in x.items():
            total = total + (value if self.units[name] == "W" else math.nan)
        return total

    def _idle(self, idle: Mapping[str, float] | None) -> Mapping[str, Quantity] | None:
        """Return the inputs at idle when the answer is to be above idle, else None."""
        if idle is not None:
            return self._taken(idle, "mean at idle, W")
        if not self.above_idle_only:
            return None
        if self.idle_inputs:
            return self.idle_inputs
        raise ProfileError(
            f"Profile {self.id} answers only what lies above idle, because something that no "
            "input sees may change its power. Pass the inputs' means at idle as idle={...}."
        )

    def _gradient(
        self,
        x: Mapping[str, Quantity],
        idle: Mapping[str, Quantity] | None,
        duration_s: Quantity | None,
    ) -> tuple[Quantity, ...]:
        g = [basis(t, x) for t in self.terms]
        if idle is not None:
            g = [v - basis(t, idle) for v, t in zip(g, self.terms, strict=True)]
        return tuple(g if duration_s is None else [v * duration_s for v in g])

    def _refuse_long(self, duration_s: Quantity) -> None:
        """Refuse totals of runs to a model that is not linear in energies."""
        longest = self.max_averaging_s
        if self.additive or (longest is not None and everywhere(duration_s <= longest)):
            return
        upto = "short windows" if longest is None else f"windows of up to {longest:g} s"
        raise OutOfRange(
            f"Profile {self.id} is not additive: it corrects mean powers over {upto}, not the "
            f"total of a run of {brief(duration_s)} s. Correct window by window and add up with "
            "combine()."
        )

    def _flags(self, found: Match, own: tuple[str, ...], above_idle: bool) -> tuple[str, ...]:
        today = self.day
        indicative = found.kind == "similar"
        assumed = any(c.assumed for c in self.components if c.correlation == "within_session")
        return (
            *own,
            *found.flags,
            *(["indicative"] if indicative else []),
            *(["above_idle"] if above_idle else []),
            *(["session_offset:assumed"] if assumed and not above_idle else []),
            *([f"rezeroed:{self.rezeroed}"] if self.rezeroed and not above_idle else []),
            *(["expired_review"] if today > self.review_after else []),
            *(["not_yet_valid"] if today < self.valid_from else []),
            *(["simulated"] if self.simulated else []),
        )


def load_profile(
    source: str | Path | Mapping[str, Any],
    *,
    allow_simulated: bool = False,
    today: date | None = None,
) -> Profile:
    """Read a profile, check it whole, and return it ready to use.

    Args:
        source: a path, or the JSON object itself.
        allow_simulated: accept a profile that was made from simulated data.
        today: the day to judge validity by, instead of the calendar's.

    Raises:
        InputError: there is no such file.
        SchemaError: it is not a profile; the sentence names the field.
        NotAllowed: it was made from simulated data.

    """
    digest = None
    document: Any
    if isinstance(source, Mapping):
        document = copy.deepcopy(dict(source))  # what was checked must not change afterwards
    else:
        data = read(Path(source))
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        document = parse(data, Path(source))
    try:
        check_structure(document)
        profile = assemble(document, digest, today)
        check_semantics(profile)
    except SchemaError as error:
        if isinstance(source, Mapping):
            raise
        raise SchemaError(f"{source}: {error}") from None
    if profile.simulated and not allow_simulated:
        raise NotAllowed(
            f"Profile {profile.id} was made from simulated data and says nothing about a real "
            "machine. Pass allow_simulated=True (--allow-simulated) to use it all the same."
        )
    return profile


def _statement(document: Mapping[str, Any]) -> str:
    """Say what an error statement states, in place of a correction."""
    validation = document["calibration"]["validation"]
    before = validation.get("before") or {}
    known = [
        f"{label} {before[key]:g} {unit}"
        for key, label, unit in (
            ("bias_W", "bias", "W"),
            ("mape_pct", "mean error", "%"),
            ("max_abs_pct", "largest error", "%"),
        )
        if before.get(key) is not None
    ]
    return (
        f"Profile {document['id']} is an error statement: it says how wrong the tool is "
        f"({', '.join(known) or 'see calibration.validation'}) and gives no correction."
    )
