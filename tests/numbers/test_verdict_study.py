"""The verdict on synthetic calibrations: a small draw of what `make verdict` runs whole."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from calibration.analysis.verdict import RULES

FEW = 2


def load() -> ModuleType:
    """Load the generator beside this file; the tests are no package."""
    path = Path(__file__).with_name("verdict_cases.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


study = load()


def test_the_study_and_the_rules_have_one_set_of_thresholds() -> None:
    assert set(study.MAKERS) == set(study.THRESHOLDS)
    assert {code: RULES[code].threshold for code in study.THRESHOLDS} == study.THRESHOLDS


@pytest.mark.parametrize("code", list(study.MAKERS))
def test_a_bad_case_is_found_for_its_reason(code: str) -> None:
    for c in study.bad_cases(FEW):
        if c.code == code:
            outcome = study.judge(c)
            assert outcome.right, (c.severity, outcome)


@pytest.mark.parametrize("code", list(study.MAKERS))
def test_a_good_case_is_a_correction(code: str) -> None:
    for c in study.good_cases(FEW):
        if c.code == code:
            outcome = study.judge(c)
            assert not outcome.refused, (c.severity, outcome)


def test_a_case_is_the_same_each_time() -> None:
    first, second = (study.case("transfer_failure", 3.0, 7).points for _ in range(2))
    assert first.reference_w.tolist() == second.reference_w.tolist()
