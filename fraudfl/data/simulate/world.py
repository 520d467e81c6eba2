"""The generated world: banks, their customers, and the merchants and payees that all of them share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fraudfl.config import GeneratorConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Regions: currency, units per euro, share of the banks.
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "SEK")
_PER_EURO = np.array([1.0, 1.1, 0.85, 0.95, 11.3])
_REGION_SHARE = np.array([0.5, 0.15, 0.15, 0.1, 0.1])

# Categories: share of payments, median amount in euros, spread of its logarithm, share of online merchants.
CATEGORIES = (
    "grocery", "fuel", "restaurant", "clothing", "electronics", "travel", "gaming", "pharmacy", "cash", "transfer",
)  # fmt: skip
_DEMAND = np.array([0.28, 0.10, 0.16, 0.08, 0.05, 0.04, 0.08, 0.06, 0.06, 0.09])
_MEDIAN = np.array([32.0, 48.0, 26.0, 55.0, 110.0, 180.0, 9.0, 18.0, 80.0, 250.0])
_SPREAD = np.array([0.8, 0.5, 0.7, 0.7, 0.9, 0.9, 1.0, 0.7, 0.6, 1.0])
_ONLINE = np.array([0.1, 0.0, 0.15, 0.5, 0.6, 0.7, 1.0, 0.15, 0.0, 0.0])
GAMING, CASH, TRANSFER = CATEGORIES.index("gaming"), CATEGORIES.index("cash"), CATEGORIES.index("transfer")

CHANNELS = ("pos", "online", "atm", "transfer")
ONLINE = CHANNELS.index("online")

FAVOURITES = 8
_PAYMENTS_PER_ACCOUNT_DAY = 0.5
FRAUD_KINDS = 4


@dataclass(frozen=True)
class Counterparties:
    """Merchants and payees, ordered by cell (region, category); all arrays have shape (counterparties,).

    Attributes:
        region, category, channel: Indices into CURRENCIES, CATEGORIES and CHANNELS.
        cumulative: Running sum of popularity; a cell is a slice of it.
        cell_low, cell_high: Popularity before and after each cell, shape (regions * categories,). Where the
            generated merchants leave a cell empty, its bounds are those of the nearest cell that has one.
    """

    region: Ints
    category: Ints
    channel: Ints
    cumulative: Floats
    cell_low: Floats
    cell_high: Floats

    def draw(self, rng: np.random.Generator, region: Ints, category: Ints) -> Ints:
        """Draw one counterparty per (region, category), by popularity."""
        cell = region * len(CATEGORIES) + category
        low, high = self.cell_low[cell], self.cell_high[cell]
        found = np.searchsorted(self.cumulative, low + rng.random(cell.size) * (high - low), side="right")
        return np.asarray(np.minimum(found, self.cumulative.size - 1))


@dataclass(frozen=True)
class World:
    """Everything that stays as it is while transactions happen.

    Attributes:
        bank_region: Home region, shape (banks,).
        bank_demand: Running share of categories, shape (banks, categories).
        exposure: How strongly each kind of fraud hits a bank; mean 1 over banks, shape (banks, kinds).
        account_bank, account_weight, account_level, account_hour, account_abroad: Home bank, share of all
            payments (sums to 1), log spending level, usual hour, share of payments abroad; shape (accounts,).
        favourites: Usual counterparties, shape (accounts, FAVOURITES).
    """

    bank_region: Ints
    bank_demand: Floats
    exposure: Floats
    account_bank: Ints
    account_weight: Floats
    account_level: Floats
    account_hour: Floats
    account_abroad: Floats
    favourites: Ints
    counterparties: Counterparties

    @property
    def account_region(self) -> Ints:
        """Home region of each account."""
        return self.bank_region[self.account_bank]

    def amount(self, rng: np.random.Generator, account: Ints, counterparty: Ints, shift: Floats) -> Floats:
        """Draw amounts in the counterparty's currency: category median, customer's level, and a log `shift`."""
        category = self.counterparties.category[counterparty]
        log_amount = np.log(_MEDIAN)[category] + self.account_level[account] + shift
        log_amount += _SPREAD[category] * rng.standard_normal(account.size)
        amount = np.exp(log_amount) * _PER_EURO[self.counterparties.region[counterparty]]
        return np.asarray(np.maximum(np.round(amount, 2), 0.01))

    def small_amount(self, rng: np.random.Generator, counterparty: Ints) -> Floats:
        """Draw amounts of one to a few euros, in the counterparty's currency."""
        amount = np.exp(rng.normal(1.3, 0.6, counterparty.size)) * _PER_EURO[self.counterparties.region[counterparty]]
        return np.asarray(np.maximum(np.round(amount, 2), 0.01))


def draw_counterparties(rng: np.random.Generator, world: World, account: Ints) -> Ints:
    """Draw a counterparty per row, by the demand of the account's bank, at home or abroad."""
    bank = world.account_bank[account]
    category = _pick(rng, world.bank_demand[bank])
    abroad = world.account_abroad[account]
    # Transfers rarely cross a border; other payments follow the customer.
    leaves = rng.random(account.size) < np.where(category == TRANSFER, 0.1 * abroad, abroad)
    region = np.where(leaves, draw_regions(rng, account.size), world.bank_region[bank])
    return world.counterparties.draw(rng, region, category)


