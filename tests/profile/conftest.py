"""Profiles to test with: the worked example (two inputs, a hinge) and a straight line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from calibration import Profile, load_profile

EXAMPLE = json.loads((Path(__file__).with_name("worked_example.json")).read_text(encoding="utf-8"))
TODAY = date(2026, 11, 1)


@pytest.fixture
def example() -> dict[str, Any]:
    """Return a copy of the worked example that may be spoiled."""
    return copy.deepcopy(EXAMPLE)


@pytest.fixture(scope="session")
def worked() -> Profile:
    return load_profile(EXAMPLE, today=TODAY)


def _line_document(**changes: Any) -> dict[str, Any]:
    """Return a profile of P = 50 W + 1.2 x RAPL package, which CodeCarbon shows too."""
    document = copy.deepcopy(EXAMPLE)
    for key in ("table", "quick", "evidence", "supersedes"):
        del document[key]
    document["inputs"] = [document["inputs"][0]]
    document["model"] = {
        "kind": "linear_basis",
        "output": "P_wall",
        "additive": True,
        "terms": [
            {"id": "b0", "basis": "const", "value": 50.0, "unit": "W"},
            {"id": "b1", "basis": "input", "input": "rapl_package", "value": 1.2, "unit": "1"},
        ],
        "covariance": [[0.25, -0.002], [-0.002, 0.0001]],
        "dof": 20,
    }
    document["uncertainty"]["stated"]["U_at"] = [
        {"inputs": {"rapl_package": 60.0}, "P": 122.0, "U": 11.827}
    ]
    document["uncertainty"]["between_unit"] = {"u_rel": 0.03, "n_units": 1, "status": "assumed"}
    document["applicability"] = {
        "domain": {"rapl_package": [10.0, 200.0], "output": [62.0, 290.0]},
        "extrapolation": "flag",
        "min_averaging_s": 10.0,
        "max_averaging_s": None,
    }
    document["subject"] = {"match": {"required": {}}}
    document.update(changes)
    return document


@pytest.fixture(scope="session")
def line_document() -> Callable[..., dict[str, Any]]:
    """Return what makes the straight line's document, with keys replaced."""
    return _line_document


@pytest.fixture(scope="session")
def line() -> Profile:
    return load_profile(_line_document(), today=TODAY)


@pytest.fixture(scope="session")
def load() -> Callable[..., Profile]:
    """Return `load_profile` on a day on which the profiles are valid."""
    return partial(load_profile, today=TODAY)
