"""Reading CSV and Parquet files, one or many, as the columns that somebody asked for."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from fraudfl.data.convert import MISSING_WORDS
from fraudfl.data.origin import Origin
from fraudfl.errors import SchemaError, SourceError

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "parquet")
_SUFFIXES: dict[Format, tuple[str, ...]] = {
    "csv": (".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".tsv", ".txt"),
    "parquet": (".parquet", ".pq"),
}
_PICKLES = (".pkl", ".pickle", ".pkl.gz")
_NO_PICKLE = (
    "is a pickle; pickles are not read, because opening one can run any program. "
    "Convert it to Parquet where you trust it: pandas.read_pickle(FILE).to_parquet(NEW_FILE)."
)


@dataclass(frozen=True)
class Raw:
    """What a source holds, under the source's own names and types."""

    table: pa.Table
    origin: Origin


@dataclass(frozen=True)
class CsvLayout:
    """How numbers and fields are written in a CSV file."""

    delimiter: str = ","
    decimal: Literal[".", ","] = "."


def _has(path: Path, suffixes: Iterable[str]) -> bool:
    return path.name.lower().endswith(tuple(suffixes))


def format_of(files: Sequence[Path], place: Path) -> Format:
    """Tells the format of a data set's files by their names.

    Args:
        files: The files.
        place: What the user named, for messages.

    Raises:
        SourceError: when they are neither CSV nor Parquet, or both, or pickles.
    """
    for file in files:
        _refuse_pickle(file)
    found = {kind for file in files for kind in FORMATS if _has(file, _SUFFIXES[kind])}
    if len(found) != 1:
        what = "there are both CSV and Parquet files" if found else "the name ends neither as CSV nor as Parquet"
        raise SourceError(
            f"{place}: {what}; expected .csv (or .csv.gz) or .parquet. Name the file itself, or rename it."
        )
    return found.pop()


def _refuse_pickle(file: Path) -> None:
    if _has(file, _PICKLES):
        raise SourceError(f"{file}: {_NO_PICKLE}")


def find_files(path: str | Path, kind: Format) -> list[Path]:
    """Lists the files behind a file, a folder (with its subfolders) or a glob, in order of name.

    Raises:
        SourceError: when there is none, or when a file is empty.
    """
    place = Path(path)
    if place.is_dir():
        files = [file for file in place.rglob("*") if file.is_file() and _has(file, _SUFFIXES[kind])]
    elif place.exists():
        files = [place]
    else:
        files = [file for file in Path(place.anchor).glob(_below_anchor(place)) if file.is_file()]
    if not files:
        raise SourceError(f"{path}: no {kind} file is there; expected a file, a folder or a glob. Check the path.")
    for file in files:
        _refuse_pickle(file)
        if file.stat().st_size == 0:
            raise SourceError(f"{file}: the file is empty (0 bytes). Copy or export it again, or take it out.")
    return sorted(files)


def _below_anchor(place: Path) -> str:
    return str(place.relative_to(place.anchor)) if place.anchor else str(place)


def header(file: Path, kind: Format, layout: CsvLayout = CsvLayout()) -> tuple[str, ...]:
    """Reads the names of a file's columns.

    Raises:
        SourceError: when the file cannot be read.
    """
    if kind == "parquet":
        return tuple(_open_parquet(file).schema_arrow.names)
    try:
        with pa.input_stream(str(file), compression="detect") as stream:
            line = stream.read(1 << 20).decode("utf-8-sig", errors="replace").split("\n", 1)[0].rstrip("\r")
    except OSError as error:
        raise _unreadable(file, error) from error
    return tuple(next(csv.reader([line], delimiter=layout.delimiter), ()))


def read_files(
    files: Sequence[Path],
    kind: Format,
    columns: Sequence[str],
    *,
    numbers: Iterable[str] = (),
    layout: CsvLayout = CsvLayout(),
) -> Raw:
    """Reads some columns of all files and puts the rows one after the other.

    Args:
        files: What `find_files` found.
        columns: Names in the source, read from every file.
        numbers: Those that ought to be numbers. In CSV they come as float64 when they are, and as text when
            any value is not, so that a message can quote it; all others come as text.
        layout: For CSV.

    Raises:
        SourceError: when a file cannot be read; SchemaError: when one lacks a column.
    """
    wanted = list(dict.fromkeys(columns))
    parts = [_read_one(file, kind, wanted, frozenset(numbers), layout) for file in files]
    origin = Origin(tuple((str(file), part.num_rows) for file, part in zip(files, parts, strict=True)))
    return Raw(_stack(parts), origin)


