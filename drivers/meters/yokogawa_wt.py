r"""Yokogawa WT310, WT310E, WT332E, WT333E and WT210: compact power analysers, 0.1 to 5 s updates.

Seen: no instrument of our own yet. The questions and answers of a WT310E, two WT333E and a WT210
in mlcommons/inference_results_v2.0@425a0d3 (SPEC PTDaemon 1.9.2), byte for byte; everything else
is from the manuals.

Sources: IM WT310E-17EN, IM WT310-17EN (commands, items, blocks), IM WT310E-02EN and IM WT310-02EN
(accuracy, ranges), IM 760401-01E (WT210); those transcripts; facts about integration, its states,
the register of errors and the WT210's items from intel/yoko-tool@650a35b and coolr-hpc/pycoolr.

Wire, RS-232 9600 8N1 without handshake, null-modem cable (1200 to 57600), or USB-TMC and VXI-11
through `visa:`; replies end CR LF on RS-232, LF elsewhere:

    :NUM:NORM:NUM 4;:NUM:NORM:ITEM1 U,1;...      (no reply)
    :NUM:NORM:VAL?    -> 230.12E+00,1.5713E+00,345.0E+00,0.9541E+00 CR LF
                         U          I          P         lambda      per element

A WT210 has to be in its mode 488.2 (front panel); it says `:CONF:` for `:INP:`, switches items on
and off by name (`:MEAS:ITEM:V ON`), answers `:MEAS:VAL?` in an order of its own (V, A, W, PF), and
names itself 760401.

One query asks for all items, one block of one update. Readings are the mean over the update
period `refresh_s`; the stamp lies at its end, up to one period before the answer.

Quirks
- A late answer shifts all later ones by one: after any failure the driver waits, asks `*IDN?` until
  that answer comes, and sets and reads back everything again before it reads on.
- Items, ranges and headers are as the last user left them: all are set here, and read back.
- Set commands have no reply; each is followed by its query in the same line.
- `NAN` stands for one item without data among valid ones: that quantity has no value in the
  reading, which carries the fault. `INF` in U, I or P is an over-range of the whole reading.
- A power below zero (more than 0.5 % of the range) is a fault: an input wired the wrong way round.
- While it changes its range by itself it delivers nothing or says `INF`, and its accuracy changes:
  ranges are fixed. `drivers.ranges` finds them.
- The integrator refuses changes of settings while it runs (error 813); one left running is stopped
  and reset first. One that stops by itself (TIMEUP) is a fault, and is started anew.
- `RATE` is set in the form 100MS, as one of the sources has it; its reply is read as a number.
- A WT210 writes 9.9E+37 for what is none. Its integrator is left alone: its state cannot be read
  without changing a setting. The WT230 is left out: nobody's transcript says how it answers items
  of several elements.
- Modbus/TCP (input registers 32001+2(X-1), float32, upper word first) is left out: no source at
  hand says how items, ranges and updates are set or read back over it.

Without a checksum a corrupted byte can be noticed only by what it says. Checked are: the grammar
of the line, the number of items, the separators, the weight of each last digit (it follows from the
range), what the range can hold, and |P| against U·I·|λ| within their rounding (of 3,100 samples
of the recorded testing runs none contradicts it). In a reading of 345 W on 300 V and 2 A 12 of
all 10,965 single corrupted bytes (0.11 %) change a value and are not noticed; they change the power
by 0.03 W at most. In a block of floats it is 1,080 of 4,080, and 0.05 W at most.
`tests/wire/test_yokogawa_lines.py` measures both.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from ..errors import DeviceError, DriverError, Held, OverRange, Refused, Unsupported
from ..held import HeldWatch
from ..ranges import Ranges, one_of
from ..reading import Channel, Reading
from ..scpi import Number, number, parse_block, units
from ..talk import Talk
from ..transport import Transport
from .yokogawa_commands import WT200, WT300, fixed
from .yokogawa_integrator import Integrator
from .yokogawa_lines import FORMATS, ITEMS, decode, decode_block, refuse_identity, refuse_values
from .yokogawa_tables import BY_DEFAULT, MODELS, Settings, channels, ranges_of

__all__ = ["FORMATS", "YokogawaWt"]

_ENERGY: Final = "WH"
_PERIODS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class YokogawaWt:
    """One instrument on one line.

    `voltage_range_v`, `current_range_a`, `crest_factor`, `line_filter` and `frequency_filter` are
    set, and read back. `refresh_s` is the update period, 0.1, 0.25, 0.5, 1, 2 or 5 s. `elements` is
    how many inputs are read. `sync` makes every reading wait for the next update. `integrate` adds
    the meter's own watt-hours, started with the first reading, as the counter `energy_j`. `binary`
    asks for floats in a block: half the bytes, for short updates on a slow line.
    """

    baud = 9600

    def __init__(
        self,
        transport: Transport,
        *,
        variant: str = "wt310e",
        voltage_range_v: float = 300.0,
        current_range_a: float = 5.0,
        crest_factor: int = 3,
        line_filter: bool = False,
        frequency_filter: bool = True,
        refresh_s: float = 1.0,
        elements: int = 1,
        sync: bool = False,
        integrate: bool = False,
        binary: bool = False,
        reply_s: float = 1.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.model = variant
        self._model = MODELS[variant]
        self.voltage_ranges_v, self.current_ranges_a = ranges_of(self._model, crest_factor)
        self._settings = Settings(
            voltage_range_v,
            current_range_a,
            crest_factor,
            line_filter,
            refresh_s,
            elements,
            integrate,
            sync,
            frequency_filter,
            binary,
        )
        one_of("voltage_range_v", voltage_range_v, self.voltage_ranges_v)
        one_of("current_range_a", current_range_a, self.current_ranges_a)
        one_of("refresh_s", refresh_s, _PERIODS_S)
        one_of("elements", elements, range(1, self._model.elements + 1))
        if integrate and elements > 1:
            raise Unsupported("Expected integrate with one element; the sum has no item.")
        self._dialect = WT200 if variant == "wt210" else WT300
        if (integrate or sync or binary) and not self._dialect.rich:
            raise Unsupported(f"The {variant} is read without integrate, sync and binary.")
        self.channels: tuple[Channel, ...] = channels(self._model, self._settings)
        self._transport = transport
        self._talk = Talk(transport, refuse_identity, reply_s=reply_s, now_ns=now_ns)
        items = [f"{i},{e}" for e in range(1, elements + 1) for i in ITEMS]
        self._items = (*items, f"{_ENERGY},1") if integrate else tuple(items)
        self._ready = False
        self._held = HeldWatch(
            [c.name for c in self.channels if c.kind == "mean"], refresh_s=refresh_s
        )
        steps = [c.resolution for c in self.channels if c.kind == "counter"]
        self._integrator = Integrator(self._talk, transport, step_j=sum(steps), now_ns=now_ns)

    @staticmethod
    def channels_of(variant: str) -> tuple[Channel, ...]:
        """Return what a model delivers as it is set by default."""
        return channels(MODELS[variant], BY_DEFAULT)

    def who(self) -> Mapping[str, str]:
        """Ask who it is, and set nothing.

        Raises:
            DeviceError: another instrument answers.

        """
        identity = self._talk.resynchronise()
        _, name, serial, firmware = identity.split(",")
        if name != self._model.identity:
            raise DeviceError(f"Expected a {self._model.identity}; {identity!r} answers.")
        return {"model": self.model, "identity": name, "serial": serial, "firmware": firmware}

    def identify(self) -> Mapping[str, str]:
        """Ask who it is, set everything and read it back."""
        settings = self._settings
        return {
            **self._prepare(),
            "voltage_range_v": f"{settings.voltage_range_v:g}",
            "current_range_a": f"{settings.current_range_a:g}",
            "crest_factor": str(settings.crest_factor),
            "mode": "RMS",
            "line_filter": "on" if settings.line_filter else "off",
            "frequency_filter": "on" if settings.frequency_filter else "off",
            "averaging": "off",
            "refresh_s": f"{settings.refresh_s:g}",
            "items": " ".join(self._items),
        }

    def read(self) -> Reading:
        """Take one reading of all items.

        Raises:
            Timeout, Desync: no answer; before the next reading everything is set and read back.
            OverRange, Implausible, Held, CounterReset: an answer without a trustworthy value.
            DeviceError: another instrument answers, or it does not take its settings.

        """
        if self._talk.again or not self._ready:
            self._prepare()
        question, longer_s = self._dialect.values, 0.0
        if self._settings.sync:
            self._talk.text(":STAT:EESR?")  # reading it clears it
            question, longer_s = f":COMM:WAIT 1;{question}", 1.5 * self._settings.refresh_s
        if self._settings.binary:
            answer = self._talk.exchange(question, parse_block, longer_s=longer_s)
            values, fault = decode_block(answer.payload, self._settings)
        else:
            answer = self._talk.ask(question, self._refuse, longer_s=longer_s)
            values, fault = decode(answer.payload.decode("ascii"), self._settings)
        self._held.check(answer.t_reply_ns, values)
        if "energy_j" in values:
            try:
                self._integrator.check(
                    answer.t_reply_ns, values["energy_j"], values.get("power_w", 0.0)
                )
            except Held:
                self._ready = False  # start it anew before the next reading
                raise
        return Reading(answer.t_request_ns, answer.t_reply_ns, values, fault)

    def ranges(self) -> Ranges:
        """Read the ranges back."""
        node = self._dialect.node
        parts = (f"{node}:{q}:{what}?" for q in ("VOLT", "CURR") for what in ("RANG", "AUTO"))
        volt, volt_auto, amp, amp_auto = self._talk.numbers(";".join(parts), 4)
        return Ranges(volt, amp, volt_auto != 0, amp_auto != 0)

    def set_ranges(self, ranges: Ranges) -> None:
        """Set ranges outside a measurement; fixed ones also for the readings that follow.

        Raises:
            Refused: the instrument does not take them.
            Unsupported: there are no such ranges.

        """
        self._ready = False  # the next reading sets and reads back everything
        if not (ranges.voltage_auto or ranges.current_auto):
            one_of("voltage_range_v", ranges.voltage_v, self.voltage_ranges_v)
            one_of("current_range_a", ranges.current_a, self.current_ranges_a)
            self._settings = replace(
                self._settings,
                voltage_range_v=ranges.voltage_v,
                current_range_a=ranges.current_a,
            )
            self.channels = channels(self._model, self._settings)
        node = self._dialect.node
        for quantity, size, auto in (
            ("VOLT", ranges.voltage_v, ranges.voltage_auto),
            ("CURR", ranges.current_a, ranges.current_auto),
        ):
            set_to = f"{node}:{quantity}:AUTO ON;" if auto else fixed(node, quantity, size)
            self._talk.agree(set_to, f"{node}:{quantity}:AUTO?", ("1" if auto else "0",))

    def read_extremes(self) -> tuple[float, float]:
        """Return the largest voltage (V) and current (A) of the elements, on whatever range.

        Raises:
            OverRange: there is no number for one of them, as happens while a range changes.

        """
        if self._talk.again:
            self._talk.resynchronise()
        as_text = ":NUM:FORM ASCII;" if self._settings.binary else ""
        answer = self._talk.ask(f"{as_text}{self._dialect.values}", self._refuse)
        fields = [number(field) for field in answer.payload.decode("ascii").split(",")]
        per_element = len(ITEMS)
        seen = list[float]()
        for first in (0, 1):
            row = fields[first : per_element * self._settings.elements : per_element]
            good = [f.value for f in row if isinstance(f, Number)]
            if len(good) < len(row):
                raise OverRange("Expected voltages and currents; the range is being changed.")
            seen.append(max(good))
        return seen[0], seen[1]

    def close(self) -> None:
        """Stop the integrator, unlock the keys and give the port back."""
        with contextlib.suppress(DriverError):
            self._integrator.stop()
            if self._ready:
                self._talk.tell(":COMM:REM OFF")
        self._ready = False
        self._transport.close()

    def __enter__(self) -> YokogawaWt:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _prepare(self) -> Mapping[str, str]:
        """Find the common question again, set everything, read it back; return who it is."""
        self._ready = False
        identity = self.who()
        self._talk.tell("*CLS")
        self._talk.agree(":COMM:REM ON;:COMM:HEAD OFF;", ":COMM:HEAD?", ("0",))
        running = self._integrator.goes_on()
        if self._dialect.rich and not running:
            self._integrator.reset()
        for set_to, question, wanted in self._dialect.wanted(self._settings, self._items):
            self._talk.agree("" if running else set_to, question, wanted)
        if self._dialect.items is not None:
            self._check_items(self._dialect.items)
        if self._settings.integrate and not running:
            self._integrator.start()
        error = self._talk.text(":STAT:ERR?")
        if not error.startswith("0,"):
            raise Refused(f"The meter reports the error {error}.")
        self._ready = True
        return identity

    def _refuse(self, text: str) -> str | None:
        return refuse_values(text, len(self._items))

    def _check_items(self, question: str) -> None:
        """See that the items are those asked for: the meter says URMS where U was set."""
        found = units(self._talk.text(question))
        names = [",".join(unit.fields) for unit in found[1:]][: len(self._items)]
        short = tuple(n.replace("RMS,", ",").upper() for n in names)
        if short != self._items:
            raise Refused(f"Expected the items {' '.join(self._items)}; the meter has {names}.")
