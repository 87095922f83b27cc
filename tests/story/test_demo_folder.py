"""The demo's folder: nobody else's files are touched, and a whole demo is not lost for half one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from calibration.demo.folder import MARK, DemoFolder
from calibration.errors import InputError


def finished(path: Path, content: str) -> None:
    with DemoFolder(path) as folder:
        (path / "page").write_text(content)
        folder.finish()


def fail_half_way(path: Path) -> None:
    with DemoFolder(path):
        (path / "page").write_text("half")
        raise RuntimeError


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


def test_a_finished_demo_replaces_an_older_one(tmp_path: Path) -> None:
    finished(tmp_path / "d", "first")
    finished(tmp_path / "d", "second")
    assert names(tmp_path) == ["d"]
    assert (tmp_path / "d" / "page").read_text() == "second"
    assert '"finished"' in (tmp_path / "d" / MARK).read_text()


def test_a_failed_demo_leaves_nothing_and_the_older_one_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), DemoFolder(tmp_path / "d"):
        raise RuntimeError
    assert names(tmp_path) == []
    finished(tmp_path / "d", "first")
    with pytest.raises(RuntimeError):
        fail_half_way(tmp_path / "d")
    assert names(tmp_path) == ["d"]
    assert (tmp_path / "d" / "page").read_text() == "first"


def test_an_interrupted_demo_keeps_its_run_and_the_older_one(tmp_path: Path) -> None:
    def interrupt() -> Path:
        with DemoFolder(tmp_path / "d") as folder:
            (tmp_path / "d" / "run").write_text("sealed")
            return folder.keep()

    assert interrupt() == tmp_path / "d"
    assert (tmp_path / "d" / "run").read_text() == "sealed"
    finished(tmp_path / "d", "whole")
    assert names(tmp_path) == ["d"]
    for _ in range(2):
        assert interrupt() == tmp_path / "d.interrupted"
        assert (tmp_path / "d" / "page").read_text() == "whole"
        assert names(tmp_path) == ["d", "d.interrupted"]


def test_a_killed_demo_does_not_cost_the_older_one(tmp_path: Path) -> None:
    finished(tmp_path / "d", "whole")
    killed = DemoFolder(tmp_path / "d")
    os.close(killed._lock)  # what the end of its process does
    assert names(tmp_path) == ["d", "d.old"]
    with pytest.raises(RuntimeError), DemoFolder(tmp_path / "d"):
        raise RuntimeError
    assert (tmp_path / "d" / "page").read_text() == "whole"
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize("what", ["file", "folder", "link", "other mark"])
def test_anything_else_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "d"
    if what == "file":
        path.write_text("mine")
    elif what == "link":
        (tmp_path / "target").mkdir()
        path.symlink_to(tmp_path / "target")
    else:
        path.mkdir()
        (path / "thesis.tex").write_text("mine")
        if what == "other mark":
            (path / MARK).write_text('{"some": "json"}')
    before = names(tmp_path)
    with pytest.raises(InputError, match="something else"), DemoFolder(path):
        pass
    assert names(tmp_path) == before


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    finished(tmp_path / "d", "x")
    assert names(tmp_path / "d") == [MARK, "page"]


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with DemoFolder(tmp_path / "d"), pytest.raises(InputError, match="at work"):
        DemoFolder(tmp_path / "d")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make"):
        DemoFolder(tmp_path / "file" / "d")
