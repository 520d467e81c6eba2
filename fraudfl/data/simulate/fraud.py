"""The four usual kinds of fraud: one marks ordinary rows, three add rows of their own. New kinds: `changes.py`."""

from __future__ import annotations

import numpy as np

from fraudfl.config import GeneratorConfig
from fraudfl.data.simulate.behaviour import DAY, Rows, draw_accounts
from fraudfl.data.simulate.world import (
    CATEGORIES,
    CURRENCIES,
    GAMING,
    ONLINE,
    TRANSFER,
    Floats,
    Ints,
    World,
    draw_regions,
)

GOOD, COMPROMISED_MERCHANT, MULE_ACCOUNT, CARD_TESTING, ACCOUNT_TAKEOVER, STOLEN_CARD, CASH_OUT = range(7)
KIND_SHARE = np.array([0.30, 0.20, 0.25, 0.25])
_RESOLD_SHARE = np.array([0, 0, 0, 0.15, 0.35, 0.15, 0.05, 0, 0.1, 0.2])  # what thieves buy, by category
_STOLEN_SHARE = 0.7  # of the payments at a compromised merchant during its window


def kind_counts(config: GeneratorConfig) -> Ints:
    """Rows of each kind of fraud, shape (4,); they sum to `fraud_rate` of all rows, at least one."""
    total = max(1, round(config.fraud_rate * config.transactions))
    exact = KIND_SHARE * total
    counts = np.floor(exact).astype(np.int64)
    short = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    return np.asarray(counts)


def compromised_rows(config: GeneratorConfig, rng: np.random.Generator, world: World, rows: Rows, count: int) -> Ints:
    """Choose which ordinary rows are stolen cards at compromised merchants.

    Returns:
        `count` row indices: rows at a compromised merchant in its window, banks weighted by their exposure.
    """
    counterparties = world.counterparties
    days = np.minimum(rng.uniform(20, 45, counterparties.region.size), 0.8 * config.days)
    start = rng.random(days.size) * (config.days - days)
    visits = np.bincount(rows.counterparty, minlength=days.size)
    expected = np.where(counterparties.category == TRANSFER, 0.0, visits * days / config.days)
    # Busy but not the busiest: a breach at the largest merchant would be most of all fraud.
    candidates = np.argsort(-expected, kind="stable")[: max(1, (expected > 0).sum() // 2)]
    skipped = candidates.size // 30
    order = np.concatenate([rng.permutation(candidates[skipped:]), candidates[:skipped]])
    needed = int(np.searchsorted(np.cumsum(expected[order]), count / _STOLEN_SHARE)) + 1
    compromised = np.zeros(days.size, bool)
    compromised[order[:needed]] = True

    here = np.flatnonzero(compromised[rows.counterparty])
    if here.size < count:  # only when nearly half of all rows are to be fraud
        here = np.arange(rows.second.size)
    day, merchant = rows.second[here] / DAY, rows.counterparty[here]
    in_window = compromised[merchant] & (day >= start[merchant]) & (day < start[merchant] + days[merchant])
    weight = world.exposure[world.account_bank[rows.account[here]], COMPROMISED_MERCHANT - 1]
    # Weighted draw without replacement (Efraimidis and Spirakis 2006); rows outside a window come last.
    key = rng.standard_exponential(here.size) / weight + np.where(in_window, 0.0, 1e12)
    return here[np.argsort(key, kind="stable")[:count]]


def added_rows(config: GeneratorConfig, rng: np.random.Generator, world: World, counts: Ints) -> tuple[Rows, Ints]:
    """Draw the rows of mule accounts, card testing and account takeover, and the kind of each."""
    parts = [
        _mule_rows(config, rng, world, int(counts[MULE_ACCOUNT - 1])),
        _testing_rows(config, rng, world, int(counts[CARD_TESTING - 1])),
        _takeover_rows(config, rng, world, int(counts[ACCOUNT_TAKEOVER - 1])),
    ]
    kinds = np.repeat([MULE_ACCOUNT, CARD_TESTING, ACCOUNT_TAKEOVER], [part.second.size for part in parts])
    return join_rows(parts), kinds


def join_rows(parts: list[Rows]) -> Rows:
    """Put rows one after the other."""
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__dataclass_fields__))


