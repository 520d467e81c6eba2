"""A user's own table, from CSV, Parquet or SQL, under the contract's column names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from fraudfl.config import ColumnMap, TableConfig
from fraudfl.data import convert
from fraudfl.data.files import CsvLayout, Raw, find_files, header, read_files
from fraudfl.data.origin import Origin
from fraudfl.data.schema import Contract
from fraudfl.data.sql import Database, connection_url
from fraudfl.errors import ConfigError

_MAPPED = (
    "transaction_id", "time", "account", "counterparty", "amount", "currency", "label", "label_time", "bank", "region",
)  # fmt: skip
_IDS = ("transaction_id", "account", "counterparty")
_TIMES = ("time", "label_time")


@dataclass(frozen=True)
class Source:
    """A table as read: contract names, and not yet checked against the contract.

    Attributes:
        table: Contract and bookkeeping columns.
        contract: What the table has to keep.
        origin: Which rows came from which file.
    """

    table: pa.Table
    contract: Contract
    origin: Origin


def read_source(config: TableConfig, base: Path) -> Source:
    """Reads the configured table and maps its columns.

    Args:
        config: Where it is, how to read it, which column is which.
        base: Folder that relative paths start from.

    Raises:
        ConfigError: when the description is incomplete or contradicts itself.
        SourceError: when the source cannot be read.
        SchemaError: when a column is missing, or a value is not of its column's kind.
    """
    if config.path is None:
        raise ConfigError("data.table.path is not set; expected a file, folder, glob or database URL. Set it.")
    if config.format == "sql":
        database = _database(config, base)
        mapping = column_mapping(config, database.names())
        raw = database.read(list(mapping.values()))
    else:
        files = find_files(base / Path(config.path).expanduser(), config.format)
        layout = CsvLayout(config.delimiter, config.decimal)
        mapping = column_mapping(config, header(files[0], config.format, layout))
        numbers = _numbers(config, mapping)
        raw = read_files(files, config.format, list(mapping.values()), numbers=numbers, layout=layout)
    return map_columns(raw, config, mapping)


def read_table(config: TableConfig, base: Path) -> pa.Table:
    """Reads and maps as `read_source` does, for callers that need the table alone."""
    return read_source(config, base).table


def _database(config: TableConfig, base: Path) -> Database:
    if not config.query:
        raise ConfigError("data.table.query is not set; expected SQL text or a table's name. Set it.")
    password_file = Path(config.password_file).expanduser() if config.password_file else None
    return Database(connection_url(str(config.path), password_file, base), config.query)


def column_mapping(config: TableConfig, available: Sequence[str]) -> dict[str, str]:
    """Says which source column holds which contract or bookkeeping column, extra ones included.

    A `features` table needs no id, time or account: one that was left at its default and is not there is left out. So
    is a column that `named` says this source lacks.

    Raises:
        ConfigError: when a mandatory column is mapped to nothing, or one that this kind of table cannot have is mapped.
    """
    chosen = {name: getattr(config.columns, name) for name in _MAPPED}
    extra = {name: config.columns.named.get(name, name) for name in _extra(config)}
    if config.kind == "transactions":
        absent = [name for name in ("transaction_id", "time", "account", "counterparty", "amount") if not chosen[name]]
        if absent:
            raise ConfigError(
                f"data.table.columns.{absent[0]} is empty, and a `transactions` table needs it; name the column, "
                "or set `kind: features`."
            )
        return {name: source for name, source in (chosen | extra).items() if source}
    defaults = ColumnMap()
    for name in ("counterparty", "amount"):
        if chosen.pop(name) not in (None, getattr(defaults, name)):
            raise ConfigError(
                f"data.table.columns.{name} is set, and a `features` table has no such column; "
                "list the column under `numeric` or `categorical`."
            )
    for name in ("transaction_id", "time", "account"):
        if chosen[name] == getattr(defaults, name) and chosen[name] not in available:
            chosen[name] = None
    return {name: source for name, source in (chosen | extra).items() if source}


def _extra(config: TableConfig) -> tuple[str, ...]:
    return (*config.columns.numeric, *config.columns.categorical)


def _numbers(config: TableConfig, mapping: dict[str, str]) -> set[str]:
    """Columns to read as numbers at once; one that also serves as id or category is left as text."""
    numeric = {"amount", *config.columns.numeric}
    texts = {source for name, source in mapping.items() if name not in numeric}
    return {source for name, source in mapping.items() if name in numeric} - texts


def map_columns(raw: Raw, config: TableConfig, mapping: dict[str, str]) -> Source:
    """Gives columns their contract names, and turns text into what each column should be."""
    contract = contract_of(config, mapping)
    origin = replace(raw.origin, names=mapping)
    columns = {}
    for name, source in mapping.items():
        column = raw.table[source]
        if name == "amount" or name in config.columns.numeric:
            if pa.types.is_string(column.type) or name in config.scale:
                column = convert.to_number(column, origin, name, decimal=config.decimal)
            if name in config.scale:
                column = pc.multiply(column, config.scale[name])
        elif name in config.map:
            column = convert.replace_values(convert.to_category(column, origin, name), config.map[name])
        elif name in _TIMES and (pa.types.is_string(column.type) or config.time_format):
            column = convert.to_time(column, origin, name, layout=config.time_format)
        elif name in _IDS and config.format == "csv":
            column = convert.integers_where_possible(column)
        columns[name] = column
    lacking = {name: pa.nulls(raw.table.num_rows) for name in (*_extra(config), *_no_currency(config))}
    return Source(pa.table({**lacking, **columns}), contract, origin)


def _no_currency(config: TableConfig) -> tuple[str, ...]:
    """The currency, where the consortium has it and this source does not."""
    return ("currency",) if config.columns.named.get("currency", "") is None else ()


def contract_of(config: TableConfig, mapping: dict[str, str]) -> Contract:
    """Derives the contract that a mapped table has to keep."""
    try:
        return Contract(
            kind=config.kind,
            numeric=config.columns.numeric,
            categorical=config.columns.categorical,
            currency="currency" in mapping or bool(_no_currency(config)),
            **{name: name in mapping for name in ("label_time", "transaction_id", "time", "account")},
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"data.table.columns: {reason}.") from error
