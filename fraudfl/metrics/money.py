"""What alerts are worth: frauds found, times what one costs, less what it costs to look at each alert."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fraudfl.errors import DataError
from fraudfl.metrics.histogram import ScoreHistogram


@dataclass(frozen=True)
class Stakes:
    """What is at stake, in one currency.

    Attributes:
        loss_per_fraud: What a fraud costs that is not found, in the mean.
        cost_per_alert: What it costs to look at one alert.
    """

    loss_per_fraud: float
    cost_per_alert: float

    def __post_init__(self) -> None:
        """Refuse what is no sum of money.

        Raises:
            DataError: naming the value.
        """
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"{name.replace('_', ' ')} is {value}; expected a number from 0 up")


@dataclass(frozen=True)
class Alerting:
    """One length of the alert list.

    Attributes:
        share: Transactions alerted, of all.
        alerts: How many these are.
        found: Frauds among them.
        saved: Their losses less the cost of all alerts, in the stakes' currency; against having no alerts.
        noise: Standard deviation of what noise in the counts makes of `saved`, at most; 0 where there is none.
    """

    share: float
    alerts: float
    found: float
    saved: float
    noise: float = 0.0


@dataclass(frozen=True)
class Savings:
    """Money saved by the length of the alert list.

    Attributes:
        points: From no alert to all transactions, by rising share; one for each threshold at which it grows.
        stakes: What they were computed with.
    """

    points: tuple[Alerting, ...]
    stakes: Stakes

    @property
    def best(self) -> Alerting:
        """The length that saves most, the shortest of equals; without an alert where none is worth its cost."""
        return max(self.points, key=lambda point: (point.saved, -point.alerts))

    def at(self, share: float) -> Alerting:
        """The list of so large a share of transactions; between two thresholds, a part of what lies there."""
        shares = [point.share for point in self.points]
        alerts, found, saved, noise = (
            float(np.interp(share, shares, [getattr(point, name) for point in self.points]))
            for name in ("alerts", "found", "saved", "noise")
        )
        return Alerting(share, alerts, found, saved, noise)


def savings(histogram: ScoreHistogram, stakes: Stakes, noise_variance: float = 0.0) -> Savings:
    """Money saved at each threshold of a score histogram.

    Args:
        histogram: Summed over banks; where it carries noise, what `plausible_counts` made of each class.
        stakes: What a fraud and an alert cost.
        noise_variance: Of the Gaussian noise that was in each count.

    Raises:
        DataError: when the histogram counts no transaction.
    """
    if not histogram.total:
        raise DataError("the score histogram counts no transaction; there is nothing to alert")
    loss, cost = stakes.loss_per_fraud, stakes.cost_per_alert
    counted = (histogram.positive + histogram.negative)[::-1]
    here = counted > 0
    alerts = np.concatenate(([0], np.cumsum(counted)[here]))
    found = np.concatenate(([0], np.cumsum(histogram.positive[::-1])[here]))
    saved = found * loss - alerts * cost
    # Each bin adds the noise of its frauds, and that of its other transactions, which cost an alert each.
    of_bin = math.sqrt(noise_variance) * math.hypot(loss - cost, cost)
    noise = np.concatenate(([0.0], of_bin * np.sqrt(np.flatnonzero(here) + 1)))
    points = (
        Alerting(float(n) / histogram.total, float(n), float(f), float(s), float(d))
        for n, f, s, d in zip(alerts, found, saved, noise, strict=True)
    )
    return Savings(tuple(points), stakes)
