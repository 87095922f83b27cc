"""What can go wrong in `calibration`, as one tree.

    CalibrationError
    ├── InputError            a file, line, field or argument that cannot be used           exit 3
    ├── RunError              a recording that cannot be read, or does not hold what is asked   3
    ├── NotInstalled          an extra is missing; the message holds the install command       4
    ├── FitError              the data do not carry the answer                                 5
    ├── ProfileError
    │   ├── SchemaError       a profile that is not one                                        3
    │   ├── SignatureError    its signature does not verify                                    5
    │   ├── MatchError        it belongs to other hardware or another tool                     5
    │   ├── OutOfRange        the operating point lies outside its domain                      5
    │   └── NotAllowed        simulated, and nobody said that this is fine                     5
    └── EstimatorError
        ├── NotAvailable      the estimator cannot run here                                    4
        └── WrongMode         it runs, but in another mode than required                       5

A message is one sentence or two: what was expected, what came, what to do. `exit_code` is what the
command line returns; the class decides, never the caller.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CalibrationError",
    "EstimatorError",
    "FitError",
    "InputError",
    "MatchError",
    "NotAllowed",
    "NotAvailable",
    "NotInstalled",
    "OutOfRange",
    "ProfileError",
    "RunError",
    "SchemaError",
    "SignatureError",
    "WrongMode",
]


class CalibrationError(Exception):
    """Anything that this package refuses to do, with the reason as its text."""

    exit_code: ClassVar[int] = 5


class InputError(CalibrationError):
    """A file, line, field or argument cannot be used; the message names it."""

    exit_code = 3


class RunError(CalibrationError):
    """A recording cannot be read, or does not hold what was asked of it."""

    exit_code = 3


class NotInstalled(CalibrationError):  # noqa: N818 - a state, named as the field names it
    """An optional part of wattcal is missing; the message holds the install command."""

    exit_code = 4


class FitError(CalibrationError):
    """The data do not carry the answer that was asked of them."""


class ProfileError(CalibrationError):
    """A profile cannot be used."""


class SchemaError(ProfileError):
    """A file is not a profile: a field is missing, wrong, or contradicts another."""

    exit_code = 3


class SignatureError(ProfileError):
    """The signature of a profile does not verify."""


class MatchError(ProfileError):
    """A profile belongs to other hardware, another tool, or another version of it."""


class OutOfRange(ProfileError):  # noqa: N818
    """An operating point lies outside the domain of a profile that refuses extrapolation."""


class NotAllowed(ProfileError):  # noqa: N818
    """A simulated profile, and nobody said that this is fine."""


class EstimatorError(CalibrationError):
    """A software estimator cannot be used."""

    exit_code = 4


class NotAvailable(EstimatorError):  # noqa: N818
    """A software estimator cannot run on this machine."""


class WrongMode(EstimatorError):  # noqa: N818
    """A software estimator runs in another mode than the one required."""

    exit_code = 5
