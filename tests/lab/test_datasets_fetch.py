"""`datasets get` against a server on the loopback: hashes, resuming, and what goes wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from calibration.cli import main
from calibration.errors import InputError
from calibration.recording import datasets
from calibration.recording.datasets import fetch, find_mapping
from calibration.recording.mapping_file import read_mapping
from calibration.recording.reader import read_run

COMMIT = "0123456789012345678901234567890123456789"


def table(rows: int = 2000) -> bytes:
    t = 1_700_000_000 + np.arange(rows)
    return b"".join(b"%d %d\n" % (x, 40 + x % 9) for x in t)


class Server(ThreadingHTTPServer):
    """Serves `files` by path; `cut` ends an answer early, `ranges` False ignores Range."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, list[int]] = {}
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append((self.path, wanted))
        body = server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        if wanted is not None and server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        cuts = server.cut.get(self.path, [])
        self.wfile.write(rest[: cuts.pop(0)] if cuts else rest)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("WATTCAL_DATA", raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def describe(folder: Path, body: bytes, extra: str = "") -> Path:
    path = folder / "datasets" / "tiny" / "dataset.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"""
name = "tiny"
licence = "CC0"
citation = "nobody"
data_kind = "measured"
session = "s"
[source]
url = "https://example.org/repo/{{commit}}/{{path}}"
commit = "{COMMIT}"
[[stream]]
id = "wall"
role = "meter"
boundary = "psu_ac_input"
source = "a meter"
file = "logs/wall 1.txt"
format = "columns"
time = {{ column = 0, unit = "s" }}
channel = [{{ name = "power_w", column = 1, unit = "W", kind = "mean", window_s = 1 }}]
[[file]]
file = "logs/wall 1.txt"
path = "data/wall 1.txt"
sha256 = "{hashlib.sha256(body).hexdigest()}"
{extra}""")
    return path


PATH = f"/repo/{COMMIT}/data/wall%201.txt"


def test_fetched_by_hash_imported_and_not_fetched_again(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    body = table()
    describe(tmp_path, body)
    server.files[PATH] = body
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WATTCAL_MIRROR", server.url)
    assert main(["datasets", "get", "tiny", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["downloaded"] == ["logs/wall 1.txt"]
    assert (tmp_path / "wattcal-data" / "tiny" / "logs" / "wall 1.txt").read_bytes() == body
    assert read_run(said["runs"][0]).rows("wall") == 2000
    assert main(["datasets", "get", "tiny", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["present"] == ["logs/wall 1.txt"]
    assert again["runs"] == said["runs"]
    assert server.asked == [(PATH, None)]


def test_a_folder_that_has_the_files_is_taken_first(tmp_path: Path, server: Server) -> None:
    body = table()
    mapping = read_mapping(describe(tmp_path, body))
    server.files[PATH] = body
    stock = tmp_path / "stock"
    (stock / "tiny" / "logs").mkdir(parents=True)
    (stock / "tiny" / "logs" / "wall 1.txt").write_bytes(body)
    got = fetch(mapping, tmp_path / "a", data=stock, mirror=server.url)
    assert (got.copied, got.downloaded) == (("logs/wall 1.txt",), ())
    assert server.asked == []
    # Another file of the same name is not the file.
    (stock / "tiny" / "logs" / "wall 1.txt").write_bytes(body + b"x")
    got = fetch(mapping, tmp_path / "b", data=stock, mirror=server.url)
    assert (got.copied, got.downloaded) == ((), ("logs/wall 1.txt",))
    assert (tmp_path / "b" / "tiny" / "logs" / "wall 1.txt").read_bytes() == body


def test_a_connection_that_ends_early_is_resumed(tmp_path: Path, server: Server) -> None:
    body = table()
    mapping = read_mapping(describe(tmp_path, body))
    server.files[PATH] = body
    server.cut[PATH] = [5000, 700]
    fetch(mapping, tmp_path / "got", mirror=server.url)
    assert (tmp_path / "got" / "tiny" / "logs" / "wall 1.txt").read_bytes() == body
    assert server.asked == [(PATH, None), (PATH, "bytes=5000-"), (PATH, "bytes=5700-")]


def test_what_arrived_is_kept_for_the_next_attempt(tmp_path: Path, server: Server) -> None:
    body = table()
    mapping = read_mapping(describe(tmp_path, body))
    server.files[PATH] = body
    server.cut[PATH] = [100, 100, 100]
    with pytest.raises(InputError, match=f"ended after 300 of {len(body)} bytes"):
        fetch(mapping, tmp_path / "got", mirror=server.url)
    folder = tmp_path / "got" / "tiny" / "logs"
    assert [p.name for p in folder.iterdir()] == ["wall 1.txt.part"]
    fetch(mapping, tmp_path / "got", mirror=server.url)
    assert server.asked[-1] == (PATH, "bytes=300-")
    assert [p.name for p in folder.iterdir()] == ["wall 1.txt"]
    assert (folder / "wall 1.txt").read_bytes() == body


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_of_another_file_is_thrown_away(
    tmp_path: Path, server: Server, ranges: bool
) -> None:
    body = table()
    mapping = read_mapping(describe(tmp_path, body))
    server.files[PATH] = body
    server.ranges = ranges
    part = tmp_path / "got" / "tiny" / "logs" / "wall 1.txt.part"
    for left in (b"something else", b"z" * len(body), b"z" * (len(body) + 9)):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(left)
        part.with_suffix("").unlink(missing_ok=True)
        fetch(mapping, tmp_path / "got", mirror=server.url)
        assert (part.parent / "wall 1.txt").read_bytes() == body
        assert not part.exists()


def test_another_file_than_described(tmp_path: Path, server: Server) -> None:
    body = table()
    mapping = read_mapping(describe(tmp_path, body))
    server.files[PATH] = body.replace(b"41", b"14", 1)
    with pytest.raises(InputError, match=r"expected SHA-256 .*; got .*nothing was kept"):
        fetch(mapping, tmp_path / "got", mirror=server.url)
    assert list((tmp_path / "got" / "tiny" / "logs").iterdir()) == []


def test_a_file_that_is_not_there(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    describe(tmp_path, table())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WATTCAL_MIRROR", server.url)
    assert main(["datasets", "get", "tiny"]) == 3
    said = capsys.readouterr()
    assert "the server answers 404" in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_server_that_is_not_there(tmp_path: Path, server: Server) -> None:
    mapping = read_mapping(describe(tmp_path, table()))
    with pytest.raises(InputError, match=r"cannot fetch logs/wall 1.txt .*WATTCAL_DATA"):
        fetch(mapping, tmp_path / "got", mirror="http://127.0.0.1:1")


def test_a_table_that_we_derived_is_refused_with_its_recipe(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    body, derived = table(), b"gpu,gain\n"
    recipe = "it is sheet 3 of the authors' workbook as a table"
    extra = f"""
[[file]]
file = "ours.csv"
sha256 = "{hashlib.sha256(derived).hexdigest()}"
derived = "{recipe}"
"""
    path = describe(tmp_path, body, extra)
    server.files[PATH] = body
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WATTCAL_MIRROR", server.url)
    assert main(["datasets", "get", "tiny"]) == 0  # no run needs it
    assert f"ours.csv was not fetched: {recipe}" in capsys.readouterr().err
    assert [asked for asked, _ in server.asked] == [PATH]
    assert not (tmp_path / "wattcal-data" / "tiny" / "ours.csv").exists()
    # A run that needs it cannot be had, unless somebody has the file.
    path.write_text(path.read_text().replace('file = "logs/wall 1.txt"', 'file = "ours.csv"', 1))
    with pytest.raises(InputError, match=f"ours.csv cannot be fetched: {recipe}"):
        fetch(read_mapping(path), tmp_path / "other", mirror=server.url)
    (tmp_path / "stock" / "tiny").mkdir(parents=True)
    (tmp_path / "stock" / "tiny" / "ours.csv").write_bytes(derived)
    got = fetch(read_mapping(path), tmp_path / "other", data=tmp_path / "stock", mirror=server.url)
    assert "ours.csv" in got.copied


def test_a_name_that_nobody_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"No data set 'nothing'.*from a checkout"):
        find_mapping("nothing")
    with pytest.raises(InputError, match="--mapping"):
        find_mapping("../x")
    monkeypatch.setattr(datasets, "folders", lambda: (tmp_path / "datasets",))
    assert datasets.available() == ()
    assert main(["datasets", "list"]) == 0
    assert main(["datasets", "get"]) == 3


def test_the_list_names_every_description(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    describe(tmp_path, table())
    assert main(["datasets", "list", "--json"]) == 0
    names = [d["name"] for d in json.loads(capsys.readouterr().out)]
    assert names[0] == "tiny"
    assert {"gmt-mcp39f511-rapl", "power9-occ-psu-pdu", "gpu-pmdusb-nvidiasmi"} <= set(names)
