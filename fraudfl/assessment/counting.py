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
        int64, shape (spec.size,).
    """
    accounts = None if account_rows is None else clusters_of(table)
    everything = np.ones(table.num_rows, dtype=bool)
    counted = table.filter(pa.array(_bounded(everything, accounts, account_rows)))
    parts = {part: _bounded(rows, accounts, account_rows) for part, rows in _parts(split_rows(table, split)).items()}
    found = _columns(counted, spec)
    found[CLASSES] = _classes(table, parts)
    if spec.label_time:
        found[DELAY] = _delays(counted)
    if spec.months:
        found[MONTHS] = np.bincount(_month_numbers(counted, spec), minlength=len(spec.months) + 2)
    if spec.optional:
        found[COLUMNS] = np.array([int(_present(counted[name]).sum()) for name in spec.optional]).clip(
            0, spec.enough_rows
        )
    if spec.training_months[1]:
        found[BANK_MONTHS] = _training_months(table, spec, parts["train"]).clip(0, spec.enough_rows)
    frauds = int(np.count_nonzero(table["label"].to_numpy()[parts["train"]]))
    found[BANK_FRAUDS] = _layers(frauds) if spec.enough_rows > 1 else _one_hot(frauds)
    return np.concatenate([found[name] for name in spec.blocks]).astype(np.int64)


def columns_there(table: pa.Table, spec: ProfileSpec) -> NDArray[np.bool_]:
    """Which of the columns that may be missing hold any value, in the order of `spec.optional`."""
    return np.array([bool(_present(table[name]).any()) for name in spec.optional], dtype=bool)


def training_months_there(table: pa.Table, spec: ProfileSpec, train: Mask) -> NDArray[np.bool_]:
    """Which of the training months hold any row of the training window."""
    return _training_months(table, spec, train) > 0


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


def _training_months(table: pa.Table, spec: ProfileSpec, train: Mask) -> Counts:
    """Rows of the training window per training month."""
    first, count = spec.training_months
    numbers = _month_numbers(table.filter(pa.array(train)), spec)
    return np.bincount(numbers, minlength=len(spec.months) + 2)[first : first + count]


def _one_hot(frauds: int) -> Counts:
    vector = np.zeros(len(FRAUDS), dtype=np.int64)
    vector[np.searchsorted(FRAUDS, frauds, side="right") - 1] = 1
    return vector


def _layers(frauds: int) -> Counts:
    """How far the frauds fill each bin; the last one, which has no end, stays empty."""
    edges = np.array(FRAUDS, dtype=np.int64)
    return np.append(np.clip(frauds, edges[:-1], edges[1:]) - edges[:-1], 0)


def _present(column: pa.ChunkedArray) -> Mask:
    if pa.types.is_floating(column.type):
        return np.asarray(~np.isnan(column.to_numpy()))
    return np.asarray(column.is_valid().to_numpy())
