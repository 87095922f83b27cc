"""The instruments that there are drivers for: rows of data, and nothing else.

Discovery asks them in this order; a family that takes single bytes as commands stands before one
whose questions hold such bytes.
"""

from __future__ import annotations

from typing import Final

from .entry import Entry, Evidence

__all__ = ["CATALOG"]

_WT300: Final = ".emulators.yokogawa_wt:YokogawaWtEmulator"
_BUS: Final = ("USB, LAN, GP-IB (visa:)",)
_WT310E: Final = "IM WT310E-17EN, IM WT310E-02EN"
_VISA: Final[tuple[Evidence, ...]] = (
    ("crosscheck", "tests/meters/test_yokogawa_visa.py (pyvisa-py, pyvisa-sim)"),
)
_WT200: Final = ".emulators.yokogawa_wt210:YokogawaWt210Emulator"

CATALOG: Final[tuple[Entry, ...]] = (
    *(
        Entry(
            model=model,
            family=family,
            manufacturer="Peacefair",
            interfaces=(interface, "socket://", "rfc2217://"),
            quantities=("voltage", "current", "power", "energy", "frequency", "power_factor"),
            driver=".meters.pzem004t:Pzem004t",
            emulator=".emulators.pzem004t:Pzem004tEmulator",
            evidence=(
                ("real", "tests/tapes/pzem004t_v3_field_readings.tape"),
                ("spec", "PZEM-004T V3.0 User Manual"),
                ("calc", "tests/wire/test_pzem004t_frames.py"),
                ("crosscheck", "tests/wire/test_other_clients.py (pymodbus, minimalmodbus)"),
                ("crosscheck", "tests/wire/test_other_servers.py (pymodbus)"),
            ),
            preset={"variant": model},
        )
        for model, family, interface in (
            ("pzem-004t", "PZEM-004T v3", "UART 5 V"),
            ("pzem-014", "PZEM-014", "RS-485"),
            ("pzem-016", "PZEM-016", "RS-485"),
        )
    ),
    Entry(
        model="pzem-004t-v1",
        family="PZEM-004T, first version",
        manufacturer="Peacefair",
        interfaces=("UART 5 V", "socket://", "rfc2217://"),
        quantities=("voltage", "current", "power", "energy"),
        driver=".meters.pzem004t_v1:Pzem004tV1",
        emulator=".emulators.pzem004t_v1:Pzem004tV1Emulator",
        evidence=(
            ("spec", "olehs/PZEM004T@0d6c138 PZEM004T.cpp"),
            ("calc", "tests/wire/test_pzem004t_v1_frames.py"),
        ),
    ),
    *(
        Entry(
            model=model,
            family=f"{model.upper()}-Modbus",
            manufacturer="Eastron",
            interfaces=("RS-485", "socket://", "rfc2217://"),
            quantities=(
                *("voltage", "current", "power", "apparent_power", "reactive_power"),
                *("power_factor", *angle, "frequency", "energy"),
            ),
            driver=".meters.sdm:EastronSdm",
            emulator=".emulators.sdm:SdmEmulator",
            evidence=(
                ("spec", "tests/wire/test_sdm_frames.py (the maker's printed frames)"),
                ("spec", "Eastron protocol documents, nmakel/sdm_modbus@fead352 documents/"),
                ("calc", f"tests/tapes/{model}_computed.tape"),
                ("crosscheck", "tests/wire/test_other_clients.py (pymodbus, minimalmodbus)"),
                ("crosscheck", "tests/wire/test_other_servers.py (pymodbus)"),
            ),
            preset={"variant": model},
        )
        for model, angle in (
            ("sdm120", ()),
            ("sdm220", ("phase_angle",)),
            ("sdm230", ("phase_angle",)),
            ("sdm630", ("phase_angle",)),
            ("sdm72d", ()),
        )
    ),
    *(
        Entry(
            model=model,
            family=f"{model.upper()} (DC, USB)",
            manufacturer="RDTech",
            interfaces=("Bluetooth SPP",),
            quantities=("voltage", "current", "power"),
            driver=".meters.um25c:Um25c",
            emulator=".emulators.um25c:Um25cEmulator",
            evidence=(
                ("spec", "libsigrok@883c2ac hardware/rdtech-um"),
                ("calc", "tests/wire/test_um25c_frames.py"),
            ),
            preset={"variant": model},
        )
        for model in ("um24c", "um25c", "um34c")
    ),
    *(
        Entry(
            model=model,
            family=model.upper(),
            manufacturer="Yokogawa",
            interfaces=("RS-232", *bus, "socket://", "rfc2217://"),
            quantities=("voltage", "current", "power", "power_factor"),
            driver=".meters.yokogawa_wt:YokogawaWt",
            emulator=emulator,
            evidence=(
                (
                    "real" if tape == "transcript" else "calc",
                    f"tests/tapes/yokogawa_{model}_{tape}.tape",
                ),
                ("spec", manuals),
                ("calc", "tests/wire/test_yokogawa_lines.py"),
                *own,
            ),
            preset={"variant": model},
        )
        for model, tape, emulator, bus, manuals, own in (
            ("wt310e", "transcript", _WT300, _BUS, _WT310E, _VISA),
            ("wt310", "computed", _WT300, _BUS, "IM WT310-17EN, IM WT310-02EN", ()),
            ("wt332e", "computed", _WT300, _BUS, _WT310E, ()),
            ("wt333e", "transcript", _WT300, _BUS, _WT310E, ()),
            ("wt210", "transcript", _WT200, ("GP-IB (visa:)",), "IM 760401-01E", ()),
        )
    ),
    Entry(
        model="hioki-3334",
        family="3334",
        manufacturer="Hioki",
        interfaces=("RS-232", "socket://", "rfc2217://"),
        quantities=("voltage", "current", "power", "power_factor"),
        driver=".meters.hioki3334:Hioki3334",
        emulator=".emulators.hioki3334:Hioki3334Emulator",
        evidence=(
            ("calc", "tests/tapes/hioki3334_computed.tape"),
            ("calc", "tests/wire/test_hioki3334_lines.py"),
        ),
    ),
    *(
        Entry(
            model=model,
            family=model.upper(),
            manufacturer="ZES Zimmer",
            interfaces=interfaces,
            quantities=("voltage", "current", "power"),
            driver=".meters.zes_lmg:ZesLmg",
            emulator=".emulators.zes_lmg:ZesLmgEmulator",
            evidence=(
                ("real", f"tests/tapes/zes_{model}_log.tape"),
                ("calc", "tests/wire/test_zes_lines.py"),
            ),
            preset={"variant": model},
        )
        for model, interfaces in (
            ("lmg95", ("RS-232", "socket://", "rfc2217://")),
            ("lmg670", ("socket://",)),
        )
    ),
    Entry(
        model="pmd-usb",
        family="PMD-USB",
        manufacturer="ElmorLabs",
        interfaces=("USB serial (CH340)",),
        quantities=("voltage", "current"),
        driver=".meters.pmd_usb:PmdUsb",
        emulator=".emulators.pmd_usb:PmdUsbEmulator",
        evidence=(
            ("real", "JimZeyuYang/GPU_Power_Benchmark@4b5c944 plotting/data/*/*/PMD_data.bin"),
            ("spec", "ElmorLabs/PMD-USB@7263a95 PMD/FormPMD.cs"),
        ),
        bridges=("1a86:7523",),
    ),
    Entry(
        model="powersensor3",
        family="PowerSensor3",
        manufacturer="ASTRON, NLeSC",
        interfaces=("USB CDC (STM32)",),
        quantities=("voltage", "current", "marker"),
        driver=".meters.powersensor3:PowerSensor3",
        emulator=".emulators.powersensor3:PowerSensor3Emulator",
        evidence=(
            ("spec", "nlesc-recruit/PowerSensor3@c5017f9 device/PowerSensor/PowerSensor.ino"),
            ("calc", "tests/wire/test_powersensor3_frames.py"),
            ("calc", "tests/tapes/powersensor3_computed.tape"),
        ),
        bridges=("0483:5740",),
    ),
    Entry(
        model="smartpower3",
        family="ODROID SmartPower 3",
        manufacturer="Hardkernel",
        interfaces=("USB serial",),
        quantities=("voltage", "current"),
        driver=".meters.smartpower3:SmartPower3",
        emulator=".emulators.smartpower3:SmartPower3Emulator",
        evidence=(
            ("spec", "hardkernel/smartpower3@ded7f0e, the firmware"),
            ("calc", "tests/wire/test_smartpower3_lines.py"),
            ("calc", "tests/tapes/smartpower3_computed.tape"),
        ),
    ),
    Entry(
        model="wattsup",
        family="Watts Up? PRO, PRO ES, .Net",
        manufacturer="EED",
        interfaces=("USB serial (FT232R)",),
        quantities=(
            "power",
            "voltage",
            "current",
            "energy",
            "power_factor",
            "frequency",
            "apparent_power",
        ),
        driver=".meters.wattsup:WattsUp",
        emulator=".emulators.wattsup:WattsUpEmulator",
        evidence=(
            ("real", "tests/tapes/wattsup_published_reading.tape"),
            ("spec", "Watts up? serial communication protocol, revision 4.41"),
            ("calc", "tests/wire/test_wattsup_packets.py"),
        ),
        bridges=("0403:6001",),
    ),
    Entry(
        model="powerspy2",
        family="PowerSpy2",
        manufacturer="Alciom",
        interfaces=("Bluetooth serial (RFCOMM)",),
        quantities=("power", "voltage", "current", "peak_voltage", "peak_current"),
        driver=".meters.powerspy2:PowerSpy2",
        emulator=".emulators.powerspy2:PowerSpy2Emulator",
        evidence=(
            ("spec", "green-coding-solutions/green-metrics-tool@2281f06 powerspy2.py"),
            ("crosscheck", "tests/wire/test_powerspy2_frames.py (reports in powerspy.py)"),
            ("calc", "tests/tapes/powerspy2_computed.tape"),
        ),
    ),
    Entry(
        model="pm-line",
        family="Microcontroller that speaks the pm line",
        manufacturer="anybody",
        interfaces=("USB serial", "UART", "socket://"),
        quantities=("voltage", "current"),
        driver=".meters.pm_line:PmLine",
        emulator=".emulators.pm_line:PmLineEmulator",
        evidence=(
            ("spec", "CONTRIBUTING.md, A meter of your own"),
            ("calc", "tests/wire/test_pm_line.py"),
            ("calc", "tests/tapes/pm_line_computed.tape"),
        ),
    ),
    # Behind those that take single bytes as commands: its questions hold some of them.
    *(
        Entry(
            model=model,
            family=model.upper(),
            manufacturer="Microchip",
            interfaces=interfaces,
            quantities=("voltage", "current", "power", "frequency", "power_factor"),
            driver=".meters.mcp39f511:Mcp39f511",
            emulator=".emulators.mcp39f511:Mcp39f511Emulator",
            evidence=(*evidence, ("calc", "tests/wire/test_mcp39f511_frames.py")),
            preset={"variant": model},
            bridges=bridges,
        )
        for model, interfaces, bridges, evidence in (
            (
                "mcp39f511n",
                ("USB (ADM00706, MCP2221)", "UART"),
                ("04d8:00dd",),
                (("spec", "green-coding-solutions/green-metrics-tool@86d4733 psu/energy/ac/mcp"),),
            ),
            (
                "mcp39f511",
                ("UART",),
                (),
                (
                    ("real", "tests/tapes/mcp39f511_without_mains.tape"),
                    ("spec", "Microchip forum m1140587; DS20005473"),
                ),
            ),
            (
                "mcp39f501",
                ("UART",),
                (),
                (
                    ("real", "tests/tapes/mcp39f501_real_answers.tape"),
                    ("spec", "arendst/Tasmota@20af465 xnrg_04_mcp39f501.ino"),
                ),
            ),
        )
    ),
    Entry(
        model="shelly",
        family="Gen2 and later: Switch and PM1 with power metering",
        manufacturer="Shelly",
        interfaces=("HTTP",),
        quantities=("voltage", "current", "power", "energy"),
        driver=".meters.shelly:Shelly",
        emulator=".emulators.shelly:ShellyEmulator",
        evidence=(
            ("real", "tests/tapes/shelly_gen2_published.tape"),
            ("spec", "shelly-api-docs.shelly.cloud/gen2, Switch, PM1, Shelly"),
        ),
    ),
    Entry(
        model="tasmota",
        family="plugs with the Tasmota firmware and power metering",
        manufacturer="various",
        interfaces=("HTTP",),
        quantities=("voltage", "current", "power", "energy", "power_factor"),
        driver=".meters.tasmota:Tasmota",
        emulator=".emulators.tasmota:TasmotaEmulator",
        evidence=(
            ("real", "tests/tapes/tasmota_published.tape"),
            ("spec", "tasmota.github.io/docs, Commands and JSON-Status-Responses"),
        ),
    ),
)