def draw_regions(rng: np.random.Generator, count: int) -> Ints:
    """Draw regions as if from anywhere."""
    return rng.choice(len(CURRENCIES), count, p=_REGION_SHARE)


def build_world(config: GeneratorConfig, rng: np.random.Generator) -> World:
    """Draw banks, accounts and counterparties."""
    banks = config.banks
    bank_region = rng.permutation(np.searchsorted(np.cumsum(_REGION_SHARE), (np.arange(banks) + 0.5) / banks))
    demand = _DEMAND * rng.gamma(6.0, 1 / 6, (banks, len(CATEGORIES)))
    exposure = rng.gamma(0.7, 1.0, (banks, FRAUD_KINDS)) + 0.03
    bank_level, bank_hour = rng.normal(0, 0.25, banks), rng.normal(14, 1.5, banks)
    size = np.arange(1, banks + 1, dtype=np.float64) ** -config.size_skew
    bank_share: Floats = size / size.sum()

    account_count = max(4 * banks, round(config.transactions / (_PAYMENTS_PER_ACCOUNT_DAY * config.days)))
    account_bank = _accounts_per_bank(bank_share, account_count)
    activity = rng.gamma(1.5, 1.0, account_bank.size) + 0.05
    weight = bank_share[account_bank] * activity / np.bincount(account_bank, activity)[account_bank]
    world = World(
        bank_region=bank_region,
        bank_demand=np.cumsum(demand / demand.sum(axis=1, keepdims=True), axis=1),
        exposure=exposure / exposure.mean(axis=0),
        account_bank=account_bank,
        account_weight=weight / weight.sum(),
        account_level=bank_level[account_bank] + rng.normal(0, 0.45, account_bank.size),
        account_hour=bank_hour[account_bank] + rng.normal(0, 2, account_bank.size),
        account_abroad=0.4 * rng.random(account_bank.size) ** 3,
        favourites=np.empty((0, FAVOURITES), np.int64),
        counterparties=_build_counterparties(
            config, rng, _market(bank_region, bank_share), max(20, account_count // 3)
        ),
    )
    owner = np.repeat(np.arange(account_bank.size), FAVOURITES)
    favourites = draw_counterparties(rng, world, owner).reshape(-1, FAVOURITES)
    return replace(world, favourites=favourites)


def _accounts_per_bank(bank_share: Floats, count: int) -> Ints:
    """Share accounts out like payments, at least two to a bank; returns the bank of each account."""
    return np.repeat(np.arange(bank_share.size), np.maximum(2, np.round(bank_share * count).astype(np.int64)))


def _market(bank_region: Ints, bank_share: Floats) -> Floats:
    """Share of each region among merchants and payees: mostly where the banks' customers live."""
    return 0.2 * _REGION_SHARE + 0.8 * np.bincount(bank_region, bank_share, len(CURRENCIES))


def _build_counterparties(
    config: GeneratorConfig, rng: np.random.Generator, market: Floats, payees: int
) -> Counterparties:
    merchants = config.merchants or max(10, config.transactions // 150)
    merchant_share = _DEMAND.copy()
    merchant_share[TRANSFER] = 0
    category = np.concatenate([
        rng.choice(len(CATEGORIES), merchants, p=merchant_share / merchant_share.sum()),
        np.full(payees, TRANSFER),
    ])  # fmt: skip
    region = rng.choice(len(CURRENCIES), category.size, p=market)
    # Zipf's law among merchants; payees are mostly private people, so their ranks matter less.
    popularity = (rng.permutation(category.size) + 10.0) ** np.where(category == TRANSFER, -0.5, -0.9)
    order = np.argsort(region * len(CATEGORIES) + category, kind="stable")
    category, region, popularity = category[order], region[order], popularity[order]
    channel = np.where(rng.random(category.size) < _ONLINE[category], ONLINE, CHANNELS.index("pos"))
    channel[category == CASH] = CHANNELS.index("atm")
    channel[category == TRANSFER] = CHANNELS.index("transfer")
    cumulative = np.cumsum(popularity)
    low, high = _cell_bounds(region * len(CATEGORIES) + category, cumulative)
    return Counterparties(region, category, channel, cumulative, low, high)


def _cell_bounds(cell: Ints, cumulative: Floats) -> tuple[Floats, Floats]:
    """Popularity before and after each cell; an empty cell borrows one of its category, else any."""
    cells = np.arange(len(CURRENCIES) * len(CATEGORIES))
    first, last = np.searchsorted(cell, cells), np.searchsorted(cell, cells, side="right")
    filled = cells[last > first]
    source = cells.copy()
    for empty in cells[last == first]:
        same_category = filled[filled % len(CATEGORIES) == empty % len(CATEGORIES)]
        source[empty] = (same_category if same_category.size else filled)[0]
    padded = np.concatenate([[0.0], cumulative])
    return padded[first[source]], padded[last[source]]


def _pick(rng: np.random.Generator, running_shares: Floats) -> Ints:
    """Draw a column per row of running shares, shape (rows, columns)."""
    position = rng.random((running_shares.shape[0], 1))
    drawn: Ints = np.sum(position >= running_shares, axis=1)
    return np.asarray(np.minimum(drawn, running_shares.shape[1] - 1))
