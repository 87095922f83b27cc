"""Cross-checks against software not written here: pyvisa-py asks our emulated WT310E, and our
driver asks an instrument of pyvisa-sim through the VISA transport."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import pyvisa

from drivers import open_meter
from drivers.emulators.yokogawa_wt import YokogawaWtEmulator
from drivers.errors import DeviceError, Implausible, OverRange, Refused, Timeout

ADDRESS = "wt310e@visa:TCPIP::10.0.0.7::INSTR?reply_s=0.3"
VALUES = "230.12E+00,1.5713E+00,345.00E+00,0.9541E+00"
# What a WT310E on 300 V and 2 A answers; the form of each reply as in the real transcripts.
DIALOGUES = {
    "*IDN?": "YOKOGAWA,WT310E,C3XX00000X,F1.04",
    ":COMM:REM ON;:COMM:HEAD OFF;:COMM:HEAD?": "0",
    ":INTEG:STATE?": "RES",
    ":INP:MODE RMS;:INP:MODE?": "RMS",
    ":INP:CFAC 3;:INP:CFAC?": "3",
    ":INP:VOLT:AUTO OFF;:INP:VOLT:RANG 300;:INP:VOLT:RANG?;:INP:VOLT:AUTO?": "300.0E+00;0",
    ":INP:CURR:AUTO OFF;:INP:CURR:RANG 2;:INP:CURR:RANG?;:INP:CURR:AUTO?": "2.0E+00;0",
    ":INP:FILT:LINE OFF;:INP:FILT:LINE?": "0",
    ":INP:FILT:FREQ ON;:INP:FILT:FREQ?": "1",
    ":MEAS:AVER:STATE OFF;:MEAS:AVER:STATE?": "0",
    ":RATE 1S;:RATE?": "1.0E+00",
    ":NUM:FORM ASCII;:NUM:FORM?": "ASC",
    ":NUM:NORM:NUM 4;:NUM:NORM:ITEM1 U,1;:NUM:NORM:ITEM2 I,1;:NUM:NORM:ITEM3 P,1;"
    ":NUM:NORM:ITEM4 LAMB,1;:NUM:NORM:NUM?": "4",
    ":NUM:NORM?": "4;URMS,1;IRMS,1;P,1;LAMB,1",
    ":STAT:ERR?": '0,"No error"',
    ":NUM:NORM:VAL?": VALUES,
}


def simulate(folder: Path, monkeypatch: pytest.MonkeyPatch, **changed: str | None) -> None:
    """Let pyvisa-sim answer; `changed` replaces answers by the beginning of their question."""
    dialogues = []
    for question, answer in DIALOGUES.items():
        for key, other in changed.items():
            if question.startswith(key.replace("_", ":")):
                answer = other or ""
        dialogues.append({"q": question, "r": answer} if answer else {"q": question})
    dialogues += [{"q": "*CLS"}, {"q": ":COMM:REM OFF"}]
    device = {
        "eom": {"TCPIP INSTR": {"q": "\n", "r": "\n"}},
        "delimiter": "|",  # it would answer each part of a message by itself
        "error": "ERROR",
        "dialogues": dialogues,
    }
    path = folder / "wt310e.yaml"
    path.write_text(
        json.dumps(  # which is YAML, too
            {
                "spec": "1.1",
                "devices": {"wt310e": device},
                "resources": {"TCPIP::10.0.0.7::INSTR": {"device": "wt310e"}},
            }
        )
    )
    monkeypatch.setenv("PYVISA_LIBRARY", f"{path}@sim")


def test_our_driver_reads_an_instrument_of_pyvisa_sim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path, monkeypatch)
    meter = open_meter(ADDRESS, current_range_a=2.0)
    assert meter.identify()["serial"] == "C3XX00000X"
    for _ in range(3):
        reading = meter.read()  # type: ignore[union-attr]
        assert reading.fault is None
        assert reading.values == {
            "voltage_v": 230.12,
            "current_a": 1.5713,
            "power_w": 345.0,
            "power_factor": 0.9541,
        }
    meter.close()


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"_INP_CURR": "5.0E+00;0"}, Refused, "Expected 2 0 .* the meter says 5.0E"),
        ({"_RATE": "ERROR"}, Refused, "the meter says ERROR"),
        ({"_STAT": '813,"Invalid operation during integration"'}, Refused, "the error 813"),
        ({"*IDN": "YOKOGAWA,WT310,C2XX00000X,F1.04"}, DeviceError, "Expected a WT310E"),
        ({"_NUM_NORM_VAL": "230.12E+00,INF,INF,NAN"}, OverRange, "Widen"),
        ({"_NUM_NORM_VAL": VALUES.replace("345", "245")}, Implausible, "not voltage times"),
        ({"_NUM_NORM_VAL": None}, Timeout, "no answer"),
    ],
)
def test_what_it_says_wrongly_is_a_fault(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, str | None],
    error: type[Exception],
    words: str,
) -> None:
    simulate(tmp_path, monkeypatch, **changed)
    meter = open_meter(ADDRESS, current_range_a=2.0)
    with pytest.raises(error, match=words):
        meter.read()  # type: ignore[union-attr]
    meter.close()


@pytest.fixture
def instrument() -> object:
    """Open our emulated WT310E with pyvisa-py, as a stranger would."""
    with YokogawaWtEmulator(345.0) as emulator:
        manager = pyvisa.ResourceManager("@py")
        resource = manager.open_resource(f"ASRL{os.path.realpath(emulator.path)}::INSTR")
        resource.read_termination, resource.write_termination = "\r\n", "\n"
        resource.timeout = 2000
        yield resource
        resource.close()
        manager.close()


def test_pyvisa_py_reads_our_emulated_instrument(
    instrument: pyvisa.resources.SerialInstrument,
) -> None:
    assert instrument.query("*IDN?") == "YOKOGAWA,WT310E,EMULATED01,F1.04"
    assert instrument.query(":MEAS:AVER:STATE?;:MEAS:AVER:TYPE?") == (
        ":MEAS:AVER 0;:MEAS:AVER:TYPE LIN"
    )
    for command in (":COMMUNICATE:HEADER OFF", ":num:norm:num 3", ":INPut:CURRent:RANGe 2"):
        instrument.write(command)
    assert instrument.query(":CFAC?;:CURR:RANG?;:CURR:AUTO?;:VOLT:RANG?;:VOLT:AUTO?") == (
        "3;2.0E+00;0;300.0E+00;0"
    )
    values = instrument.query_ascii_values(":NUMERIC:NORMAL:VALUE?")
    assert values[2] == pytest.approx(345.0)
    assert values[0] * values[1] * 0.95 == pytest.approx(345.0, rel=1e-3)
    instrument.write(":NO:SUCH:THING 1")
    assert instrument.query(":STAT:ERR?") == '113,"Undefined header;NO:SUCH:THING"'
    assert instrument.query(":STAT:ERR?") == '0,"No error"'
