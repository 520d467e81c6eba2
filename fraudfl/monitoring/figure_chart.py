"""The control chart of a model's figures: what they are in quiet windows, and how far a window is from that.

Fraud comes in groups (one mule account's victims, one merchant's copied cards), and some months have harder ones.
Between quiet windows a figure therefore varies more than its own bootstrap says. The chart takes the larger of both,
and Student's quantiles for as many quiet windows as there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from fraudfl.monitoring.scores import Estimate, normal_quantile


@dataclass(frozen=True)
class Usual:
    """A figure in quiet windows.

    Attributes:
        mean: Over the windows.
        variance_of_mean: How uncertain that is.
        inflation: Variance between windows against what the bootstrap within them explains; at least 1.
        windows: Quiet windows.
    """

    mean: float
    variance_of_mean: float
    inflation: float
    windows: int

    def like(self, other: Usual) -> Usual:
        """The same mean, as uncertain as if its windows differed as the other's do."""
        variance = self.variance_of_mean / self.inflation * other.inflation
        return Usual(self.mean, variance, other.inflation, other.windows)

    def multiplier(self, level: float) -> float:
        """Half the width of an interval in standard deviations; Student's, where the inflation was estimated."""
        if self.windows < 3:
            return normal_quantile(level)
        return float(special.stdtrit(self.windows - 1, (1 + level) / 2))

    def widening(self, level: float) -> float:
        """How much wider a window's interval is than its own bootstrap's."""
        return math.sqrt(self.inflation) * self.multiplier(level) / normal_quantile(level)

    def above(self, value: float, variance: float, level: float) -> Estimate:
        """How far a window's figure is above the usual; `variance` is that of its own bootstrap."""
        difference = value - self.mean
        spread = self.multiplier(level) * math.sqrt(self.inflation * variance + self.variance_of_mean)
        return Estimate(difference, difference - spread, difference + spread)


def usual(values: Sequence[float], variances: Sequence[float]) -> Usual:
    """Sum up a figure's quiet windows.

    Args:
        values: The figure in each, at least one.
        variances: The variance of its bootstrap in each. With fewer than three windows these are believed as they are.
    """
    within = max(float(np.mean(variances)), 1e-12)
    between = float(np.var(values, ddof=1)) if len(values) >= 3 else within
    inflation = max(1.0, between / within)
    return Usual(float(np.mean(values)), inflation * within / len(values), inflation, len(values))
