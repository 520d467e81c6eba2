"""Puts the generated world, its ordinary transactions and its frauds into one table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraudfl.config import GeneratorConfig
from fraudfl.config_changes import UNCHANGED, ChangesConfig
from fraudfl.data.partition import bank_ids
from fraudfl.data.schema import Contract
from fraudfl.data.simulate.behaviour import DAY, Rows, ordinary_rows, rows_at
from fraudfl.data.simulate.changes import changed_rows
from fraudfl.data.simulate.fraud import COMPROMISED_MERCHANT, GOOD, added_rows, compromised_rows, join_rows, kind_counts
from fraudfl.data.simulate.world import CATEGORIES, CHANNELS, CURRENCIES, Ints, World, build_world

GENERATED_CONTRACT = Contract(
    kind="transactions", currency=True, label_time=True, categorical=("channel", "merchant_category")
)

_GOOD_AFTER_DAYS = 7
_REPORT_MEDIAN_DAYS, _REPORT_SPREAD, _REPORT_MAX_DAYS = 5.0, 0.55, 30.0


def generate(config: GeneratorConfig, seed: int, changes: ChangesConfig = UNCHANGED) -> pa.Table:
    """Generate a consortium's transactions; the same arguments give the same bytes.

    Args:
        config: Size and shape of the consortium.
        seed: Seed of everything drawn.
        changes: What changes from a month on; rows before that month are the same bytes without it.

    Returns:
        The canonical table in the order of time, with the columns of `GENERATED_CONTRACT` and the bookkeeping
        column `bank` (`bank-01` is the largest). It has exactly `transactions` rows, of which the nearest whole
        number to `fraud_rate` are fraud, and those of a new kind besides.

    Raises:
        ConfigError: if a change begins after the history's end.
    """
    return generate_with_kinds(config, seed, changes)[0]


def generate_with_kinds(
    config: GeneratorConfig, seed: int, changes: ChangesConfig = UNCHANGED
) -> tuple[pa.Table, NDArray[np.int8]]:
    """Generate as `generate` does, and tell the kind of each row.

    Returns:
        The table, and int8 kinds of shape (rows,): `GOOD` or a kind of fraud.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    world = build_world(config, rng)
    counts = kind_counts(config)
    added, added_kinds = added_rows(config, rng, world, counts)
    ordinary = ordinary_rows(config, rng, world, config.transactions - added_kinds.size)
    kinds = np.concatenate([np.full(ordinary.second.size, GOOD), added_kinds]).astype(np.int8)
    stolen = compromised_rows(config, rng, world, ordinary, int(counts[COMPROMISED_MERCHANT - 1]))
    kinds[stolen] = COMPROMISED_MERCHANT
    rows = join_rows([ordinary, added])
    order = np.argsort(rows.second, kind="stable")
    rows, kinds = changed_rows(config, changes, seed, world, (rows_at(rows, order), kinds[order]))
    return _table(config, rng, world, rows, kinds != GOOD), kinds


def _table(
    config: GeneratorConfig, rng: np.random.Generator, world: World, rows: Rows, fraud: NDArray[np.bool_]
) -> pa.Table:
    count = rows.second.size
    counterparties = world.counterparties
    # Numbers are shuffled, so that an id tells nothing about the bank, the category or the region behind it.
    account_id = 10_000_000 + rng.permutation(world.account_bank.size)
    counterparty_id = 1 + rng.permutation(counterparties.region.size)
    microsecond = rows.second * 1_000_000 + np.datetime64(config.start, "us").astype(np.int64)
    known = microsecond + _label_delay(rng, fraud)
    return pa.table({
        "transaction_id": np.arange(1, count + 1),
        "time": pa.array(microsecond).cast(pa.timestamp("us")),
        "account": account_id[rows.account],
        "counterparty": counterparty_id[rows.counterparty],
        "amount": rows.amount,
        "currency": _texts(counterparties.region[rows.counterparty], CURRENCIES),
        "label": fraud.astype(np.int8),
        "label_time": pa.array(known).cast(pa.timestamp("us")),
        "channel": _texts(counterparties.channel[rows.counterparty], CHANNELS),
        "merchant_category": _texts(counterparties.category[rows.counterparty], CATEGORIES),
        "bank": _texts(world.account_bank[rows.account], bank_ids(config.banks)),
    })  # fmt: skip


def _label_delay(rng: np.random.Generator, fraud: NDArray[np.bool_]) -> Ints:
    """Microseconds until each label is known, in whole seconds."""
    delay = np.full(fraud.size, _GOOD_AFTER_DAYS * DAY)
    reported = np.exp(np.log(_REPORT_MEDIAN_DAYS) + _REPORT_SPREAD * rng.standard_normal(int(fraud.sum())))
    delay[fraud] = (np.minimum(reported, _REPORT_MAX_DAYS) * DAY).astype(np.int64)
    return delay * 1_000_000


def _texts(codes: Ints, values: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(values)).dictionary_decode()
