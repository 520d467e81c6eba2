"""Ordinary transactions: who pays whom, when, and how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudfl.config import GeneratorConfig
from fraudfl.data.simulate.world import FAVOURITES, Floats, Ints, World, draw_counterparties

DAY = 86_400
_SESSION_SHARE = 0.18  # payments that follow another of the same customer within minutes
_SAME_SHOP_SHARE = 0.4  # of those, at the same counterparty
_FAVOURITE_SHARE = 0.6
_LARGE_SHARE = 0.05
_ANY_HOUR_SHARE = 0.08


@dataclass(frozen=True)
class Rows:
    """Transactions in no particular order; every array has shape (rows,).

    Attributes:
        second: Seconds since the first day began.
        account, counterparty: Indices into the world.
        amount: In the counterparty's currency.
    """

    second: Ints
    account: Ints
    counterparty: Ints
    amount: Floats


def ordinary_rows(config: GeneratorConfig, rng: np.random.Generator, world: World, count: int) -> Rows:
    """Draw `count` good transactions."""
    leader = _session_leaders(rng, count)
    account = draw_accounts(rng, world.account_weight, count)[leader]
    second = _days(config, rng, count) * DAY + _seconds_of_day(rng, world.account_hour[account])
    gaps = np.cumsum(rng.integers(20, 900, count))
    second = np.minimum(second[leader] + gaps - gaps[leader], config.days * DAY - 1)
    counterparty = _usual_or_new(rng, world, account)
    same_shop = rng.random(count) < _SAME_SHOP_SHARE
    counterparty = np.where(same_shop, counterparty[leader], counterparty)
    large = rng.random(count) < _LARGE_SHARE
    return Rows(second, account, counterparty, world.amount(rng, account, counterparty, np.where(large, 1.3, 0.0)))


def rows_at(rows: Rows, where: Ints) -> Rows:
    """Choose rows by index, in the order of the indices."""
    return Rows(rows.second[where], rows.account[where], rows.counterparty[where], rows.amount[where])


def draw_accounts(rng: np.random.Generator, weight: Floats, count: int) -> Ints:
    """Draw accounts in proportion to `weight`."""
    running = np.cumsum(weight)
    found = np.searchsorted(running, rng.random(count) * running[-1], side="right")
    return np.asarray(np.minimum(found, weight.size - 1))


def _session_leaders(rng: np.random.Generator, count: int) -> Ints:
    """For each row the row that opened its session: itself, or the closest one before it that did."""
    opens = rng.random(count) >= _SESSION_SHARE
    opens[0] = True
    return np.maximum.accumulate(np.where(opens, np.arange(count), 0))


def _days(config: GeneratorConfig, rng: np.random.Generator, count: int) -> Ints:
    """Draw days with growth of a tenth over a year, a weekly rhythm, payday, and a peak in December."""
    date = np.datetime64(config.start, "D") + np.arange(config.days)
    weekday = (date.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    of_month = (date - date.astype("datetime64[M]")).astype(np.int64)
    month = date.astype("datetime64[M]").astype(np.int64) % 12
    weight = np.array([0.9, 0.92, 0.95, 1.0, 1.2, 1.25, 0.8])[weekday]
    weight = weight * (1 + 0.1 * np.arange(config.days) / 365) * np.where(of_month < 3, 1.15, 1.0)
    weight = weight * (1 + 0.06 * np.sin(2 * np.pi * (month - 3) / 12) + 0.15 * (month == 11))
    return draw_accounts(rng, weight, count)


def _seconds_of_day(rng: np.random.Generator, usual_hour: Floats) -> Ints:
    """Draw seconds around each customer's usual hour; a few at any hour."""
    hour = (usual_hour + 3.2 * rng.standard_normal(usual_hour.size)) % 24
    hour = np.where(rng.random(hour.size) < _ANY_HOUR_SHARE, 24 * rng.random(hour.size), hour)
    return np.minimum((hour * 3600).astype(np.int64), DAY - 1)


def _usual_or_new(rng: np.random.Generator, world: World, account: Ints) -> Ints:
    """Favourites, the first ones most often, or a fresh draw."""
    choice = (FAVOURITES * rng.random(account.size) ** 1.7).astype(np.int64)
    counterparty = world.favourites[account, choice]
    fresh = np.flatnonzero(rng.random(account.size) >= _FAVOURITE_SHARE)
    counterparty[fresh] = draw_counterparties(rng, world, account[fresh])
    return counterparty
