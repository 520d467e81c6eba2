"""The contract: which columns a table of transactions, or of ready-made features, must have, and the check of one."""

from __future__ import annotations

import logging
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from fraudfl.config import Frozen
from fraudfl.data import convert
from fraudfl.data.origin import Origin

BOOKKEEPING = ("bank", "region", "split", "part")
_CORE = ("transaction_id", "time", "account", "counterparty", "amount", "currency", "label", "label_time")
_IDS = ("transaction_id", "account", "counterparty")

log = logging.getLogger(__name__)


class Contract(Frozen):
    """The columns of one data set that a bank would ship, and what each is.

    Attributes:
        kind: `transactions` (windows are computed) or `features` (columns are used as they are).
        currency: Whether there is a column `currency`.
        label_time: Whether there is a column with the time the label became known.
        transaction_id, time, account: Whether a `features` table has them; `transactions` always do.
        numeric: Extra numeric columns: float64, NaN where missing.
        categorical: Extra categorical columns: text, null where missing.
    """

    kind: Literal["transactions", "features"] = "transactions"
    currency: bool = False
    label_time: bool = False
    transaction_id: bool = True
    time: bool = True
    account: bool = True
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        if self.kind == "transactions" and not (self.transaction_id and self.time and self.account):
            raise ValueError("a `transactions` table always has transaction_id, time and account")
        if self.label_time and not self.time:
            raise ValueError("`label_time` needs `time`")
        names = [*self.columns, *BOOKKEEPING]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"columns {twice} have more than one meaning; rename the extra ones")
        return self

    @property
    def core(self) -> tuple[str, ...]:
        """The contract's own columns, in order, without the extra ones."""
        windows = self.kind == "transactions"
        present = (
            self.transaction_id, self.time, self.account, windows, windows, self.currency, True, self.label_time,
        )  # fmt: skip
        return tuple(name for name, there in zip(_CORE, present, strict=True) if there)

    @property
    def columns(self) -> tuple[str, ...]:
        """All contract columns, in order."""
        return self.core + self.numeric + self.categorical

    def to_json(self) -> str:
        """Writes the contract as JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Reads what `to_json` wrote."""
        return cls.model_validate_json(text)


def validate(table: pa.Table, contract: Contract, *, where: str | Origin) -> pa.Table:
    """Brings a table to the contract's types and order of rows, or says exactly why it cannot be.

    Args:
        table: Contract columns under their contract names, in any order; other columns but bookkeeping are dropped.
        contract: What is expected.
        where: The source, or which rows came from which file, for messages.

    Returns:
        Contract columns in order, then bookkeeping columns as text; sorted by time, equal times in their old order.

    Raises:
        SchemaError: naming file, row (counted from 1) and column.
    """
    origin = Origin.of(where)
    _refuse_missing_columns(table, contract, origin)
    if table.num_rows == 0:
        raise origin.refusal("there are no rows", expected="at least one", advice="Check the path or the query.")
    columns = {name: _canonical(table[name], contract, origin, name) for name in contract.columns}
    for name in BOOKKEEPING:
        if name in table.column_names:
            columns[name] = convert.to_category(table[name], origin, name)
            convert.refuse_missing(columns[name], origin, name, advice="Fill it, or leave the column out.")
    _refuse_duplicates(columns, origin)
    _refuse_early_labels(columns, origin)
    return _by_time(pa.table(columns))


def _refuse_missing_columns(table: pa.Table, contract: Contract, origin: Origin) -> None:
    missing = [name for name in contract.columns if name not in table.column_names]
    if missing:
        raise origin.refusal(
            f"there is no {', '.join(origin.title(name) for name in missing)} (found: {', '.join(table.column_names)})",
            expected="every column of the contract",
            advice="Set `columns` in the source, so that each contract column names a column of the file.",
        )


def _canonical(column: pa.ChunkedArray, contract: Contract, origin: Origin, name: str) -> pa.ChunkedArray:
    """Converts one column to what the contract says of it, and checks its values."""
    if name in contract.categorical or name == "currency":
        return convert.to_category(column, origin, name)
    if name in contract.numeric:
        number = convert.to_number(column, origin, name)
        convert.refuse_infinite(number, origin, name, missing_allowed=True)
        return number
    if name in _IDS:
        return convert.to_id(column, origin, name)
    if name == "label":
        return convert.to_label(column, origin, name)
    if name == "amount":
        return _amount(column, origin, name)
    times = convert.to_time(column, origin, name)
    advice = "Leave such rows out."
    if name == "label_time":
        advice = "Fill it, or leave `label_time` out: then `split.label_delay_days` says when labels are known."
    convert.refuse_missing(times, origin, name, advice=advice)
    convert.refuse_absurd(times, origin, name)
    return times


def _amount(column: pa.ChunkedArray, origin: Origin, name: str) -> pa.ChunkedArray:
    if pa.types.is_boolean(column.type):
        raise origin.error(name, 0, "holds true/false", expected="a number", advice="Map another column.")
    number = convert.to_number(column, origin, name)
    convert.refuse_infinite(number, origin, name, missing_allowed=False)
    return number


def _refuse_duplicates(columns: dict[str, pa.ChunkedArray], origin: Origin) -> None:
    if "transaction_id" not in columns:
        return
    ids = columns["transaction_id"]
    codes = (
        ids.to_numpy() if pa.types.is_integer(ids.type) else ids.combine_chunks().dictionary_encode().indices.to_numpy()
    )
    again = np.zeros(len(codes), dtype=bool)
    order = np.argsort(codes, kind="stable")
    again[order[1:]] = codes[order[1:]] == codes[order[:-1]]
    if again.any():
        row = int(again.argmax())
        name, number = origin.locate(int(np.flatnonzero(codes == codes[row])[0]))
        found = f"holds {ids[row].as_py()!r} again (first in {name}, row {number})"
        advice = "Remove the copies, or map a column that is unique."
        raise origin.error("transaction_id", row, found, expected="unique ids", advice=advice)


def _refuse_early_labels(columns: dict[str, pa.ChunkedArray], origin: Origin) -> None:
    if "label_time" not in columns:
        return
    early = pc.less(columns["label_time"], columns["time"])
    row = pc.index(early, True).as_py()
    if row >= 0:
        label_time, time = columns["label_time"][row].as_py(), columns["time"][row].as_py()
        raise origin.error(
            "label_time",
            row,
            f"holds {label_time}, before the transaction ({time}),",
            expected="the time the label became known",
            advice="Map the right column, or clean the file.",
        )


def _by_time(table: pa.Table) -> pa.Table:
    if "time" not in table.column_names:
        return table
    times = table["time"].to_numpy().astype(np.int64)
    if (np.diff(times) >= 0).all():
        return table
    log.info("rows were not in order of time; sorted")
    return table.take(pa.array(np.argsort(times, kind="stable")))
