"""PaySim: thirty days of simulated mobile-money transfers (Lopez-Rojas, Elmir, Axelsson 2016)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fraudfl.data.adapters.published import locate, numbers_of, publish, read, row_numbers, since
from fraudfl.data.dataset import Dataset
from fraudfl.data.schema import Contract

# The set counts hours ("steps"); the day it starts on is ours.
ORIGIN = datetime(2020, 1, 1)
# No balances: frauds were cancelled in the simulation, which the balances give away, as its publisher warns.
CONTRACT = Contract(categorical=("type",))
_MAPPED = {"account": "nameOrig", "counterparty": "nameDest", "amount": "amount", "label": "isFraud"}


def load(path: Path) -> Dataset:
    """Reads PaySim's CSV by its published columns; `isFlaggedFraud`, a rule's verdict, is left out.

    Args:
        path: The file, or the folder that holds it.

    Returns:
        `transactions` rows; ids are made: they count rows. Times are whole hours.

    Raises:
        SourceError: when the file cannot be read; SchemaError: when a column or a value is wrong.
    """
    numbers = ["step", "amount", *CONTRACT.numeric]
    raw = read(
        locate(path, "PS_*.*", "paysim*.*"), [*numbers, "type", "nameOrig", "nameDest", "isFraud"], numbers=numbers
    )
    hours = numbers_of(raw, "step", missing_allowed=False)
    made = {"transaction_id": row_numbers(raw), "time": since(ORIGIN, hours * 3600)}
    return publish("paysim", raw, CONTRACT, _MAPPED, made)
