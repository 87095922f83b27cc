"""Reading one stream of a mapping: its file, its clock, its channels."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..errors import InputError
from .documents import ChannelInfo, Derived
from .mapping import TIME_UNITS, ChannelMapping, Column, StreamMapping, TimeMapping
from .toml_table import Table
from .units import QUANTITY_OF_SI, TO_SI, si_factor

__all__ = [
    "Hashes",
    "conditions",
    "identifier",
    "read_file",
    "read_stream",
    "read_time",
    "relative",
    "sha256",
]

Hashes: TypeAlias = dict[str, str | None]

_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MISSING: Final = ("", "nan", "NaN", "NAN", "NA", "N/A", "[N/A]", "null", "None")


def identifier(table: Table, key: str) -> str:
    """Return a name that can be a file and a column."""
    value = str(table.text(key))
    if not _ID.fullmatch(value):
        raise table.wrong(key, "letters, digits, '_', '.' and '-'")
    return value


def relative(table: Table, key: str) -> str:
    """Return a path that stays inside the data set's folder."""
    value = str(table.text(key))
    if value.startswith("/") or ".." in Path(value).parts:
        raise table.wrong(key, "a path inside the data set's folder")
    return value


def sha256(table: Table) -> str | None:
    """Return the hash that a table gives its file, if it does."""
    value: str | None = table.text("sha256", None)
    if value is not None and not _SHA256.fullmatch(value):
        raise table.wrong("sha256", "64 hexadecimal digits in lower case")
    return value


def conditions(table: Table) -> tuple[tuple[str, str], ...]:
    """Return the rows that belong to a run, as (column, text)."""
    values = table.plain("where")
    if not all(isinstance(v, str) for v in values.values()):
        raise table.wrong("where", "a table of column = text")
    return tuple(values.items())


def read_file(table: Table, hashes: Hashes) -> str:
    """Return the name of a table's file and note its hash."""
    file, digest = relative(table, "file"), sha256(table)
    if digest is not None and hashes.get(file) not in (None, digest):
        raise InputError(f"{table.where}: {file} is given two different sha256.")
    hashes[file] = digest or hashes.get(file)
    return file


def read_stream(
    given: Table,
    templates: dict[str, dict[str, Any]],
    hashes: Hashes,
    where: tuple[tuple[str, str], ...] = (),
) -> StreamMapping:
    """Read one stream, with what its template adds."""
    table = _with_template(given, templates)
    data_format = table.choice("format", ("columns", "csv", "tsv", "pmd-usb"))
    time = read_time(table.table("time"), raw=data_format == "pmd-usb")
    stream_id = identifier(table, "id")
    channels = tuple(_channel(t, data_format, time) for t in table.tables("channel"))
    if not channels:
        raise InputError(f"{table.where}: expected at least one channel; there is none.")
    file = read_file(table, hashes)
    identity = table.plain("identity")
    if not all(isinstance(v, str) for v in identity.values()):
        raise table.wrong("identity", "a table of texts")
    role = table.choice("role", ("meter", "estimator", "sensor"))
    stream = StreamMapping(
        id=stream_id,
        role=role,
        boundary=table.text("boundary", None),
        file=file,
        format=data_format,
        time=time,
        channels=channels,
        derived=tuple(_derived(t) for t in table.tables("derived")),
        source=table.text("source"),
        mode=table.text("mode", None),
        scope=table.texts("scope"),
        cadence_s=table.positive("cadence_s", None),
        configuration=table.plain("configuration"),
        identity=identity,
        missing=table.texts("missing", _MISSING),
        last_line=table.choice("last_line", ("error", "keep", "drop"), "error"),
        where=where + conditions(table),
    )
    if role == "meter" and stream.boundary is None:
        raise InputError(
            f"{table.where}: boundary is missing; expected what the meter measures, for example "
            "psu_ac_input or board_input."
        )
    table.done()
    return stream


def _with_template(given: Table, templates: dict[str, dict[str, Any]]) -> Table:
    name = given.text("template", None)
    own = {k: v for k, v in given.items() if k != "template"}
    if name is None:
        return Table(own, given.where)
    if name not in templates:
        raise given.wrong("template", f"one of {', '.join(templates) or 'none (there are none)'}")
    merged = {**templates[name], **own}
    # Two tables of the same name are merged too, so that a stream may add one key to its clock.
    for key in templates[name].keys() & own.keys():
        if isinstance(own[key], dict) and isinstance(templates[name][key], dict):
            merged[key] = {**templates[name][key], **own[key]}
    return Table(merged, given.where)


def read_time(table: Table, *, raw: bool) -> TimeMapping:
    """Read the clock of a file; `raw` is that of a byte stream."""
    form = table.text("format", None)
    epoch = table.choice("epoch", ("unix", "none"), "unix")
    zone = table.text("timezone", "UTC")
    begin = table.column("begin_column", None)
    window = table.choice("window", ("since_previous",), None)
    length = table.column("window_column", None)
    if sum(w is not None for w in (begin, window, length)) > 1:
        raise table.wrong("window", "one of window, window_column and begin_column, not two")
    time = TimeMapping(
        column=None if raw else table.column("column"),
        begin_column=begin,
        unit=None if form is not None else table.choice("unit", TIME_UNITS),
        format=form,
        epoch=epoch,
        zone_s=_zone_s(table, zone, form),
        offset_s=table.number("offset_s", 0.0),
        stamp_at=table.choice("stamp_at", ("start", "middle", "end"), "end"),
        window=window,
        window_column=length,
        backwards=table.choice("backwards", ("error", "drop"), "error"),
        start_file=relative(table, "start_file") if raw else None,
        tick_rate_hz=table.positive("tick_rate_hz") if raw else None,
    )
    table.done()
    return time