def _mule_rows(config: GeneratorConfig, rng: np.random.Generator, world: World, count: int) -> Rows:
    group, _, groups = event_positions(rng, count, 10, 40)
    region = world.account_region[_victims(rng, world, MULE_ACCOUNT, groups)]
    payee = world.counterparties.draw(rng, region, np.full(groups, TRANSFER))
    account = np.empty(count, np.int64)
    weight = _victim_weight(world, MULE_ACCOUNT)
    for home in range(len(CURRENCIES)):
        members = np.flatnonzero(region[group] == home)
        if members.size:
            account[members] = draw_accounts(rng, np.where(world.account_region == home, weight, 0.0), members.size)
    window = rng.uniform(2, 10, groups)
    day = np.floor(rng.random(groups)[group] * (config.days - window[group]) + rng.random(count) * window[group])
    hour = rng.normal(14, 4, count) % 24
    second = (day * DAY + hour * 3600).astype(np.int64)
    shift = rng.normal(0.9, 0.5, count)
    return Rows(second, account, payee[group], world.amount(rng, account, payee[group], shift))


def _testing_rows(config: GeneratorConfig, rng: np.random.Generator, world: World, count: int) -> Rows:
    group, position, groups = event_positions(rng, count, 4, 10)
    account = _victims(rng, world, CARD_TESTING, groups)[group]
    shops = np.flatnonzero(world.counterparties.channel == ONLINE)
    if not shops.size:
        shops = np.flatnonzero(world.counterparties.category != TRANSFER)
    gaming = shops[world.counterparties.category[shops] == GAMING]
    # Tests go to the few shops whose checkout is weak; the large payment goes anywhere online.
    weak = rng.choice(gaming if gaming.size else shops, max(2, shops.size // 20))
    shop = np.where(rng.random(count) < 0.7, rng.choice(weak, groups)[group], rng.choice(shops, count))
    is_last = np.append(group[1:] != group[:-1], True) if count else np.zeros(0, bool)
    final = is_last & (position > 0)
    shop = np.where(final, rng.choice(shops, count), shop)
    gaps = np.where(final, rng.integers(300, 7200, count), rng.integers(10, 240, count))
    second = _event_start(config, rng, groups)[group] + running_in_event(gaps, group)
    large = world.amount(rng, account, shop, np.full(count, 1.2))
    return Rows(second, account, shop, np.where(final, large, world.small_amount(rng, shop)))


def _takeover_rows(config: GeneratorConfig, rng: np.random.Generator, world: World, count: int) -> Rows:
    group, _, groups = event_positions(rng, count, 2, 6)
    account = _victims(rng, world, ACCOUNT_TAKEOVER, groups)[group]
    away = rng.random(count) < rng.choice([0.1, 0.8], groups)[group]
    region = np.where(away, draw_regions(rng, count), world.account_region[account])
    category = rng.choice(len(CATEGORIES), count, p=_RESOLD_SHARE)
    counterparty = world.counterparties.draw(rng, region, category)
    # Two thirds come at night, whatever the customer's own hours are.
    night = (_event_start(config, rng, groups) // DAY * DAY + rng.uniform(0, 6 * 3600, groups)).astype(np.int64)
    start = np.where(rng.random(groups) < 0.67, night, _event_start(config, rng, groups))
    second = start[group] + running_in_event(rng.integers(60, 3600, count), group)
    shift = rng.normal(1.0, 0.4, groups)[group]
    return Rows(second, account, counterparty, world.amount(rng, account, counterparty, shift))


def event_positions(rng: np.random.Generator, count: int, low: int, high: int) -> tuple[Ints, Ints, int]:
    """Cut `count` rows into events of `low` to `high` rows; returns event and position of each row, and events."""
    sizes = rng.integers(low, high + 1, count // low + 1)
    group = np.repeat(np.arange(sizes.size), sizes)[:count]
    starts = np.cumsum(sizes) - sizes
    return group, np.arange(count) - starts[group], int(group[-1]) + 1 if count else 0


def _event_start(config: GeneratorConfig, rng: np.random.Generator, groups: int) -> Ints:
    # Half a day is kept free at the end, so that an event fits into the history.
    return (rng.random(groups) * (config.days - 0.5) * DAY).astype(np.int64)


def running_in_event(gaps: Ints, group: Ints) -> Ints:
    """Running sum of gaps within each event, from zero."""
    running = np.cumsum(gaps)
    first = np.searchsorted(group, group)
    return running - running[first]


def _victim_weight(world: World, kind: int) -> Floats:
    return np.asarray(world.account_weight * world.exposure[world.account_bank, kind - 1])


def _victims(rng: np.random.Generator, world: World, kind: int, count: int) -> Ints:
    return draw_accounts(rng, _victim_weight(world, kind), count)
