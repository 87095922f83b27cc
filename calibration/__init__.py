"""Calibration of software energy estimators against a physical power meter.

What a consumer of profiles needs, loaded on first use: `import calibration` costs a millisecond,
and nothing here imports beyond the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from .errors import (
        CalibrationError,
        EstimatorError,
        FitError,
        InputError,
        MatchError,
        NotAllowed,
        NotAvailable,
        NotInstalled,
        OutOfRange,
        ProfileError,
        RunError,
        SchemaError,
        SignatureError,
        WrongMode,
    )
    from .profile import Corrected, CorrectedEnergy, Profile, combine, load_profile

__all__ = [
    "CalibrationError",
    "Corrected",
    "CorrectedEnergy",
    "EstimatorError",
    "FitError",
    "InputError",
    "MatchError",
    "NotAllowed",
    "NotAvailable",
    "NotInstalled",
    "OutOfRange",
    "Profile",
    "ProfileError",
    "RunError",
    "SchemaError",
    "SignatureError",
    "WrongMode",
    "__version__",
    "combine",
    "load_profile",
]

_PROFILE = frozenset({"Corrected", "CorrectedEnergy", "Profile", "combine", "load_profile"})


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "__version__":
        value = import_module("._version", __name__).VERSION
    else:
        module = import_module(".profile" if name in _PROFILE else ".errors", __name__)
        value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