def _zone_s(table: Table, zone: str, form: str | None) -> int:
    """Return seconds east of UTC; a number since the unix epoch has no time zone."""
    if zone == "UTC":
        return 0
    match = _ZONE.fullmatch(zone)
    if match is None or form is None:
        expected = "UTC or an offset such as +01:00" if form is not None else "UTC"
        raise table.wrong("timezone", f"{expected} (a local time that is put forward is ambiguous)")
    sign = 1 if match[1] == "+" else -1
    return sign * (3600 * int(match[2]) + 60 * int(match[3]))


def _channel(table: Table, data_format: str, time: TimeMapping) -> ChannelMapping:
    unit = table.choice("unit", TO_SI)
    kind = table.choice("kind", ("counter", "mean", "instant", "increment"))
    si_unit = si_factor(unit)[0]
    increment = kind == "increment"
    if (increment or kind == "counter") and si_unit != "J":
        raise table.wrong("unit", f"a unit of energy for kind {kind}")
    scale = table.fraction("scale", Fraction(1))
    raw = data_format == "pmd-usb"
    window_s = table.positive("window_s", None)
    own_window = (time.window, time.window_column, time.begin_column) != (None, None, None)
    if kind == "mean" and window_s is None and not own_window:
        raise InputError(
            f"{table.where}: window_s is missing; a mean needs its averaging window, here or as "
            "window, window_column or begin_column of the time."
        )
    plausible = _pair(table, "plausible")
    info = ChannelInfo(
        name=identifier(table, "name"),
        quantity=table.text("quantity", QUANTITY_OF_SI[si_unit]),
        unit=unit,
        kind="counter" if increment else kind,
        window_s=window_s,
        stamp_at=time.stamp_at,
        resolution=table.number("resolution", None),
        accuracy=_accuracy(table),
        wrap=table.positive("wrap", None),
        scale=(scale.numerator, scale.denominator) if raw else None,
        observed_share=table.number("observed_share", 1.0),
        plausible=None if increment else plausible,
        range_max=table.number("range_max", None),
        input=table.text("input", None),
        assumed=table.texts("assumed"),
    )
    mapping = ChannelMapping(
        columns=_columns(table, info.name, data_format),
        scale=scale,
        increment=increment,
        plausible=plausible,
        info=info,
    )
    table.done()
    return mapping


def _columns(table: Table, name: str, data_format: str) -> tuple[Column, ...]:
    several = table.get("columns", (list,), "a list of columns to add up", None)
    if several is None:
        default: Any = name if data_format == "pmd-usb" else None
        single = table.column("column", default)
        if single is None:
            raise InputError(f"{table.where}: column is missing; expected where {name} stands.")
        return (single,)
    if "column" in table or not several or not all(type(c) in (str, int) for c in several):
        raise table.wrong("columns", "either column, or columns as a list of names or numbers")
    if data_format == "pmd-usb":
        raise table.wrong("columns", "one column each; sums are said by derived")
    return tuple(several)


def _pair(table: Table, key: str) -> tuple[float, float] | None:
    value = table.get(key, (list,), "a list of two numbers", None)
    if value is None:
        return None
    # TOML has `nan`, in whose range everything lies, and `inf`, which JSON cannot hold.
    numbers = len(value) == 2 and all(type(v) in (int, float) and math.isfinite(v) for v in value)
    if not numbers or value[0] >= value[1]:
        raise table.wrong(key, "a list of two numbers, the smaller one first")
    return float(value[0]), float(value[1])


def _accuracy(table: Table) -> dict[str, Any] | None:
    inner = table.table("accuracy", None)
    if inner is None:
        return None
    values = {
        "of_reading": inner.number("of_reading", 0.0),
        "of_range": inner.number("of_range", 0.0),
        "counts": inner.number("counts", 0.0),
        "absolute": inner.number("absolute", 0.0),
        "source": inner.text("source"),
        "assumed": inner.flag("assumed", False),
    }
    inner.done()
    return values


def _derived(table: Table) -> Derived:
    terms = table.get("terms", (list,), "a list of lists of channel names")
    good = terms and all(
        isinstance(t, list) and t and all(isinstance(n, str) for n in t) for t in terms
    )
    if not good:
        raise table.wrong("terms", "a list of lists of channel names")
    unit = table.choice("unit", TO_SI)
    derived = Derived(
        channel=ChannelInfo(
            name=identifier(table, "name"),
            quantity=table.text("quantity", QUANTITY_OF_SI[si_factor(unit)[0]]),
            unit=unit,
            kind=table.choice("kind", ("counter", "mean", "instant")),
            window_s=table.positive("window_s", None),
            resolution=table.number("resolution", None),
            accuracy=_accuracy(table),
            plausible=_pair(table, "plausible"),
            range_max=table.number("range_max", None),
            input=table.text("input", None),
            assumed=table.texts("assumed"),
        ),
        terms=tuple(tuple(t) for t in terms),
    )
    table.done()
    return derived
