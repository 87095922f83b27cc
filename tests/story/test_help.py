"""Every help text fits 80 columns and teaches by an example."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from calibration.cli import parser


def commands(
    top: argparse.ArgumentParser, name: str = "wattcal"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, sub in action.choices.items():
                yield from commands(sub, f"{name} {word}")


@pytest.mark.parametrize(("name", "sub"), list(commands(parser())), ids=lambda v: str(v)[:40])
def test_help_is_readable(
    name: str, sub: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = sub.format_help()
    assert max(len(line) for line in text.splitlines()) <= 80, text
    assert sub.description, f"{name} says nothing about itself"
    if " " in name:
        assert "wattcal" in (sub.description + (sub.epilog or "")), f"{name} shows no example"
