"""Changes a generated history from a month on: ordinary behaviour drifts, and new kinds of fraud appear.

The history is generated as if nothing changed, and then rows of the changed months are replaced, with random numbers
of their own. So every row before the first change is what it is without one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fraudfl.config import GeneratorConfig
from fraudfl.config_changes import ChangesConfig, DriftConfig, NewFraudConfig, first_day
from fraudfl.data.simulate.behaviour import DAY, Rows, draw_accounts, rows_at
from fraudfl.data.simulate.fraud import (
    CASH_OUT,
    GOOD,
    STOLEN_CARD,
    event_positions,
    join_rows,
    running_in_event,
)
from fraudfl.data.simulate.world import CATEGORIES, CHANNELS, ONLINE, Bools, Ints, World
from fraudfl.errors import ConfigError

Kinds = NDArray[np.int8]
_FIRST_DRIFT = 100  # streams below are those of new kinds of fraud
_NEW_MIX = {"travel": 0.4, "electronics": 0.35, "gaming": 0.25}  # where drifted payments go


@dataclass(frozen=True)
class _Scheme:
    """How one new kind of fraud goes about it.

    Attributes:
        kind: Its number.
        categories: Where it pays, as shares.
        payments: Fewest and most payments of one event.
        gap: Shortest and longest pause between them, in seconds.
        hours: Hours between which an event begins.
        shift: Mean and spread of the log of its amounts, against what is usual there.
    """

    kind: int
    categories: dict[str, float]
    payments: tuple[int, int]
    gap: tuple[int, int]
    hours: tuple[float, float]
    shift: tuple[float, float]


_SCHEMES = {
    "stolen_card": _Scheme(
        STOLEN_CARD,
        {"fuel": 0.6, "pharmacy": 0.4},
        (5, 9), (60, 600), (9.0, 18.0), (0.0, 0.3),
    ),
    "cash_out": _Scheme(CASH_OUT, {"cash": 1.0}, (3, 6), (60, 900), (9.0, 17.0), (-0.2, 0.3)),
}  # fmt: skip


def changed_rows(
    config: GeneratorConfig, changes: ChangesConfig, seed: int, world: World, history: tuple[Rows, Kinds]
) -> tuple[Rows, Kinds]:
    """Apply all changes to a history.

    Args:
        config: Size and shape of the consortium.
        changes: What changes, and when.
        seed: Seed of the history; each change draws from a stream of its own.
        world: The world of that history.
        history: Its rows in order of time, and the kind of each.

    Returns:
        As many rows, in order of time, and their kinds.

    Raises:
        ConfigError: if a change begins after the history's end.
    """
    rows, kinds = history
    for fraud in changes.new_frauds:
        rng = _stream(seed, _SCHEMES[fraud.kind].kind)
        rows, kinds = _with_new_fraud(config, fraud, rng, world, (rows, kinds))
    for position, drift in enumerate(changes.drifts):
        later = np.flatnonzero(rows.second >= _begin(config, drift.month) * DAY)
        changed = _drifted(
            drift, _stream(seed, _FIRST_DRIFT + position), world, rows_at(rows, later), kinds[later] == GOOD
        )
        rows = _put(rows, later, changed)
    return rows, kinds


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, number]))


def _begin(config: GeneratorConfig, month: int) -> int:
    day = first_day(month)
    if day >= config.days:
        raise ConfigError(
            f"changes: month {month} begins on day {day}, but the history has {config.days} days. "
            "Make `generator.days` longer, or choose an earlier month."
        )
    return day


def _with_new_fraud(
    config: GeneratorConfig, fraud: NewFraudConfig, rng: np.random.Generator, world: World, history: tuple[Rows, Kinds]
) -> tuple[Rows, Kinds]:
    """Put a new kind of fraud in the place of as many good payments of the same months."""
    rows, kinds = history
    begin = _begin(config, fraud.month)
    later = rows.second >= begin * DAY
    replaceable = np.flatnonzero(later & (kinds == GOOD))
    count = min(round(fraud.rate * int(later.sum())), replaceable.size)
    kept = np.ones(kinds.size, bool)
    kept[rng.choice(replaceable, count, replace=False)] = False
    scheme = _SCHEMES[fraud.kind]
    added = _scheme_rows(scheme, rng, world, (begin, config.days), count)
    joined = join_rows([rows_at(rows, np.flatnonzero(kept)), added])
    joined_kinds = np.concatenate([kinds[kept], np.full(count, scheme.kind, np.int8)])
    order = np.argsort(joined.second, kind="stable")
    return rows_at(joined, order), joined_kinds[order]


def _scheme_rows(scheme: _Scheme, rng: np.random.Generator, world: World, days: tuple[int, int], count: int) -> Rows:
    """Draw the payments of events that begin on days from the first, inclusive, to the last, exclusive."""
    event, _, events = event_positions(rng, count, *scheme.payments)
    account = draw_accounts(rng, world.account_weight, events)[event]
    category = _draw_categories(rng, scheme.categories, count)
    counterparty = world.counterparties.draw(rng, world.account_region[account], category)
    start = rng.integers(*days, events) * DAY + (rng.uniform(*scheme.hours, events) * 3600).astype(np.int64)
    second = start[event] + running_in_event(rng.integers(*scheme.gap, count), event)
    shift = rng.normal(*scheme.shift, count)
    return Rows(second, account, counterparty, world.amount(rng, account, counterparty, shift))


def _drifted(drift: DriftConfig, rng: np.random.Generator, world: World, rows: Rows, good: Bools) -> Rows:
    """Change rows of drifted months; prices rise for thieves too, but only good payments go elsewhere."""
    if drift.kind == "amounts":
        return replace(rows, amount=np.maximum(np.round(rows.amount * (1 + drift.strength), 2), 0.01))
    moved = good & (rng.random(good.size) < drift.strength)
    if drift.kind == "merchants":
        return _at_other_merchants(rng, world, rows, moved)
    return _online(rng, world, rows, moved)


def _at_other_merchants(rng: np.random.Generator, world: World, rows: Rows, moved: Bools) -> Rows:
    category = _draw_categories(rng, _NEW_MIX, moved.size)
    drawn = world.counterparties.draw(rng, world.account_region[rows.account], category)
    counterparty = np.where(moved, drawn, rows.counterparty)
    amount = world.amount(rng, rows.account, counterparty, np.zeros(moved.size))
    return replace(rows, counterparty=counterparty, amount=np.where(moved, amount, rows.amount))


def _online(rng: np.random.Generator, world: World, rows: Rows, moved: Bools) -> Rows:
    """Move payments from tills to online shops of the same region, which keeps the currency."""
    shops = world.counterparties
    at_till = shops.channel[rows.counterparty] == CHANNELS.index("pos")
    popularity = np.where(shops.channel == ONLINE, np.diff(shops.cumulative, prepend=0.0), 0.0)
    counterparty = rows.counterparty.copy()
    for region in np.unique(shops.region[shops.channel == ONLINE]):
        # Drawn for every row, so that no row's draw depends on how many moved after it.
        drawn = draw_accounts(rng, np.where(shops.region == region, popularity, 0.0), moved.size)
        here = moved & at_till & (shops.region[rows.counterparty] == region)
        counterparty[here] = drawn[here]
    return replace(rows, counterparty=counterparty)


def _draw_categories(rng: np.random.Generator, shares: dict[str, float], count: int) -> Ints:
    codes = np.array([CATEGORIES.index(name) for name in shares])
    return rng.choice(codes, count, p=list(shares.values()))


def _put(rows: Rows, where: Ints, changed: Rows) -> Rows:
    """The rows with what was paid, and where, taken over from changed ones."""
    counterparty, amount = rows.counterparty.copy(), rows.amount.copy()
    counterparty[where], amount[where] = changed.counterparty, changed.amount
    return replace(rows, counterparty=counterparty, amount=amount)
