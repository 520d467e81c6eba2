"""What one bank counts of its own table: the vector that an assessment adds up over banks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraudfl.assessment.spec import (
    BANK_FRAUDS,
    BANK_MONTHS,
    CLASSES,
    COLUMNS,
    DELAY,
    DELAY_DAYS,
    FRAUDS,
    MONTHS,
    PARTS,
    ProfileSpec,
)
from fraudfl.config import SplitConfig
from fraudfl.data.split import Split, split_rows
from fraudfl.features.sketch import sketch_table
from fraudfl.folder import clusters_of
from fraudfl.privacy.contribution import within_bound

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]


def count_profile(
    table: pa.Table, spec: ProfileSpec, split: SplitConfig, account_rows: int | None = None
) -> NDArray[np.int64]:
    """Count a bank's transactions into the blocks of a profile.

    Args:
        table: The bank's transactions: contract columns, and `split` where the split is given.
        spec: The blocks.
        split: What training and test window are.
        account_rows: Most rows of one account that count in a block (in `classes`: in each window); None for all.

    Returns:
        int64, shape (spec.size,). What is said of the bank as a whole is exact, whatever `account_rows` is.
    """
    accounts = None if account_rows is None else clusters_of(table)
    everything = np.ones(table.num_rows, dtype=bool)
    counted = table.filter(pa.array(_bounded(everything, accounts, account_rows)))
    parts = _parts(split_rows(table, split))
    found = _columns(counted, spec)
    found[CLASSES] = _classes(table, {part: _bounded(rows, accounts, account_rows) for part, rows in parts.items()})
    if spec.label_time:
        found[DELAY] = _delays(counted)
    if spec.months:
        found[MONTHS] = np.bincount(_month_numbers(counted, spec), minlength=len(spec.months) + 2)
    found |= _of_the_bank(table, spec, parts["train"])
    return np.concatenate([found[name] for name in spec.blocks]).astype(np.int64)


def columns_there(table: pa.Table, spec: ProfileSpec) -> NDArray[np.bool_]:
    """Which of the columns that may be missing hold any value, in the order of `spec.optional`."""
    return np.array([bool(_present(table[name]).any()) for name in spec.optional], dtype=bool)


def training_months_there(table: pa.Table, spec: ProfileSpec, train: Mask) -> NDArray[np.bool_]:
    """Which of the training months hold any row of the training window."""
    first, count = spec.training_months
    numbers = _month_numbers(table.filter(pa.array(train)), spec)
    return np.isin(np.arange(first, first + count), numbers)


def label_delay_days(table: pa.Table) -> NDArray[np.float64]:
    """Days from each transaction to its label, shape (rows,)."""
    delays = (table["label_time"].to_numpy() - table["time"].to_numpy()) / np.timedelta64(1, "D")
    return np.asarray(delays, dtype=np.float64)


def _parts(split: Split) -> dict[str, Mask]:
    train = split.train | split.validation
    return {"train": train, "test": split.test, "unused": ~(train | split.test)}


def _bounded(rows: Mask, accounts: Counts | None, most: int | None) -> Mask:
    if accounts is None or most is None:
        return rows
    places = np.flatnonzero(rows)
    counted = np.zeros_like(rows)
    counted[places[within_bound(accounts[places], most)]] = True
    return counted


def _columns(table: pa.Table, spec: ProfileSpec) -> dict[str, Counts]:
    counts = sketch_table(table, table["label"].to_numpy(), spec.values).counts
    found = {f"value: {name}": counts[name] for name in spec.values.numeric}
    return found | {f"category: {name}": counts[name] for name in spec.values.categorical}


def _classes(table: pa.Table, parts: dict[str, Mask]) -> Counts:
    labels = table["label"].to_numpy()
    return np.concatenate([np.bincount(labels[parts[part]], minlength=2) for part in PARTS])


def _delays(table: pa.Table) -> Counts:
    bins = np.searchsorted(DELAY_DAYS, label_delay_days(table), side="right")
    return np.bincount(bins, minlength=len(DELAY_DAYS) + 1)


def _month_numbers(table: pa.Table, spec: ProfileSpec) -> Counts:
    """Each row's place among the months; one more where it is earlier, two more where it is later."""
    months = table["time"].to_numpy().astype("datetime64[M]").astype(np.int64)
    numbers = months - np.datetime64(spec.months[0], "M").astype(np.int64)
    last = len(spec.months)
    return np.where(numbers < 0, last, np.where(numbers >= last, last + 1, numbers))


def _of_the_bank(table: pa.Table, spec: ProfileSpec, train: Mask) -> dict[str, Counts]:
    frauds = int(np.count_nonzero(table["label"].to_numpy()[train]))
    found = {BANK_FRAUDS: _one_hot(int(np.searchsorted(FRAUDS, frauds, side="right")) - 1, len(FRAUDS))}
    if spec.optional:
        found[COLUMNS] = columns_there(table, spec).astype(np.int64)
    if spec.training_months[1]:
        covered = int(training_months_there(table, spec, train).sum())
        found[BANK_MONTHS] = _one_hot(covered, spec.training_months[1] + 1)
    return found


def _one_hot(place: int, size: int) -> Counts:
    vector = np.zeros(size, dtype=np.int64)
    vector[place] = 1
    return vector


def _present(column: pa.ChunkedArray) -> Mask:
    if pa.types.is_floating(column.type):
        return np.asarray(~np.isnan(column.to_numpy()))
    return np.asarray(column.is_valid().to_numpy())
