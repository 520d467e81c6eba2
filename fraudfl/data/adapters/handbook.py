"""The Fraud Detection Handbook's simulated card transactions (Le Borgne, Siblini, Lebichot, Bontempi 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudfl.data import convert
from fraudfl.data.adapters.published import locate, numbers_of, publish, read
from fraudfl.data.dataset import Dataset
from fraudfl.data.schema import Contract

CONTRACT = Contract()
# TX_FRAUD_SCENARIO is not here and must not be: it says which simulated fraud a row belongs to.
_COLUMNS = {
    "transaction_id": "TRANSACTION_ID",
    "time": "TX_DATETIME",
    "account": "CUSTOMER_ID",
    "counterparty": "TERMINAL_ID",
    "amount": "TX_AMOUNT",
    "label": "TX_FRAUD",
}


def load(path: Path) -> Dataset:
    """Reads `transactions.parquet` (or CSV, or one file per day), and regions when customers' places are there.

    Args:
        path: The folder, or the file with the transactions.

    Returns:
        Six contract columns; `region` is one of ten on a grid of 5 by 2 over the customers' places, from
        `customers_rederived.parquet` beside the transactions.

    Raises:
        SourceError: when files are missing or unreadable, or pickled as the book's own are.
        SchemaError: when a column or a value is wrong.
    """
    files = locate(path, "transactions.*", "20??-??-??.*")
    raw = read(files, list(_COLUMNS.values()), numbers=["TX_AMOUNT"])
    places = sorted(files[0].parent.glob("customers_rederived.*"))
    made = (
        {"region": _regions(convert.to_number(raw.table["CUSTOMER_ID"], raw.origin, "account"), places)}
        if places
        else {}
    )
    return publish("handbook", raw, CONTRACT, _COLUMNS, made)


def _regions(customers: pa.ChunkedArray, files: list[Path]) -> pa.ChunkedArray:
    """Looks up each row's customer on the grid: five columns of 20, two rows of 50, of an area of 100 by 100."""
    names = ["CUSTOMER_ID", "x_customer_id", "y_customer_id"]
    raw = read(files, names, numbers=names)
    ids, x, y = (numbers_of(raw, name, missing_allowed=False) for name in names)
    cell = np.clip(x // 20, 0, 4).astype(int) * 2 + np.clip(y // 50, 0, 1).astype(int)
    region = pa.array([f"region-{number + 1:02d}" for number in range(10)]).take(pa.array(cell))
    found = region.take(pc.index_in(customers, value_set=pa.array(ids)).combine_chunks())
    return pc.fill_null(pa.chunked_array([found]), "region-unknown")
