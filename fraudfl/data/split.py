"""Divides a data set in time, so that no label was known later than a model could have used it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraudfl.config import Days, SplitConfig
from fraudfl.data.hashing import stable_hash, unit_interval
from fraudfl.errors import ConfigError, DataError, SchemaError

Mask = NDArray[np.bool_]
_DAY = np.timedelta64(1, "D").astype("timedelta64[us]")


@dataclass(frozen=True)
class Split:
    """Disjoint row masks, each of shape (rows,); a row in none of them is not used.

    Attributes:
        train: Rows that models learn from.
        validation: Rows kept for thresholds and for choosing a round.
        test: Rows for the final figures.
    """

    train: Mask
    validation: Mask
    test: Mask


def split_rows(table: pa.Table, config: SplitConfig) -> Split:
    """Split rows: a whole data set's, or one bank's, where a part may then be empty.

    By time: days are counted from `origin`. A row of the training days is used only if its label was known when the
    first test day begins, which is at its `label_time` or, without one, `label_delay_days` after it. The last
    `validation_days` of the training days are validation. As given: column `split` holds `train` or `test`, and a
    hash of `transaction_id` (of the row's number where there is none) keeps `validation_share` of train for validation.

    Args:
        table: Validated table with `time`, or with `split` where the split is given.
        config: Which days, or `given`.

    Raises:
        SchemaError: if a needed column is absent, or `split` holds anything else.
    """
    return _given(table, config) if config.by == "given" else _by_time(table, config)


def require_rows(table: pa.Table, config: SplitConfig) -> None:
    """Refuse a whole data set that leaves nothing to train or to test on.

    Raises:
        SchemaError: if a needed column is absent, or `split` holds anything else.
        DataError: if no row is left to train or to test on.
    """
    split = split_rows(table, config)
    for name, mask in (("train", split.train), ("test", split.test)):
        if not mask.any():
            raise DataError(_nothing_left(table, config, name))


def _by_time(table: pa.Table, config: SplitConfig) -> Split:
    origin, (first, last), (test_first, test_last) = _days(config)
    _require(table, "time")
    time = _times(table, "time")
    start = np.datetime64(origin, "us")
    test_start = start + test_first * _DAY
    known_in_time = labels_known(table, config.label_delay_days) <= test_start
    usable = _within(time, start, first, last) & known_in_time
    validation = usable & (time >= start + (last + 1 - config.validation_days) * _DAY)
    return Split(usable & ~validation, validation, _within(time, start, test_first, test_last))


def _given(table: pa.Table, config: SplitConfig) -> Split:
    _require(table, "split")
    names = table["split"].to_numpy()
    train, test = names == "train", names == "test"
    if not (train | test).all():
        row = int(np.flatnonzero(~(train | test))[0])
        raise SchemaError(f"column 'split' holds {names[row]!r} in row {row + 1}; expected 'train' or 'test'")
    ids = (
        table["transaction_id"] if "transaction_id" in table.column_names else pa.chunked_array([np.arange(len(names))])
    )
    held_back = unit_interval(stable_hash(ids, "validation")) < config.validation_share
    return Split(train & ~held_back, train & held_back, test)


def labels_known(table: pa.Table, delay_days: float) -> NDArray[np.datetime64]:
    """When each label was known, at its `label_time` or so many days after its row; shape (rows,)."""
    assumed = _times(table, "time") + np.timedelta64(round(delay_days * 86_400_000_000), "us")
    if "label_time" not in table.column_names:
        return assumed
    told = _times(table, "label_time")
    return np.where(np.isnat(told), assumed, told)


def _within(time: NDArray[np.datetime64], start: np.datetime64, first: int, last: int) -> Mask:
    return np.asarray((time >= start + first * _DAY) & (time < start + (last + 1) * _DAY))


def _times(table: pa.Table, name: str) -> NDArray[np.datetime64]:
    return np.asarray(table[name].to_numpy().astype("datetime64[us]"))


def _days(config: SplitConfig) -> tuple[date, Days, Days]:
    if config.origin is None or config.train_days is None or config.test_days is None:
        raise ConfigError("split: a split by time needs `origin`, `train_days` and `test_days`")
    return config.origin, config.train_days, config.test_days


def _require(table: pa.Table, name: str) -> None:
    if name not in table.column_names:
        raise SchemaError(
            f"split: the data set has no column '{name}', only {table.column_names}; choose the other `split.by`"
        )


def _nothing_left(table: pa.Table, config: SplitConfig, name: str) -> str:
    if config.by == "given":
        return f"split: no row is left for {name}; column 'split' must hold both 'train' and 'test'"
    origin, train_days, test_days = _days(config)
    day = (_times(table, "time") - np.datetime64(origin, "us")) / _DAY
    first, last = train_days if name == "train" else test_days
    return (
        f"split.{name}_days: no usable row in days {first}–{last} from {origin}; the data covers days "
        f"{int(np.floor(day.min()))}–{int(np.floor(day.max()))} from there. Change `split.origin` or the days"
    )
