"""ULB credit card fraud: two days of European card payments of September 2013, mostly as principal components."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fraudfl.data.adapters.published import locate, numbers_of, publish, read, row_numbers, since
from fraudfl.data.dataset import Dataset
from fraudfl.data.schema import Contract

# The set counts seconds from its first payment; the day is ours, as only the month was published.
ORIGIN = datetime(2013, 9, 1)
CONTRACT = Contract(kind="features", account=False, numeric=(*(f"V{number}" for number in range(1, 29)), "Amount"))


def load(path: Path) -> Dataset:
    """Reads `creditcard.csv` (Time, V1 to V28, Amount, Class).

    Args:
        path: The file, or the folder that holds it.

    Returns:
        `features` rows; ids are made: they count rows.

    Raises:
        SourceError: when the file cannot be read; SchemaError: when a column or a value is wrong.
    """
    raw = read(locate(path, "creditcard*.*"), ["Time", *CONTRACT.numeric, "Class"], numbers=["Time", *CONTRACT.numeric])
    seconds = numbers_of(raw, "Time", missing_allowed=False)
    made = {"transaction_id": row_numbers(raw), "time": since(ORIGIN, seconds)}
    return publish("ulb", raw, CONTRACT, {"label": "Class"}, made)
