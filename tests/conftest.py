"""What all tests share: the way to skip, the real recordings, a guard against the network."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ("data", "ser2net", "stress-ng", "namespaces", "gcc", "peers")

Require = Callable[[str, bool, str], None]


def _require(name: str, present: bool, reason: str) -> None:
    """Skip with a reason when something is missing, or fail where WATTCAL_REQUIRE names it."""
    if name not in KNOWN:
        pytest.fail(f"require() knows {', '.join(KNOWN)}; got {name!r}")
    if present:
        return
    demanded = os.environ.get("WATTCAL_REQUIRE", "").split(",")
    if name in demanded or "all" in demanded:
        pytest.fail(f"WATTCAL_REQUIRE demands {name}: {reason}")
    pytest.skip(f"{name}: {reason}")


@pytest.fixture
def require() -> Require:
    """Return `require(name, present, reason)`, the one door through which a test may skip."""
    return _require


@pytest.fixture
def wattcal_data() -> Path:
    """Return the folder of real recordings by strangers, or skip with the reason."""
    folder = Path(os.environ.get("WATTCAL_DATA", ROOT / ".." / "shared" / "data"))
    _require("data", folder.is_dir(), "set WATTCAL_DATA to a folder with the real recordings")
    return folder.resolve()


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if self.family in (socket.AF_INET, socket.AF_INET6) and not (
            str(host).startswith("127.") or host in ("localhost", "::1")
        ):
            raise AssertionError(f"a test tried to reach {address!r}; only loopback is allowed")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the very end what was skipped and why."""
    reports = terminalreporter.stats.get("skipped", [])
    wants = Counter(str(r.longrepr[2]).removeprefix("Skipped: ") for r in reports)
    terminalreporter.write_line("")
    if not wants:
        terminalreporter.write_line("skipped for want of something: nothing")
    for want, count in sorted(wants.items()):
        terminalreporter.write_line(f"skipped for want of {want} ({count} tests)")
