"""Turns one data set into banks: by its own column, by region, by account hash, or by a Dirichlet draw."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fraudfl.config import PartitionConfig
from fraudfl.data.hashing import stable_hash, unit_interval
from fraudfl.errors import ConfigError, SchemaError

Codes = NDArray[np.int64]


def bank_ids(count: int) -> tuple[str, ...]:
    """Ids of `count` banks: `bank-01` and so on, as wide as the last one needs, at least two digits."""
    width = max(2, len(str(count)))
    return tuple(f"bank-{rank:0{width}d}" for rank in range(1, count + 1))


def assign_banks(table: pa.Table, config: PartitionConfig, seed: int) -> NDArray[np.object_]:
    """Assign every row to a bank.

    Natural banks keep the slug of their value. Elsewhere ids are `bank-01` and so on: by declared share for
    `account-hash`, by rows (largest first) for `region` and `dirichlet`. Except for `natural` and `region`, an account
    and all its transactions are at exactly one bank, wherever its rows stand in the table.

    Args:
        table: Validated table; needs column `bank`, `region` or `account`, and `label` for `dirichlet`.
        config: How to divide it.
        seed: Changes `account-hash` and `dirichlet`, nothing else.

    Returns:
        Bank ids as str objects, shape (rows,). Every bank has at least one row.

    Raises:
        SchemaError: if the column is absent or has nulls, or natural names cannot be told apart as ids.
        ConfigError: if there are too few regions or accounts for the number of banks.
    """
    if config.by == "natural":
        return _natural(table)
    if config.by == "region":
        codes, count = _by_region(table, config), _count(config)
    elif config.by == "account-hash":
        codes, count = _by_account_hash(table, config, seed), _count(config)
    else:
        codes, count = _by_dirichlet(table, config, seed), _count(config)
    banks: NDArray[np.object_] = np.array(bank_ids(count), dtype=object)[codes]
    return banks


def _count(config: PartitionConfig) -> int:
    if config.shares is not None:
        return len(config.shares)
    if config.count is None:  # the config refuses this; kept for callers that build one without validation
        raise ConfigError(f"banks: partition by `{config.by}` needs `count`")
    return config.count


def _column(table: pa.Table, name: str, by: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise SchemaError(
            f"banks: partition by `{by}` needs column '{name}', and the data set has only {table.column_names}; "
            f"map a source column to `{name}`, or choose another `banks.by`"
        )
    column = table[name]
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0]) + 1
        raise SchemaError(f"column '{name}' is empty in row {row}; expected a value in every row; clean the data")
    return column


def _natural(table: pa.Table) -> NDArray[np.object_]:
    encoded = pc.dictionary_encode(_column(table, "bank", "natural").combine_chunks().cast(pa.string()))
    slugs: dict[str, str] = {}
    for value in encoded.dictionary.to_pylist():
        slug = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:63].strip("-")
        if not slug:
            raise SchemaError(f"column 'bank' holds {value!r}, which has no letter a-z or digit to name a bank by")
        if slug in slugs:
            raise SchemaError(
                f"column 'bank' holds {slugs[slug]!r} and {value!r}, and both would be bank '{slug}'; rename one"
            )
        slugs[slug] = value
    banks: NDArray[np.object_] = np.array(list(slugs), dtype=object)[encoded.indices.to_numpy()]
    return banks


def _by_region(table: pa.Table, config: PartitionConfig) -> Codes:
    """Largest region first, each to the bank with the fewest rows so far (longest processing time first)."""
    encoded = pc.dictionary_encode(_column(table, "region", "region").combine_chunks().cast(pa.string()))
    names, region = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    count = _count(config)
    if len(names) < count:
        raise ConfigError(f"banks.count is {count}, and the data set has {len(names)} regions; lower `count`")
    rows = np.bincount(region, minlength=len(names))
    loads = np.zeros(count, np.int64)
    bank_of_region = np.empty(len(names), np.int64)
    for index in sorted(range(len(names)), key=lambda index: (-rows[index], names[index])):
        bank_of_region[index] = np.argmin(loads)
        loads[bank_of_region[index]] += rows[index]
    codes: Codes = _by_rank(bank_of_region, rows, count)[region]
    return codes


def _by_account_hash(table: pa.Table, config: PartitionConfig, seed: int) -> Codes:
    position = unit_interval(stable_hash(_column(table, "account", "account-hash"), f"account-hash:{seed}"))
    count = _count(config)
    shares = np.array(config.shares) if config.shares is not None else np.arange(1, count + 1) ** -config.skew
    codes = np.searchsorted(np.cumsum(shares / shares.sum())[:-1], position, side="right")
    rows = np.bincount(codes, minlength=count)
    if not rows.all():
        empty = bank_ids(count)[int(np.argmin(rows))]
        raise ConfigError(f"{empty} of {count} got no account; lower `banks.count` or `banks.skew`, or bring more data")
    return codes


def _by_dirichlet(table: pa.Table, config: PartitionConfig, seed: int) -> Codes:
    """Accounts with and without fraud are shared out by a Dirichlet draw each (Hsu et al. 2019, by label)."""
    column = _column(table, "account", "dirichlet")
    distinct, account = np.unique(stable_hash(column, f"dirichlet:{seed}"), return_inverse=True)
    count = _count(config)
    if distinct.size < count:
        raise ConfigError(f"banks.count is {count}, and the data set has {distinct.size} accounts; lower `count`")
    label = _column(table, "label", "dirichlet").to_numpy()
    has_fraud = np.bincount(account, label, distinct.size) > 0
    rng = np.random.Generator(np.random.PCG64(seed))
    bank = np.empty(distinct.size, np.int64)
    for group in (~has_fraud, has_fraud):
        shares = rng.dirichlet(np.full(count, config.alpha))
        members = np.flatnonzero(group)  # in the order of their hashes: random, and the same for any row order
        bank[members] = np.searchsorted(np.cumsum(shares)[:-1], (np.arange(members.size) + 0.5) / max(1, members.size))
    _fill_empty(bank, count)
    return _by_rank(bank, np.bincount(account, minlength=distinct.size), count)[account]


def _fill_empty(bank: Codes, count: int) -> None:
    """Give every bank without an account one from the bank that has most, in place."""
    sizes = np.bincount(bank, minlength=count)
    for empty in np.flatnonzero(sizes == 0):
        largest = int(np.argmax(sizes))
        bank[np.flatnonzero(bank == largest)[0]] = empty
        sizes[largest] -= 1
        sizes[empty] += 1


def _by_rank(bank: Codes, rows: Codes, count: int) -> Codes:
    """Renumber banks so that the one with most rows comes first."""
    order = np.argsort(-np.bincount(bank, rows, count), kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    return rank[bank]
