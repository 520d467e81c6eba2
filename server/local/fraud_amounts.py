"""What a fraud costs in the mean, where one machine has every bank's transactions."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraudfl.errors import SourceError
from fraudfl.folder import BankFolder, bank_paths
from server.store.workspace import Workspace


@dataclass(frozen=True)
class FraudAmounts:
    """Amounts of all known frauds.

    Attributes:
        frauds: How many there are.
        mean: Their mean amount, as amounts stand in the data: those of several currencies are added as they are.
    """

    frauds: int
    mean: float


def fraud_amounts(workspace: Workspace) -> FraudAmounts | None:
    """The mean over all banks' folders; None where these are elsewhere, or hold no fraud with an amount.

    Raises:
        SourceError: naming the file that cannot be read.
    """
    frauds, total = 0, 0.0
    for path in bank_paths(workspace.banks):
        file = BankFolder(path).transactions
        try:
            with pq.ParquetFile(file) as kept:
                if not {"amount", "label"} <= {*kept.schema_arrow.names}:
                    continue
                table = kept.read(columns=["amount", "label"], use_threads=False)
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(f"{file}: cannot be read ({error}). Restore it from its source.") from error
        amounts = table.filter(pc.equal(table["label"], 1))["amount"].drop_null()
        frauds += len(amounts)
        total += pc.sum(amounts).as_py() or 0.0
    return FraudAmounts(frauds, total / frauds) if frauds else None
