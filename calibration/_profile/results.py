"""Hold what a profile answers: a power or an energy with its uncertainty, match, mode and flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..machine import MatchKind
from .evaluate import Contribution, Quantity

if TYPE_CHECKING:
    from ..profile import Profile

__all__ = ["Corrected", "CorrectedEnergy", "Mode"]

Mode: TypeAlias = Literal["verified", "asserted", "unknown"]


@dataclass(frozen=True, slots=True)
class Corrected:
    """A corrected mean power in W: the 95 % interval is `low_w` to `high_w`, and U is k u.

    Where `calibrated` is false, `power_w` is the raw reading and its uncertainty is infinite.
    """

    power_w: Quantity
    u_w: Quantity
    k: Quantity
    raw_w: Quantity
    match: MatchKind
    mode: Mode
    flags: tuple[str, ...]
    calibrated: bool
    inside: Quantity
    digest: str | None

    @property
    def expanded_w(self) -> Quantity:
        """Return the expanded uncertainty U = k u in W."""
        return self.k * self.u_w

    @property
    def low_w(self) -> Quantity:
        """Return the lower end of the interval in W."""
        return self.power_w - self.expanded_w

    @property
    def high_w(self) -> Quantity:
        """Return the upper end of the interval in W."""
        return self.power_w + self.expanded_w


@dataclass(frozen=True, slots=True)
class CorrectedEnergy:
    """A corrected energy in J, with what is needed to add it to others (`combine`).

    `session` and `workload` name what its errors have in common with other energies; None is
    "not told", and then they are taken to be the same, which can only widen the interval.
    Where `calibrated` is false, `energy_j` is the raw reading and its uncertainty is infinite.
    """

    energy_j: Quantity
    u_j: Quantity
    k: Quantity
    raw_j: Quantity
    duration_s: Quantity
    match: MatchKind
    mode: Mode
    flags: tuple[str, ...]
    calibrated: bool
    inside: Quantity
    session: str | None
    workload: str | None
    gradient: tuple[Quantity, ...] = field(repr=False)
    budget: tuple[Contribution, ...] = field(repr=False)
    profile: Profile = field(repr=False)

    @property
    def expanded_j(self) -> Quantity:
        """Return the expanded uncertainty U = k u in J."""
        return self.k * self.u_j

    @property
    def low_j(self) -> Quantity:
        """Return the lower end of the interval in J."""
        return self.energy_j - self.expanded_j

    @property
    def high_j(self) -> Quantity:
        """Return the upper end of the interval in J."""
        return self.energy_j + self.expanded_j

    @property
    def power_w(self) -> Quantity:
        """Return the corrected mean power in W."""
        return self.energy_j / self.duration_s
