"""Scores with labels that have become known: a summed histogram, and such as might have been counted in its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.monitoring.coarse import Counts
from fraudfl.monitoring.settings import ScoringConfig
from fraudfl.privacy.denoise import plausible_counts


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scored:
    """A window's scores with the labels that have become known since.

    Attributes:
        histogram: The sum over banks; where it carries noise, what `plausible_counts` made of each class.
        noise_variance: Variance of the Gaussian noise that was in each count; 0 where there was none.
    """

    histogram: ScoreHistogram
    noise_variance: float = 0.0

    def draws(self, config: ScoringConfig) -> Iterator[ScoreHistogram]:
        """Histograms as they might have been: Poisson counts around those found, and noise of the known variance."""
        rng = np.random.default_rng(config.seed)
        for _ in range(config.replicates):
            frauds, others = (self._drawn(rng, part) for part in (self.histogram.positive, self.histogram.negative))
            yield ScoreHistogram(self.histogram.bins, frauds, others)

    def _drawn(self, rng: np.random.Generator, counts: Counts) -> NDArray[np.int64]:
        again = rng.poisson(counts)
        if self.noise_variance:
            return plausible_counts(again + rng.normal(0.0, math.sqrt(self.noise_variance), counts.size))
        return again.astype(np.int64)


def normal_quantile(level: float) -> float:
    """Half the width of a two-sided interval, in standard deviations."""
    return float(ndtri((1 + level) / 2))


def percentile_estimate(
    value: float, drawn: Sequence[float], level: float, *, widening: float = 1.0, correction: float = 0.0
) -> Estimate:
    """An interval between percentiles of draws, about a value that lies in it.

    Args:
        value: The value.
        drawn: What it is in draws.
        level: Coverage.
        widening: Factor on the interval's width to either side.
        correction: What was already taken off the value for a bias that `drawn` still has. It is of first order only,
            so the interval becomes longer by as much to either side.
    """
    if not drawn:
        return Estimate(value, value, value)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    centre = value if not correction else float(np.mean(drawn))
    below, above = (max(0.0, side) + abs(correction) for side in (centre - float(low), float(high) - centre))
    return Estimate(value, value - widening * below, value + widening * above)