def _read_one(file: Path, kind: Format, wanted: list[str], numbers: frozenset[str], layout: CsvLayout) -> pa.Table:
    names = header(file, kind, layout)
    missing = [name for name in wanted if name not in names]
    if missing:
        hint = " Check the delimiter." if kind == "csv" and len(names) == 1 else ""
        raise SchemaError(
            f"{file}: there is no column {', '.join(map(repr, missing))}; found {', '.join(names)}. "
            f"Correct `columns` in the source, or the file.{hint} Nothing was trained and nothing was sent."
        )
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise SourceError(f"{file}: column {twice[0]!r} is there {names.count(twice[0])} times. Rename one of them.")
    if kind == "csv":
        return _read_csv(file, wanted, numbers, layout)
    try:
        return _open_parquet(file).read(columns=wanted).select(wanted)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from error


def _stack(parts: list[pa.Table]) -> pa.Table:
    """Concatenates; a column that is numeric in one file and text in another becomes text, to be judged later."""
    texts = set()
    for name in parts[0].column_names:
        kinds = {part.schema.field(name).type for part in parts}
        if pa.string() in kinds and len(kinds) > 1:
            texts.add(name)
    parts = [_with_text(part, texts) for part in parts]
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"the files do not agree on a column's type ({error}). Write them again with one schema, "
            "or read them as separate sources."
        ) from error


def _with_text(part: pa.Table, texts: set[str]) -> pa.Table:
    for name in texts:
        position = part.column_names.index(name)
        part = part.set_column(position, name, part[name].cast(pa.string()))
    return part


def _open_parquet(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise _damaged(file, error) from error
    except OSError as error:
        raise _unreadable(file, error) from error


def _damaged(file: Path, error: Exception) -> SourceError:
    return SourceError(
        f"{file}: not a complete Parquet file ({_first_line(error)}); it may be cut short or of another format. "
        "Copy or export it again, or set `format`."
    )


def _unreadable(file: Path, error: Exception) -> SourceError:
    return SourceError(f"{file}: cannot be read ({_first_line(error)}). Check that the file is whole and may be read.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _read_csv(file: Path, wanted: list[str], numbers: frozenset[str], layout: CsvLayout) -> pa.Table:
    """Reads a CSV file with typed numbers, and again as text when a number would not parse."""
    typed = {name: pa.float64() if name in numbers else pa.string() for name in wanted}
    try:
        return _parse_csv(file, typed, layout)
    except pa.ArrowInvalid:
        return _read_csv_text(file, wanted, layout)


def _read_csv_text(file: Path, wanted: list[str], layout: CsvLayout) -> pa.Table:
    broken: list[tuple[int | None, str]] = []

    def note(row: Any) -> str:
        broken.append((row.number, f"has {row.actual_columns} fields, not {row.expected_columns}"))
        return "error"

    try:
        return _parse_csv(file, dict.fromkeys(wanted, pa.string()), layout, note)
    except pa.ArrowInvalid as error:
        if broken:
            number, found = broken[0]
            where = f"row {number - 1}" if number else "a row"  # Arrow counts the header as row 1
            raise SourceError(
                f"{file}: {where} {found}, as the header says; the file may be cut short, or a field holds the "
                f"delimiter {layout.delimiter!r} without quotes. Export it again, or set `delimiter`."
            ) from error
        raise SourceError(
            f"{file}: not readable as CSV ({_first_line(error)}); expected UTF-8 text with a header. "
            "Export it again as UTF-8, or set `format`."
        ) from error
    except OSError as error:
        raise _unreadable(file, error) from error


def _parse_csv(file: Path, types: dict[str, Any], layout: CsvLayout, note: Any = None) -> pa.Table:
    words = {spelling for word in MISSING_WORDS for spelling in (word, word.upper(), word.capitalize(), "NaN", "N/A")}
    return pacsv.read_csv(
        str(file),
        # One thread when looking for the broken row: only then does Arrow know the row's number.
        read_options=pacsv.ReadOptions(use_threads=note is None),
        parse_options=pacsv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=note),
        convert_options=pacsv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=sorted(words),
            strings_can_be_null=False,
            decimal_point=layout.decimal,
        ),
    )
