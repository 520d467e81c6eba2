"""The mean amount of frauds, over every bank's own file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory_fleet import tiny_config

from fraudfl.errors import SourceError
from fraudfl.folder import BankFolder
from server.local.banks import create_banks
from server.local.fraud_amounts import fraud_amounts
from server.store.workspace import Workspace


def test_the_mean_is_of_all_banks_frauds_together(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ids = create_banks(tiny_config(banks=3), workspace, tmp_path)
    whole = pa.concat_tables([BankFolder(workspace.banks / bank).table() for bank in ids]).to_pandas()
    amounts = whole[whole["label"] == 1]["amount"]
    found = fraud_amounts(workspace)
    assert found is not None
    assert found.frauds == len(amounts)
    assert found.mean == pytest.approx(amounts.mean())


def test_without_banks_or_amounts_nothing_is_known(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert fraud_amounts(workspace) is None
    folder = workspace.banks / "north"
    folder.mkdir(parents=True)
    (folder / "bank.json").write_text('{"bank": "north", "contract": {}}')
    pq.write_table(pa.table({"label": [1, 0]}), folder / "transactions.parquet")
    assert fraud_amounts(workspace) is None


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "banks" / "north"
    folder.mkdir(parents=True)
    (folder / "bank.json").write_text('{"bank": "north", "contract": {}}')
    (folder / "transactions.parquet").write_text("no parquet")
    with pytest.raises(SourceError, match=r"north/transactions\.parquet"):
        fraud_amounts(Workspace(tmp_path))
