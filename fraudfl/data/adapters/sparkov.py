"""Sparkov: simulated card payments of a thousand customers at 800 merchants over two years."""

from __future__ import annotations

from pathlib import Path

from fraudfl.data.adapters.published import locate, per_file, publish, read
from fraudfl.data.dataset import Dataset
from fraudfl.data.schema import Contract

# Names, streets, dates of birth and jobs stay out: nothing here needs to know a customer.
CONTRACT = Contract(
    numeric=("city_pop", "lat", "long", "merch_lat", "merch_long"),
    categorical=("category", "gender"),
)
_MAPPED = {
    "transaction_id": "trans_num",
    "time": "trans_date_trans_time",
    "account": "cc_num",
    "counterparty": "merchant",
    "amount": "amt",
    "label": "is_fraud",
}


def load(path: Path) -> Dataset:
    """Reads `fraudTrain.csv` and `fraudTest.csv`, or one of them.

    Args:
        path: The folder, or one file.

    Returns:
        `transactions` rows with bookkeeping: region (the customer's state), part (the file's stem), and split when
        both files are there.

    Raises:
        SourceError: when a file cannot be read; SchemaError: when a column or a value is wrong.
    """
    files = locate(path, "fraudTrain.*", "fraudTest.*")
    numbers = ["amt", *CONTRACT.numeric]
    columns = [*_MAPPED.values(), *CONTRACT.numeric, *CONTRACT.categorical]
    raw = read(files, columns, optional=["state"], numbers=numbers)
    stems = [file.name.split(".")[0] for file in files]
    made = {"part": per_file(raw, stems)}
    if len(files) > 1:
        made["split"] = per_file(raw, ["test" if stem == "fraudTest" else "train" for stem in stems])
    mapping = _MAPPED | ({"region": "state"} if "state" in raw.table.column_names else {})
    return publish("sparkov", raw, CONTRACT, mapping, made)
