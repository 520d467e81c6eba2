"""Scoring a file of transactions with a bundle: windows, encoder, network, and the bundle's own thresholds."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from fraudfl.config import FeaturesConfig
from fraudfl.data.schema import Contract, validate
from fraudfl.errors import BundleError, SourceError
from fraudfl.features.declaration import declare
from fraudfl.features.windows import compute_features
from fraudfl.models.bundle import Bundle


def score_file(bundle: Bundle, source: Path, threshold: str = "budget") -> pa.Table:
    """Score the transactions of one Parquet file that keeps the bundle's contract.

    Windows look back over the file itself, so it should begin one window before the transactions of interest.

    Args:
        threshold: Which of the bundle's thresholds makes an alert: `budget`, `balanced_accuracy` or `f1`.

    Returns:
        `transaction_id` and `time` where the contract has them, `logit` (float32) and `alert` (bool), by time.

    Raises:
        BundleError: when the bundle lacks what scoring needs.
        SourceError, SchemaError: when the file cannot be used.
    """
    contract, features = _terms(bundle)
    if threshold not in bundle.thresholds:
        raise BundleError(f"the bundle has no threshold {threshold!r}; it has {sorted(bundle.thresholds)}")
    try:
        raw = pq.read_table(source)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"{source}: not a readable Parquet file ({error})") from error
    table = validate(raw, contract, where=str(source))
    with TemporaryDirectory() as folder:
        transactions, computed = Path(folder) / "transactions.parquet", Path(folder) / "features.parquet"
        pq.write_table(table, transactions)
        declared = declare(features, contract)
        compute_features(transactions, declared, computed, contract=contract, temp_directory=Path(folder))
        logits = bundle.score(pq.read_table(computed))
    names = [name for name in ("transaction_id", "time") if name in table.column_names]
    return pa.table(
        {name: table[name] for name in names} | {"logit": logits, "alert": logits >= bundle.thresholds[threshold]}
    )


def _terms(bundle: Bundle) -> tuple[Contract, FeaturesConfig]:
    try:
        contract = Contract.model_validate(bundle.metadata["contract"])
        return contract, FeaturesConfig.model_validate(bundle.metadata["features"])
    except (KeyError, ValidationError) as error:
        raise BundleError(f"the bundle's metadata does not say which columns it scores ({error})") from error
