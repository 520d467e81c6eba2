"""Five synthetic bank sites of payments with ready-made features (NVIDIA FLARE, research/fsi-fraud-detection)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraudfl.data.adapters.published import locate, numbers_of, per_file, publish, read
from fraudfl.data.convert import to_category
from fraudfl.data.dataset import Dataset
from fraudfl.data.files import Raw
from fraudfl.data.schema import Contract
from fraudfl.errors import SourceError

Floats = npt.NDArray[np.float64]

CONTRACT = Contract(
    kind="features",
    account=False,
    numeric=(
        "debitor_amount_log",
        "debitor_account_age_log",
        "creditor_account_age_log",
        "debitor_since_last_activity_log",
        "debitor_tower_distance_km",
        "creditor_tower_distance_km",
        "debitor_activity_events_30d",
        "debitor_activity_ratio",
        "debitor_amount_ratio",
    ),
    categorical=("debitor_account_type", "creditor_account_type"),
)
# The set's own formula: an Earth's radius of 3958.8 miles, at 1.6 km a mile.
_RADIUS_KM = 3958.8 * 1.6
_USUAL_EVENTS = {"BUSINESS": 1.5e6, "CHECKING": 500.0, "SAVINGS": 50.0}
_USUAL_AMOUNT = {"BUSINESS": 1e5, "CHECKING": 2e4, "SAVINGS": 5e3}
_NUMBERS = (
    "DEBITOR_AMOUNT",
    "PAYMENT_INIT_TIMESTAMP",
    "DEBITOR_ACCOUNT_CREATE_TIMESTAMP",
    "CREDITOR_ACCOUNT_CREATE_TIMESTAMP",
    "DEBITOR_ACCOUNT_LAST_ACTIVITY_TIMESTAMP",
    "DEBITOR_ACCOUNT_ACTIVITY_EVENTS_PAST_30D",
    *(f"{side}_{place}_{axis}" for side in ("DEBITOR", "CREDITOR") for place in ("GEO", "TOWER")
      for axis in ("LATITUDE", "LONGITUDE")),
)  # fmt: skip
_MAPPED = {
    "time": "PAYMENT_INIT_TIMESTAMP",
    "label": "FRAUD_FLAG",
    "debitor_account_type": "DEBITOR_ACCOUNT_TYPE",
    "creditor_account_type": "CREDITOR_ACCOUNT_TYPE",
}


def load(path: Path) -> Dataset:
    """Reads all sites, and computes the nine inputs of the peer's model from raw columns, not standardised.

    Args:
        path: Folder with siteA … siteE, each with `train` and `eval_*` files (Parquet or CSV).

    Returns:
        `features` rows with bookkeeping: bank (`site-a`), split (`train` or `test`), part (the file's stem).
        Ids are made: they count rows in the order of sites and files.

    Raises:
        SourceError: when the folder holds no site, or a file cannot be read.
        SchemaError: when a column or a value is wrong.
    """
    files = locate(path, "site?/train.*", "site?/eval_*.*")
    if not path.is_dir():
        raise SourceError(f"{path}: not a folder; expected the folder that holds siteA … siteE. Name that.")
    raw = read(files, [*_NUMBERS, *(name for name in _MAPPED.values() if name not in _NUMBERS)], numbers=_NUMBERS)
    stems = [file.name.split(".")[0] for file in files]
    made: dict[str, pa.Array] = {name: pa.array(values) for name, values in _inputs(raw).items()}
    made |= {
        "transaction_id": pa.array(np.arange(raw.table.num_rows, dtype=np.int64)),
        "bank": per_file(raw, [f"site-{file.parent.name[-1].lower()}" for file in files]),
        "split": per_file(raw, ["train" if stem == "train" else "test" for stem in stems]),
        "part": per_file(raw, stems),
    }
    return publish("fsi5", raw, CONTRACT, _MAPPED, made)


def _inputs(raw: Raw) -> dict[str, Floats]:
    """Computes the numeric inputs, in the contract's order (formulas: the peer's misc/data.py)."""
    column = {name: numbers_of(raw, name) for name in _NUMBERS}
    paid, amount = column["PAYMENT_INIT_TIMESTAMP"], column["DEBITOR_AMOUNT"]
    events = column["DEBITOR_ACCOUNT_ACTIVITY_EVENTS_PAST_30D"]
    values = (
        _log(1 + amount),
        _log((paid - column["DEBITOR_ACCOUNT_CREATE_TIMESTAMP"]) / 60),
        _log((paid - column["CREDITOR_ACCOUNT_CREATE_TIMESTAMP"]) / 60),
        _log(paid - column["DEBITOR_ACCOUNT_LAST_ACTIVITY_TIMESTAMP"]),
        _tower_distance(column, "DEBITOR"),
        _tower_distance(column, "CREDITOR"),
        events,
        events / _usual(raw, _USUAL_EVENTS),
        amount / _usual(raw, _USUAL_AMOUNT),
    )
    return dict(zip(CONTRACT.numeric, values, strict=True))


def _log(values: Floats) -> Floats:
    """Natural logarithm; missing where there is none, as for an account made after the payment."""
    return np.log(values, out=np.full_like(values, np.nan), where=values > 0)


def _tower_distance(column: dict[str, Floats], side: str) -> Floats:
    """Great-circle distance in km between a person's place and the tower (haversine)."""
    latitude, longitude, tower_latitude, tower_longitude = (
        np.radians(column[f"{side}_{place}_{axis}"]) for place in ("GEO", "TOWER") for axis in ("LATITUDE", "LONGITUDE")
    )
    chord = (
        np.sin((tower_latitude - latitude) / 2) ** 2
        + np.cos(latitude) * np.cos(tower_latitude) * np.sin((tower_longitude - longitude) / 2) ** 2
    )
    distance: Floats = 2 * _RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0, 1)))
    return distance


def _usual(raw: Raw, usual: dict[str, float]) -> Floats:
    """What is usual for each row's account type; missing for a type that the set does not define."""
    kinds = to_category(raw.table["DEBITOR_ACCOUNT_TYPE"], raw.origin, "debitor_account_type").combine_chunks()
    codes = kinds.dictionary_encode()
    table = np.array([usual.get(kind, np.nan) for kind in codes.dictionary.to_pylist()] + [np.nan])
    values: Floats = table[codes.indices.fill_null(len(table) - 1).to_numpy()]
    return values
