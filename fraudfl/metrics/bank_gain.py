"""What one bank gained: frauds caught and money saved at its own alert budget, by each way to train; for that bank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudfl.errors import DataError
from fraudfl.metrics.bootstrap import Bootstrap, Clusters, Interval, Weights, draws, percentiles
from fraudfl.metrics.figures import Labels, Logits, check_scores

ALONE = "alone"
"""The way to train that all others are compared with."""


@dataclass(frozen=True)
class BankRows:
    """A bank's test rows.

    Attributes:
        labels: 0 or 1, shape (rows,).
        amounts: What each transaction is worth, in the bank's currency, shape (rows,).
        clusters: The account of each row, shape (rows,); None draws rows singly.
    """

    labels: Labels
    amounts: npt.NDArray[np.float64]
    clusters: Clusters | None


@dataclass(frozen=True)
class Estimate:
    """A figure on the test rows, and its interval over accounts."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Takings:
    """What an alert list brings, or how much more than another one.

    Attributes:
        frauds_caught: Frauds among the alerts.
        money_saved: Their amounts, less the cost of all alerts.
    """

    frauds_caught: Estimate
    money_saved: Estimate


@dataclass(frozen=True)
class BankGain:
    """What one bank gained. It is for that bank only: no noise protects its figures.

    Attributes:
        transactions, frauds: In the test rows.
        alerts: How many transactions the alert budget lets analysts look at.
        cost_per_alert: In the bank's currency.
        takings: By way to train: `alone`, `federated`, and `personalised` where there is one.
        gains: By way to train, all but `alone`: its takings minus those of `alone`, drawn in pairs.
    """

    transactions: int
    frauds: int
    alerts: float
    cost_per_alert: float
    takings: Mapping[str, Takings]
    gains: Mapping[str, Takings]

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def bank_gain(scores: Mapping[str, Logits], rows: BankRows, cost_per_alert: float, settings: Bootstrap) -> BankGain:
    """Say what a bank gained at its own alert budget.

    The alert list is the highest-scored `settings.budget` of the rows; where it ends inside a tie, the tie counts in
    proportion. In each replicate the list is made anew.

    Args:
        scores: Way to train to its logits of the rows, each of shape (rows,); one of them is `alone`.
        rows: The bank's test rows.
        cost_per_alert: What it costs to look at one, in the bank's currency.
        settings: Replicates, seed, level, and the bank's alert budget.

    Raises:
        DataError: when `alone` is missing, there are no rows, shapes differ, or an amount or the cost is not finite.
        NonFiniteError: when a logit is not finite.
    """
    _check(scores, rows, cost_per_alert)
    lists = {name: _AlertList(logits, rows, cost_per_alert, settings.budget) for name, logits in scores.items()}
    found = {name: one.takings(np.ones(rows.labels.size)) for name, one in lists.items()}
    drawn: dict[str, list[tuple[float, float]]] = {name: [] for name in lists}
    for weights in draws(rows.labels.size, rows.clusters, settings):
        for name, one in lists.items():
            drawn[name].append(one.takings(weights))

    def estimated(name: str, less: str | None = None) -> Takings:
        value = np.subtract(found[name], found[less] if less else 0)
        replicates = np.subtract(drawn[name], drawn[less] if less else 0)
        return Takings(*_estimates(value, replicates, settings.level))

    return BankGain(
        transactions=int(rows.labels.size),
        frauds=int(rows.labels.sum()),
        alerts=settings.budget * rows.labels.size,
        cost_per_alert=cost_per_alert,
        takings={name: estimated(name) for name in lists},
        gains={name: estimated(name, less=ALONE) for name in lists if name != ALONE},
    )


class _AlertList:
    """One model's alerts at a budget: rows sorted once, for many weightings."""

    def __init__(self, logits: Logits, rows: BankRows, cost_per_alert: float, budget: float) -> None:
        self._order = np.argsort(-logits, kind="stable")
        ranked = logits[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)
        self._frauds = rows.labels[self._order].astype(np.float64)
        self._amounts = self._frauds * rows.amounts[self._order]
        self._cost_per_alert = cost_per_alert
        self._budget = budget

    def takings(self, weights: Weights) -> tuple[float, float]:
        """Frauds caught and money saved when row i counts `weights[i]` times."""
        own = weights[self._order]
        reached = self._at_ends(own)
        allowed = self._budget * float(reached[-1])
        caught, money = (
            float(np.interp(allowed, reached, self._at_ends(own * worth))) for worth in (self._frauds, self._amounts)
        )
        return caught, money - self._cost_per_alert * allowed

    def _at_ends(self, values: Weights) -> Weights:
        """What values of the sorted rows sum to: before the first row, and at the end of each block of equal scores."""
        return np.concatenate(([0.0], np.cumsum(values)[self._ends]))


def _estimates(
    values: npt.NDArray[np.float64], replicates: npt.NDArray[np.float64], level: float
) -> Iterator[Estimate]:
    for value, column in zip(values, replicates.T, strict=True):
        interval = percentiles([float(one) for one in column], level)
        assert interval is not None  # there is at least one replicate, and each is defined
        yield Estimate(float(value), interval)


def _check(scores: Mapping[str, Logits], rows: BankRows, cost_per_alert: float) -> None:
    if ALONE not in scores:
        raise DataError(f"scores are of {', '.join(scores) or 'nothing'}; expected `{ALONE}` to compare with")
    for logits in scores.values():
        check_scores(logits, rows.labels)
    if not rows.labels.size:
        raise DataError("the bank has no test rows; nothing can be said of what it gained")
    if rows.amounts.shape != rows.labels.shape or not np.isfinite(rows.amounts).all():
        raise DataError(f"expected one finite amount per row, {rows.labels.size} of them")
    if not np.isfinite(cost_per_alert):
        raise DataError(f"the cost per alert is {cost_per_alert}; expected a number")
