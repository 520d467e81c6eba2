"""IEEE-CIS fraud detection: Vesta's card-not-present payments, as published for the 2019 competition."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fraudfl.data.adapters.published import locate, numbers_of, publish, read, since
from fraudfl.data.convert import to_category, to_id
from fraudfl.data.dataset import Dataset
from fraudfl.data.files import Raw
from fraudfl.data.schema import Contract

# The set counts seconds from an unpublished moment; this day is the competitors' usual guess.
ORIGIN = datetime(2017, 11, 30)
_NUMERIC = (
    "dist1",
    "dist2",
    *(f"C{number}" for number in range(1, 15)),
    *(f"D{number}" for number in range(1, 16)),
    *(f"V{number}" for number in range(1, 340)),
)
_CATEGORICAL = ("card4", "card6", "P_emaildomain", "R_emaildomain", *(f"M{number}" for number in range(1, 10)))
_IDENTITY = ("DeviceType",)
_REQUIRED = ("TransactionID", "isFraud", "TransactionDT", "TransactionAmt", "ProductCD", "card1", "addr1")
_MAPPED = {
    "transaction_id": "TransactionID",
    "counterparty": "ProductCD",
    "amount": "TransactionAmt",
    "label": "isFraud",
}


def load(path: Path) -> Dataset:
    """Reads `train_transaction.csv`, and `train_identity.csv` beside it; the test files have no labels.

    The set names neither accounts nor merchants. The account is `card1-addr1`, the pair that tells customers apart best
    among columns that need no fitting; the counterparty is ProductCD, the only one of its kind without gaps. Of the
    published extra columns (C, D, M, V, distances, e-mail domains) those in the file are kept.

    Args:
        path: The folder, or the file with the transactions.

    Raises:
        SourceError: when a file cannot be read; SchemaError: when a column or a value is wrong.
    """
    files = locate(path, "train_transaction.*")
    numbers = ["TransactionDT", "TransactionAmt", "card1", "addr1", *_NUMERIC]
    raw = read(files, _REQUIRED, optional=[*_NUMERIC, *_CATEGORICAL], numbers=numbers)
    made: dict[str, pa.ChunkedArray | pa.Array] = {
        "time": since(ORIGIN, numbers_of(raw, "TransactionDT", missing_allowed=False)),
        "account": _account(raw),
    }
    names = raw.table.column_names
    identity = sorted(files[0].parent.glob("train_identity.*"))
    if identity:
        made |= _identity(raw, identity)
    contract = Contract(
        numeric=tuple(name for name in _NUMERIC if name in names),
        categorical=tuple(name for name in (*_CATEGORICAL, *_IDENTITY) if name in names or name in made),
    )
    return publish("ieee-cis", raw, contract, _MAPPED, made)


def _account(raw: Raw) -> pa.ChunkedArray:
    card, address = (to_category(raw.table[name], raw.origin, name) for name in ("card1", "addr1"))
    return pc.binary_join_element_wise(card, pc.fill_null(address, "none"), "-")


def _identity(raw: Raw, files: list[Path]) -> dict[str, pa.ChunkedArray]:
    """Looks up each transaction's identity columns; most transactions have none."""
    other = read(files, ["TransactionID"], optional=_IDENTITY)
    keys, ids = (
        to_id(one.table["TransactionID"], one.origin, "TransactionID").cast(pa.string()) for one in (raw, other)
    )
    rows = pc.index_in(keys, value_set=ids.combine_chunks())
    return {name: other.table[name].take(rows) for name in _IDENTITY if name in other.table.column_names}
