"""From whatever a source holds to the contract's types: numbers, times, labels, ids, categories."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudfl.data.origin import Origin

TIME = pa.timestamp("us")
EARLIEST = datetime(1990, 1, 1)
LATEST = datetime(2100, 1, 1)
MISSING_WORDS = ("nan", "na", "n/a", "null", "none", "")

# Seconds, milliseconds and microseconds since 1970 cannot be taken for one another between 1990 and 2100.
_EPOCH_UNITS = (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
_INTEGER_TEXT = r"^(0|-?[1-9][0-9]{0,18})$"


def _first(mask: Any) -> int | None:
    """Position of the first true value, or None."""
    position = pc.index(pc.fill_null(mask, False), True).as_py()
    return None if position < 0 else int(position)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undoes dictionary encoding and the less usual text types, UUIDs among them."""
    if isinstance(column.type, pa.UuidType):
        return pa.chunked_array(
            [pa.array([None if one is None else str(one) for one in column.to_pylist()], pa.string())]
        )
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


def _first_failure(column: pa.ChunkedArray, convert: Callable[[pa.ChunkedArray], object]) -> int:
    """Finds the first value that `convert` refuses, by halving; reads each value about twice."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(column.slice(low, middle - low))
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def refuse_missing(column: pa.ChunkedArray, origin: Origin, name: str, *, advice: str) -> None:
    """Raises SchemaError at the first null."""
    if column.null_count:
        row = _first(column.is_null())
        raise origin.error(name, row or 0, "is missing", expected="a value in every row", advice=advice)


def _text_to_number(column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    text = pc.utf8_trim_whitespace(column)
    if decimal != ".":
        # A dot beside a decimal comma is a thousands mark or a mistake: let the cast refuse it rather than guess.
        text = pc.replace_substring(pc.replace_substring(text, ".", "?"), decimal, ".")
    missing = pc.is_in(pc.utf8_lower(text), value_set=pa.array(MISSING_WORDS))
    return pc.if_else(missing, pa.scalar(None, pa.string()), text).cast(pa.float64())


def to_number(column: pa.ChunkedArray, origin: Origin, name: str, *, decimal: str = ".") -> pa.ChunkedArray:
    """Makes float64 of numbers, booleans and text that spells numbers.

    Args:
        column: Any type.
        decimal: Decimal mark of text.

    Returns:
        float64 without nulls: a missing value is NaN.

    Raises:
        SchemaError: at the first text that is no number, or when the type cannot be a number.
    """
    column = _plain(column)
    if pa.types.is_string(column.type):
        try:
            number = _text_to_number(column, decimal)
        except pa.ArrowInvalid as error:
            row = _first_failure(column, lambda part: _text_to_number(part, decimal))
            raise _not_a_number(column[row].as_py(), origin, name, row) from error
    elif pa.types.is_boolean(column.type):
        number = column.cast(pa.int8()).cast(pa.float64())
    elif pa.types.is_null(column.type) or pa.types.is_decimal(column.type) or _is_numeric(column.type):
        number = column.cast(pa.float64(), safe=False)
    else:
        found = f"is of type {column.type}"
        raise origin.error(name, 0, found, expected="a number", advice="Map another column, or convert it.")
    return number.fill_null(float("nan"))


def _not_a_number(value: str, origin: Origin, name: str, row: int) -> Exception:
    advice = "Clean the file, or map another column."
    if re.fullmatch(r"\s*-?\d+,\d+\s*", value):
        advice = 'Set `decimal: ","` in the source, or clean the file.'
    elif re.fullmatch(r"\s*-?\d+\.\d+\s*", value):
        advice = 'Set `decimal: "."` in the source, or clean the file.'
    elif re.search(r"\d[.,\s]\d{3}[.,\s]", value):
        advice = "Remove the thousands marks."
    return origin.error(name, row, f"holds text ({_show(value)})", expected="a number", advice=advice)


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def refuse_infinite(column: pa.ChunkedArray, origin: Origin, name: str, *, missing_allowed: bool) -> None:
    """Raises SchemaError at the first infinite number, and at the first NaN unless missing values are allowed."""
    values = column.to_numpy()
    bad = np.isinf(values) if missing_allowed else ~np.isfinite(values)
    if bad.any():
        row = int(bad.argmax())
        found = "is missing (NaN)" if np.isnan(values[row]) else f"holds {values[row]}"
        advice = "Clean the file, or leave such rows out."
        raise origin.error(name, row, found, expected="a finite number", advice=advice)


def to_time(column: pa.ChunkedArray, origin: Origin, name: str, *, layout: str | None = None) -> pa.ChunkedArray:
    """Makes naive UTC times of timestamps, dates, ISO 8601 text, and whole seconds (or ms, us, ns) since 1970.

    Args:
        column: Any type.
        layout: strptime format of text; ISO 8601 when absent.

    Returns:
        timestamp[us]; zoned times are moved to UTC, others are taken as UTC. Nulls stay.

    Raises:
        SchemaError: at the first value that is no time.
    """
    column = _plain(column)
    if pa.types.is_string(column.type):
        return _text_to_time(column, origin, name, layout)
    if pa.types.is_timestamp(column.type):
        return _to_microseconds(column, origin, name).cast(TIME)
    if pa.types.is_date(column.type) or pa.types.is_null(column.type):
        return column.cast(TIME)
    if _is_numeric(column.type):
        return _epoch_to_time(column, origin, name)
    advice = "Map another column, or convert it."
    raise origin.error(name, 0, f"is of type {column.type}", expected="a time", advice=advice)


def _to_microseconds(column: pa.ChunkedArray, origin: Origin, name: str) -> pa.ChunkedArray:
    """Changes the unit; only nanoseconds lose digits, and only coarse units can overflow."""
    kind = pa.timestamp("us", column.type.tz)
    exact = column.type.unit != "ns"
    try:
        return column.cast(kind, safe=exact)
    except pa.ArrowInvalid as error:
        row = _first_failure(column, lambda part: part.cast(kind))
        found = (
            f"holds a time out of all bounds ({column.slice(row, 1).cast(pa.int64())[0].as_py()} {column.type.unit})"
        )
        advice = "Check the unit, or clean the file."
        raise origin.error(name, row, found, expected="a time between 1990 and 2100", advice=advice) from error


def _epoch_to_time(column: pa.ChunkedArray, origin: Origin, name: str) -> pa.ChunkedArray:
    # The middle value tells the unit, so that one wild value is the one refused later, and not all the others.
    middle = pc.approximate_median(column).as_py() or 0
    low, high = EARLIEST.replace(tzinfo=UTC).timestamp(), LATEST.replace(tzinfo=UTC).timestamp()
    for unit, scale in _EPOCH_UNITS:
        if low * scale <= middle <= high * scale:
            if pa.types.is_floating(column.type):
                column = pc.if_else(pc.is_finite(column), pc.round(pc.multiply(column, 1e6 / scale)), None)
                unit = "us"
            moments = column.cast(pa.int64(), safe=False).cast(pa.timestamp(unit))
            return _to_microseconds(moments, origin, name)
    row = _first(column.is_valid()) or 0
    advice = "Set `time_format`, or map a column that holds times."
    raise origin.error(name, row, f"holds {column[row].as_py()}", expected="a time", advice=advice)


def _text_to_time(column: pa.ChunkedArray, origin: Origin, name: str, layout: str | None) -> pa.ChunkedArray:
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if layout is not None:
        return _parse_layout(column, origin, name, layout)
    furthest = 0
    for parse in (_iso, _zoned, _whole_numbers):
        try:
            parsed = parse(column)
        except pa.ArrowInvalid:
            furthest = max(furthest, _first_failure(column, parse))
        else:
            return _epoch_to_time(parsed, origin, name) if pa.types.is_integer(parsed.type) else parsed
    row = furthest  # the reading that got furthest is the one that was meant
    expected = "a time like 2025-01-31 13:45:00, the same with a zone, or seconds since 1970"
    found = f"holds text ({_show(column[row].as_py())})"
    raise origin.error(
        name, row, found, expected=expected, advice="Set `time_format` in the source, or clean the file."
    )


def _iso(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(TIME)


def _zoned(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.timestamp("us", "UTC")).cast(TIME)


def _whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.int64())


def _parse_layout(column: pa.ChunkedArray, origin: Origin, name: str, layout: str) -> pa.ChunkedArray:
    # Imported on use: few sources need it, and a bank's daemon never does.
    import pandas as pd

    try:
        parsed = pd.to_datetime(pd.Series(column.to_pylist()), format=layout, errors="coerce", utc=True)
    except ValueError as error:
        raise origin.refusal(
            f"`time_format` {layout!r} cannot be used ({error})",
            expected="a strptime format",
            advice="Correct it, or leave it out for ISO 8601.",
        ) from error
    times = pa.chunked_array([pa.Array.from_pandas(parsed.dt.tz_localize(None), type=TIME, safe=False)])
    row = _first(pc.and_(times.is_null(), column.is_valid().combine_chunks()))
    if row is not None:
        found = f"holds text ({_show(column[row].as_py())})"
        advice = "Correct `time_format` in the source, or clean the file."
        raise origin.error(name, row, found, expected=f"a time as {layout!r}", advice=advice)
    return times


def refuse_absurd(column: pa.ChunkedArray, origin: Origin, name: str) -> None:
    """Raises SchemaError at the first time before 1990 or after 2100."""
    low, high = pa.scalar(EARLIEST, TIME), pa.scalar(LATEST, TIME)
    row = _first(pc.or_(pc.less(column, low), pc.greater(column, high)))
    if row is not None:
        # Taken as text: a wild value may be outside what Python's datetime can hold.
        found = f"holds {column.slice(row, 1).cast(pa.string())[0].as_py()}"
        advice = "Check the unit and `time_format`, or clean the file."
        raise origin.error(name, row, found, expected="a time between 1990 and 2100", advice=advice)


def to_label(column: pa.ChunkedArray, origin: Origin, name: str) -> pa.ChunkedArray:
    """Makes int8 in {0, 1} of 0/1 numbers, booleans and their texts.

    Raises:
        SchemaError: at the first missing label, and at the first that is neither 0 nor 1.
    """
    column = _plain(column)
    if pa.types.is_string(column.type):
        column = pc.utf8_lower(column)
        column = pc.if_else(pc.equal(column, "true"), "1", pc.if_else(pc.equal(column, "false"), "0", column))
    number = to_number(column, origin, name).to_numpy()
    bad = (number != 0) & (number != 1)
    if bad.any():
        row = int(bad.argmax())
        found = "is missing" if np.isnan(number[row]) else f"holds {number[row]:g}"
        advice = "Map the column that holds the label, or leave rows without a label out."
        raise origin.error(name, row, found, expected="0 or 1", advice=advice)
    return pa.chunked_array([pa.array(number.astype(np.int8))])


def to_id(column: pa.ChunkedArray, origin: Origin, name: str) -> pa.ChunkedArray:
    """Makes int64 or text ids, none missing.

    Raises:
        SchemaError: at the first missing or empty id, or when the type cannot be an id.
    """
    column = _plain(column)
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    refuse_missing(column, origin, name, advice="Give every row its id, or leave such rows out.")
    if pa.types.is_string(column.type):
        return column
    try:
        if _is_numeric(column.type):
            return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        row = _first_failure(column, lambda part: part.cast(pa.int64()))
        found = f"holds {column[row].as_py()}"
        raise origin.error(name, row, found, expected="a whole number", advice="Store ids as text.") from error
    expected = "whole numbers or text"
    raise origin.error(name, 0, f"is of type {column.type}", expected=expected, advice="Store ids as text.")


def integers_where_possible(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turns text ids into int64 when every one is a plain whole number, so that 007 stays apart from 7."""
    if not pa.types.is_string(column.type):
        return column
    if not pc.all(pc.match_substring_regex(column, _INTEGER_TEXT)).as_py():
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:  # beyond 64 bits
        return column


def to_category(column: pa.ChunkedArray, origin: Origin, name: str) -> pa.ChunkedArray:
    """Makes text of categories; whole floats lose their `.0`, empty text becomes missing.

    Raises:
        SchemaError: when the type has no text form.
    """
    column = _plain(column)
    if pa.types.is_floating(column.type):
        whole = pc.all(pc.equal(pc.floor(column), column)).as_py()
        column = column.cast(pa.int64()) if whole else pc.if_else(pc.is_nan(column), None, column)
    try:
        text = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        found = f"is of type {column.type}"
        raise origin.error(name, 0, found, expected="text", advice="Map another column, or convert it.") from error
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def replace_values(column: pa.ChunkedArray, values: Mapping[str, str]) -> pa.ChunkedArray:
    """Writes some texts as others; those that are not among the keys stay.

    Args:
        column: Text.
        values: What is there to what it becomes.
    """
    place = pc.index_in(column, value_set=pa.array(list(values), pa.string()))
    return pc.coalesce(pc.take(pa.array(list(values.values()), pa.string()), place), column)
