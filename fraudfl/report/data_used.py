"""How many rows a plan's split gives a bank, and from which days; a row itself never gets here."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudfl.config import SplitConfig
from fraudfl.data.split import Mask, split_rows
from fraudfl.folder import BankFolder
from fraudfl.report.facts import DataPart, DataUsed, PartName


def data_used(folder: BankFolder, split: SplitConfig) -> DataUsed:
    """Count a bank's rows by part.

    Raises:
        DataError: when the bank's data cannot be read.
    """
    table = folder.table()
    parts = split_rows(table, split)
    with folder.transactions.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return DataUsed(
        parts=(
            _part(table, "train", parts.train),
            _part(table, "validation", parts.validation),
            _part(table, "test", parts.test),
        ),
        source_digest=digest,
    )


def _part(table: pa.Table, name: PartName, mask: Mask) -> DataPart:
    first = last = ""
    if "time" in table.column_names and mask.any():
        limits = pc.min_max(table["time"].filter(pa.array(mask)))
        first, last = (str(np.datetime64(limits[end].as_py(), "D")) for end in ("min", "max"))
    return DataPart(part=name, rows=int(mask.sum()), first=first, last=last)
