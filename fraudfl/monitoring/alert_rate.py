"""How many alerts a threshold makes, against what analysts can look at: known before any label is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from fraudfl.monitoring.baseline import Window
from fraudfl.monitoring.scores import Estimate, normal_quantile
from fraudfl.monitoring.settings import ScoringConfig


@dataclass(frozen=True)
class AlertRate:
    """How many alerts the threshold makes.

    Attributes:
        rate: Share of transactions at or above the threshold.
        budget: The share that analysts can look at.
    """

    rate: Estimate
    budget: float

    @property
    def of_budget(self) -> Estimate:
        """The rate in budgets: 2 is twice what analysts can look at."""
        return Estimate(self.rate.value / self.budget, self.rate.low / self.budget, self.rate.high / self.budget)

    def to_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return {**asdict(self), "of_budget": asdict(self.of_budget)}


def alert_rate(window: Window, config: ScoringConfig, inflation: float = 1.0) -> AlertRate | None:
    """Share of a window's scores at or above the threshold; None where it has no scores.

    Args:
        window: Its scores, and the variance of the noise in them.
        config: Threshold, budget and level.
        inflation: Variance of the counts against that of independent rows.
    """
    total = 0.0 if window.scores is None else float(window.scores.sum())
    if window.scores is None or total <= 0:
        return None
    edges = window.score_bins.edges
    reached = np.cumsum(window.scores[::-1].astype(np.float64))[::-1][1:]
    alerts = float(np.clip(np.interp(config.threshold, edges, reached, left=total, right=0.0), 0.0, total))
    rate, above = alerts / total, int(np.count_nonzero(edges >= config.threshold))
    variance = inflation * max(rate * (1 - rate), 1 / total) / total + window.score_noise_variance * above / total**2
    spread = normal_quantile(config.level) * math.sqrt(variance)
    return AlertRate(Estimate(rate, max(0.0, rate - spread), min(1.0, rate + spread)), config.budget)
