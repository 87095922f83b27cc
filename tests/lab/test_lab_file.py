"""lab.toml: what it says, and one sentence for each mistake in it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from calibration.bench import AmbientSensor, read_lab, same_serial
from calibration.errors import InputError, NotAvailable

WHOLE = """
operator = "A. Person"
reference = "wall"
[[meter]]
name = "wall"
address = "pzem-004t@/dev/ttyUSB0"
serial = "0417-22"
range_w = 2300
certificate = {id = "K-2217", issuer = "A Lab", issued = 2026-03-01, due = "2027-03-01"}
correction = {gain = 1.0021, u_gain = 0.0004, offset_w = -0.05, u_offset_w = 0.02}
[[meter]]
name = "plug"
address = "manual"
display = "0.1W"
accuracy = {of_reading = 0.02, absolute = 0.5, source = "leaflet"}
[[machine]]
name = "node7"
full_w = 420
host = "node7.lab"
[[machine]]
name = "node8"
[ambient]
sensor = "temp1_input"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "lab.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_that_a_laboratory_owns_is_read(tmp_path: Path) -> None:
    lab = read_lab(written(tmp_path, WHOLE))
    wall, plug = lab.meters
    assert wall.certificate is not None
    assert wall.correction is not None
    assert (wall.certificate.issued, wall.certificate.due) == (date(2026, 3, 1), date(2027, 3, 1))
    assert wall.correction.gain == 1.0021
    before, after = (wall.traceability(d) for d in (date(2027, 3, 1), date(2027, 3, 2)))
    assert (before["level"], before["expired"], after["expired"]) == ("manufacturer", False, True)
    assert plug.traceability(date.today())["level"] == "spec_only"
    assert plug.certificate is None
    assert lab.machine(None, "node7.lab") == lab.machines[0]
    assert lab.machine("node8", "elsewhere") == lab.machines[1]
    assert lab.machine(None, "elsewhere") is None
    assert (lab.operator, lab.reference, lab.ambient_sensor) == (
        "A. Person", "wall", Path("temp1_input"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('operator = "A. Person"', 'operatr = "A"', "unknown key 'operatr'; is operator meant?"),
        ("range_w = 2300", "range_w = -1", "range_w: expected a number above zero; got -1"),
        ('name = "plug"', 'name = "wall"', "two meters are called wall"),
        ('name = "node8"', 'name = "node7"', "two machines are called node7"),
        ('name = "plug"', 'name = "a plug"', "name: expected letters, digits"),
        ('address = "manual"', 'address = "ttyUSB0"', "address: expected MODEL@PORT, or manual"),
        ("issued = 2026-03-01", "issued = 2027-03-01", "due: expected a day after issued"),
        ('due = "2027-03-01"', 'due = "March"', "due: expected a day such as 2026-03-01"),
        ('id = "K-2217", ', "", "certificate: id is missing"),
        ('id = "K-2217"', 'id = "K", kind = "accredited"', "names its accreditation"),
        ("gain = 1.0021", "gain = 0.21", "gain: expected a factor near 1"),
        ("u_gain = 0.0004, ", "", "u_gain is missing"),
        ("u_gain = 0.0004", "u_gain = -1", "u_gain: expected a standard uncertainty"),
        ('sensor = "temp1_input"', "", "expected a sensor (a file), or prompt = true"),
        ("[ambient]", "[ambient", "expected TOML"),
        ('display = "0.1W"', "", "needs its display's step"),
        ('display = "0.1W"', 'display = "0.1"', "Expected the smallest step"),
        ('address = "manual"', 'address = "sdm120@/dev/x"', "knows its own"),
        ("of_reading = 0.02", "of_reading = 2", "a fraction such as 0.02 for 2 %"),
    ],
)
def test_a_mistake_is_one_clear_sentence(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in WHOLE
    path = written(tmp_path, WHOLE.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_lab(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_an_unknown_machine_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    lab = read_lab(written(tmp_path, WHOLE))
    with pytest.raises(InputError, match=r"--machine: expected one of .*node7, node8.*node9"):
        lab.machine("node9", "here")
    with pytest.raises(InputError, match="No such file"):
        read_lab(tmp_path / "absent.toml")


def test_another_meter_is_told_by_its_serial_number() -> None:
    assert same_serial("0417", {"serial": "417"})
    assert same_serial("0417", {"firmware": "1"}), "a meter that does not say may be the one"
    assert not same_serial("0417", {"serial_number": "418"})


def test_a_room_is_neither_an_oven_nor_a_broken_wire(tmp_path: Path) -> None:
    path = tmp_path / "temp1_input"
    path.write_text("22500\n")
    with_sensor = AmbientSensor(path)
    assert with_sensor.read().values == {"ambient_c": 22.5}
    path.write_text("85000\n")
    assert with_sensor.read().fault == "implausible"
    path.unlink()
    assert with_sensor.read().fault == "unreadable"
    with pytest.raises(NotAvailable, match="thousandths of a degree"):
        AmbientSensor(path)
