"""From one data set to a workspace's bank folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from fraudfl.config import FraudflConfig
from fraudfl.data.dataset import load_dataset
from fraudfl.data.partition import assign_banks
from fraudfl.data.split import require_rows
from fraudfl.folder import BankFolder
from server.workspace import Workspace


def create_banks(
    config: FraudflConfig, workspace: Workspace, base: Path, tell: Callable[[str], None] = lambda _text: None
) -> list[str]:
    """Read or generate the data, check all of it, and split it into `banks/<id>/`; returns the ids.

    Nothing is written before the whole data set has passed its checks, and the folders appear together.

    Raises:
        DataError: when the data cannot be used.
    """
    tell(f"reading {config.data.source} data")
    dataset = load_dataset(config.data, seed=config.consortium.seed, base=base)
    require_rows(dataset.table, config.split)
    banks = assign_banks(dataset.table, config.banks, config.consortium.seed)
    making = workspace.path / ".banks.part"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    ids, codes = np.unique(banks.astype(str), return_inverse=True)
    tell(f"splitting {dataset.table.num_rows:,} transactions among {len(ids)} banks")
    for code, bank in enumerate(ids):
        rows = dataset.table.take(pa.array(np.flatnonzero(codes == code)))
        BankFolder.create(making / bank, str(bank), rows, dataset.contract)
    shutil.rmtree(workspace.banks, ignore_errors=True)
    making.rename(workspace.banks)
    return [str(bank) for bank in ids]
