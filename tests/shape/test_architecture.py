"""Which way the stairs go: imports between rooms, what `import calibration` loads, the wheel."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each room and the rooms it may import. `errors` and `_version` are open to all of `calibration`.
BASE = {"_profile", "machine", "profile", "toolfiles"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "_profile": {"machine", "profile", "toolfiles"},  # the private half of `profile`
    "gpus": set(),
    "machine": {"gpus", "keyed"},
    "grain": set(),
    "keyed": set(),
    "toolfiles": {"grain"},
    "_audit": {"grain", "toolfiles"},  # the private half of `audit`
    "audit": {"_audit", "toolfiles"},
    "profile": BASE,
    "instruments": set(),
    "plans": set(),
    "recording": {"instruments", *BASE},
    "estimators": {"instruments", "recording"},
    "workloads": {"plans"},
    "bench": {"estimators", "instruments", "plans", "recording", "workloads", *BASE},
    "simulation": {"instruments", "plans"},
    "analysis": {"plans", "recording", *BASE},
    "publishing": {"analysis", "keyed", "recording", *BASE},
    "conformance": {"estimators", "machine", "publishing", "simulation", "toolfiles"},
    "doctor": {"instruments", "machine"},
}
FREE = {"cli", "demo", "__init__", "__main__"}
FORBIDDEN_AT_IMPORT = {
    "codecarbon",
    "jinja2",
    "jsonschema",
    "matplotlib",
    "numpy",
    "pandas",
    "psutil",
    "pyarrow",
    "pynvml",
    "rich",
    "scipy",
    "serial",
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return absolute names of all modules that a file imports, anywhere in it."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{stem}.{a.name}" for a in node.names} if not node.module else {stem}
            if node.module is None:
                continue
            names.add(stem)
    return names


def test_drivers_know_nothing_of_calibration() -> None:
    for path in modules("drivers"):
        assert not {n for n in imported(path) if n.split(".")[0] == "calibration"}, path


def test_exactly_one_file_names_drivers() -> None:
    naming = {
        p.relative_to(ROOT).as_posix()
        for p in modules("calibration")
        if any(n.split(".")[0] == "drivers" for n in imported(p))
    }
    assert naming == {"calibration/instruments.py"}


@pytest.mark.parametrize(
    "path", modules("calibration"), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_rooms_import_only_downwards(path: Path) -> None:
    room = path.relative_to(ROOT / "calibration").with_suffix("").parts[0]
    if room in FREE:
        return
    assert room in ROOMS, f"{room} is a new room: say in ROOMS which way its stairs go"
    allowed = ROOMS[room] | {room, "errors", "_version"}
    used = {n.split(".")[1] for n in imported(path) if n.startswith("calibration.")}
    assert used <= allowed, f"{path.name} may not import {used - allowed}"


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return {m.split(".")[0] for m in done.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import calibration",
        "from calibration import load_profile",
        "import calibration.toolfiles, calibration.machine",
        "from calibration.cli import parser; parser()",
        "import drivers",
    ],
)
def test_the_base_install_loads_the_standard_library_only(code: str) -> None:
    loaded = loaded_by(code)
    assert not loaded & FORBIDDEN_AT_IMPORT
    ours = {"calibration", "drivers"}
    # What a bare interpreter of this environment loads by itself (.pth files of editable installs).
    bare = loaded_by("pass")
    foreign = {m for m in loaded - bare - ours if m not in sys.stdlib_module_names}
    assert not {m for m in foreign if not m.startswith("_")}


def test_every_package_says_what_is_public() -> None:
    import calibration
    import drivers

    for package in (calibration, drivers):
        assert package.__all__ == sorted(package.__all__, key=_ruff_order)
        for name in package.__all__:
            assert getattr(package, name) is not None, name


def _ruff_order(name: str) -> tuple[int, str]:
    """Sort as ruff's RUF022 does: constants, classes, the rest."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def test_no_assert_in_source() -> None:
    for package in ("calibration", "drivers"):
        for path in modules(package):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not [n for n in ast.walk(tree) if isinstance(n, ast.Assert)], path


def test_no_init_in_tests() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_the_wheel_holds_exactly_two_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for folder in ("calibration", "drivers", "tests", "notebooks", "datasets"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                target = source / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {n.split("/")[0] for n in names}
    assert {t for t in top if not t.endswith(".dist-info")} == {"calibration", "drivers"}
    assert "calibration/py.typed" in names
    assert "drivers/py.typed" in names
    assert any(n.startswith("calibration/schema/") and n.endswith(".json") for n in names)
