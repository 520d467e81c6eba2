"""What all adapters share: find a published set's files, read their columns, and bring them under the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraudfl.data import convert
from fraudfl.data.dataset import Dataset
from fraudfl.data.files import Raw, find_files, format_of, header, read_files
from fraudfl.data.schema import Contract, validate
from fraudfl.errors import SourceError

Columns = Mapping[str, pa.ChunkedArray | pa.Array]


def locate(path: Path, *patterns: str) -> list[Path]:
    """Lists a data set's files: the one that was named, or those in a folder with their published names.

    Raises:
        SourceError: when there is none.
    """
    files = sorted({file for pattern in patterns for file in path.glob(pattern)}) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise SourceError(
            f"{path}: there is no {' or '.join(patterns)} here. Name the folder as it was downloaded, or a file."
        )
    return files


def read(
    files: Sequence[Path], required: Sequence[str], *, optional: Sequence[str] = (), numbers: Iterable[str] = ()
) -> Raw:
    """Reads columns by their published names.

    Args:
        files: What `locate` found: all CSV or all Parquet.
        required: Names that every file must have.
        optional: Names that are read when the first file has them.
        numbers: Those that ought to be numbers.

    Raises:
        SourceError: when a file cannot be read; SchemaError: when a required column is missing.
    """
    kind = format_of(files, files[0].parent if len(files) > 1 else files[0])
    checked = [file for one in files for file in find_files(one, kind)]
    names = header(checked[0], kind)
    return read_files(checked, kind, [*required, *(name for name in optional if name in names)], numbers=numbers)


def numbers_of(raw: Raw, name: str, *, missing_allowed: bool = True) -> npt.NDArray[np.float64]:
    """Gives one column as float64, missing values as NaN."""
    column = convert.to_number(raw.table[name], raw.origin, name)
    convert.refuse_infinite(column, raw.origin, name, missing_allowed=missing_allowed)
    values: npt.NDArray[np.float64] = column.to_numpy()
    return values


def since(start: datetime, seconds: npt.NDArray[np.float64]) -> pa.Array:
    """Turns seconds after a public origin into times."""
    return pa.array(np.datetime64(start, "us") + (seconds * 1e6).astype("timedelta64[us]"))


def row_numbers(raw: Raw) -> pa.Array:
    """Makes ids for a set that was published without: the row's number, from 0."""
    return pa.array(np.arange(raw.table.num_rows, dtype=np.int64))


def per_file(raw: Raw, values: Sequence[str]) -> pa.Array:
    """Repeats one text per file over that file's rows."""
    lengths = [rows for _, rows in raw.origin.parts]
    return pa.DictionaryArray.from_arrays(pa.array(np.repeat(np.arange(len(lengths)), lengths)), pa.array(list(values)))


def publish(
    name: str, raw: Raw, contract: Contract, mapping: Mapping[str, str], made: Columns | None = None
) -> Dataset:
    """Brings what was read under the contract, and checks it.

    Args:
        name: The adapter's name.
        raw: The published columns.
        contract: What they have to keep.
        mapping: Published name of each contract column that is taken over as it is; extra columns keep their names.
        made: Columns that were computed, under their contract names.

    Raises:
        SchemaError: naming file, row and published column.
    """
    columns: dict[str, pa.ChunkedArray | pa.Array] = {
        column: raw.table[column]
        for column in (*contract.numeric, *contract.categorical)
        if column in raw.table.column_names
    }
    for column, source in mapping.items():
        values = raw.table[source]
        columns[column] = (
            convert.integers_where_possible(values) if column.endswith(("_id", "account", "counterparty")) else values
        )
    columns |= dict(made or {})
    origin = replace(raw.origin, names=dict(mapping))
    return Dataset(name, validate(pa.table(columns), contract, where=origin), contract)
