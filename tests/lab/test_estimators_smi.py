"""nvidia-smi and rocm-smi: text that nobody here made, of twelve cards and eight versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import NotAvailable
from calibration.estimators.smi import SmiPower
from calibration.estimators.smi_text import parse_nvidia_smi, parse_rocm_smi

# Read by eye from the files: driver, name, powers, limit, MIG.
NVIDIA: dict[str, tuple[str | None, str, dict[str, float], float | None, bool | None]] = {
    "a100-sxm4-v12": ("535.54.03", "NVIDIA A100-SXM4-80GB", {"power_w": 67.03}, 500.0, True),
    "a10g": ("515.105.01", "NVIDIA A10G", {"power_w": 25.58}, 300.0, None),
    "gtx-1070-ti": (None, "GeForce GTX 1070 Ti", {}, None, None),
    "gtx-1660-ti": ("418.43", "Graphics Device", {"power_w": 8.93}, 130.0, None),
    "quadro-p2000-v12": ("525.125.06", "Quadro P2000", {"power_w": 4.61}, 75.0, None),
    "quadro-p400": ("418.43", "Quadro P400", {}, None, None),
    "rtx-3060-v12": (
        "570.124.04", "NVIDIA GeForce RTX 3060", {"instant_w": 11.63, "average_w": 11.60},
        170.0, None,
    ),
    "rtx-3080-v12": ("536.40", "NVIDIA GeForce RTX 3080", {"power_w": 22.78}, 336.0, None),
    "rtx-3080-v13": (
        "595.58.03", "NVIDIA GeForce RTX 3080", {"instant_w": 142.33, "average_w": 139.62},
        320.0, None,
    ),
    "rtx-3090-v12": ("525.147.05", "NVIDIA GeForce RTX 3090", {"power_w": 27.23}, 200.0, None),
    "rtx-4000-sff-ada-v13": (
        "595.84", "NVIDIA RTX 4000 SFF Ada Generation", {"instant_w": 8.44, "average_w": 8.81},
        70.0, None,
    ),
    "tesla-t4": ("515.105.01", "Tesla T4", {"power_w": 26.78}, 70.0, None),
}  # fmt: skip
ROCM: dict[str, tuple[str, list[float | None], str | None]] = {
    "mi100_rocm571": ("6.2.4", [39, 37, 35, 39, 39, 40], "Arcturus GL-XL [Instinct MI100]"),
    "mi100_rocm602": ("6.3.6", [36, 44, 43, 39], "Arcturus GL-XL [Instinct MI100]"),
    "rx6700xt_rocm430": ("6.3.6", [6], None),
    "rx6700xt_rocm571": ("6.3.6", [6], "Navi 22 [Radeon RX 6700/6700 XT / 6800M]"),
    "rx6700xt_rocm602": ("6.3.6", [None], "Navi 22 [Radeon RX 6700/6700 XT / 6800M]"),
    "rx6700xt_rocm612": ("6.3.6", [6], "Navi 22 [Radeon RX 6700/6700 XT / 6800M]"),
    "vega-10-XT": ("5.9.25", [15], None),
    "vega-20-WKS-GL-XE": ("5.9.17", [26], "Radeon Instinct MI50 32GB"),
}


@pytest.mark.parametrize("name", NVIDIA)
def test_nvidia_smi_of_twelve_cards_and_drivers(wattcal_data: Path, name: str) -> None:
    driver, model, powers, limit_w, mig = NVIDIA[name]
    file = wattcal_data / "driver-fixtures" / "nvidia-smi-xml" / f"{name}.xml"
    answer = parse_nvidia_smi(file.read_bytes())
    assert answer is not None
    assert answer.driver == driver
    (card,) = answer.cards
    assert (card.name, card.powers_w, card.limit_w, card.mig) == (model, powers, limit_w, mig)
    assert card.id.startswith("GPU-")


def test_no_card_is_left_out(wattcal_data: Path) -> None:
    folder = wattcal_data / "driver-fixtures"
    assert {f.stem for f in (folder / "nvidia-smi-xml").glob("*.xml")} == set(NVIDIA)
    assert {f.stem for f in (folder / "rocm-smi-json").glob("*.json")} == set(ROCM)


@pytest.mark.parametrize("name", ROCM)
def test_rocm_smi_of_eight_versions(wattcal_data: Path, name: str) -> None:
    driver, watts, model = ROCM[name]
    file = wattcal_data / "driver-fixtures" / "rocm-smi-json" / f"{name}.json"
    answer = parse_rocm_smi(file.read_bytes())
    assert answer is not None
    assert answer.driver == driver
    assert [c.powers_w.get("average_w") for c in answer.cards] == watts
    assert {c.name for c in answer.cards} == {model}
    assert len({c.id for c in answer.cards}) == len(watts)


@given(st.binary(max_size=300), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["card0", "card1", "system", "Card series",
                                       "Average Graphics Package Power (W)"]), inner, max_size=3),
    max_leaves=12,
))  # fmt: skip
def test_no_text_makes_the_parsers_fail(junk: bytes, document: Any) -> None:
    for answer in (junk, b"<nvidia_smi_log>" + junk, json.dumps(document).encode()):
        for parse in (parse_nvidia_smi, parse_rocm_smi):
            found = parse(answer)
            assert found is None or all(w >= 0 for c in found.cards for w in c.powers_w.values())


def card(uuid: str, watts: str) -> str:
    return (
        f'<gpu id="0"><product_name>T</product_name><uuid>{uuid}</uuid><gpu_power_readings>'
        f"<instant_power_draw>{watts}</instant_power_draw></gpu_power_readings></gpu>"
    )


def answering(folder: Path, text: str, name: str = "nvidia-smi") -> str:
    (folder / "answer").write_text(text)
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec cat "{folder}/answer"\n')
    program.chmod(0o755)
    return str(program)


def test_cards_are_added_and_one_without_a_sensor_is_named(tmp_path: Path) -> None:
    text = "<nvidia_smi_log>{}{}{}</nvidia_smi_log>"
    three = text.format(card("GPU-a", "100.50 W"), card("GPU-b", "20 W"), card("GPU-c", "N/A"))
    with SmiPower("nvidia-smi", program=answering(tmp_path, three)) as smi:
        descriptor = smi.descriptor()
        assert smi.read().values == {
            "nvml_w": 120.5, "GPU-a_instant_w": 100.5, "GPU-b_instant_w": 20.0,
        }  # fmt: skip
        assert [c.input for c in descriptor.channels] == ["nvml", None, None]
        assert descriptor.mode == "nvidia-smi power"
        assert descriptor.configuration["without_a_reading"] == ["GPU-c"]
        answering(tmp_path, text.format(card("GPU-a", "100 W"), card("GPU-b", "[GPU lost]"), ""))
        assert smi.read().fault == "missing GPU-b"
        answering(tmp_path, "Unable to determine the device handle")
        assert smi.read().fault == "unreadable"


def test_rocm_smi_is_an_input_of_its_own(tmp_path: Path) -> None:
    text = json.dumps(
        {"card0": {"Average Graphics Package Power (W)": "36.0", "PCI Bus": "0000:27:00.0"}}
    )
    with SmiPower("rocm-smi", program=answering(tmp_path, text, "rocm-smi")) as smi:
        assert smi.read().values == {"0000:27:00.0_average_w": 36.0, "rocm_smi_w": 36.0}


def test_what_tells_no_power_is_not_available(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="on PATH"):
        SmiPower("nvidia-smi", program=str(tmp_path / "nothing"))
    dumb = f"<nvidia_smi_log>{card('GPU-a', 'N/A')}</nvidia_smi_log>"
    with pytest.raises(NotAvailable, match="tells none of T"):
        SmiPower("nvidia-smi", program=answering(tmp_path, dumb))
    with pytest.raises(NotAvailable, match="NVIDIA-SMI has failed"):
        SmiPower("nvidia-smi", program=answering(tmp_path, "NVIDIA-SMI has failed"))
