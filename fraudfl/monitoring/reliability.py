"""The reliability curve: what scores promise against the share of fraud that came, with intervals, from bins alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fraudfl.monitoring.calibration import bin_probabilities, calibration, expected_groups
from fraudfl.monitoring.scores import Estimate, Scored, normal_quantile
from fraudfl.monitoring.settings import ScoringConfig

_LEAST_FRAUDS = 10.0
_DROWNED = 4.0  # standard deviations of noise; as few frauds may be noise alone, in one of many groups
_NOISE_PER_FRAUD = 0.02  # up to here figures under noise hold what they say (docs/monitoring.md)


@dataclass(frozen=True)
class Point:
    """One group of neighbouring scores.

    Attributes:
        low, high: Least and greatest probability among them.
        rows, frauds: Transactions, and frauds among them; under noise, as far as it lets one know.
        predicted: Mean probability of fraud that the scores promise.
        observed: Share of fraud that came. The interval takes rows for independent.
    """

    low: float
    high: float
    rows: int
    frauds: int
    predicted: float
    observed: Estimate


@dataclass(frozen=True)
class ReliabilityCurve:
    """Whether scores mean what they say.

    Attributes:
        points: By rising score.
        left_out: Groups that are not among them, because their frauds may be noise alone.
        ece: Expected calibration error, the mean distance of predicted and observed share by rows.
        predicted_to_seen: Frauds that the scores promised, per fraud seen; 1 is calibrated. Both are None where noise
            hides them, this one also where no fraud is seen.
    """

    points: tuple[Point, ...]
    left_out: int
    ece: float | None
    predicted_to_seen: Estimate | None


def reliability_curve(scored: Scored, config: ScoringConfig) -> ReliabilityCurve | None:
    """Compare what scores promised with what came; None without a transaction.

    Groups have about as many expected frauds each, and at least ten.
    """
    whole = calibration(scored, config)
    if whole is None:
        return None
    found = [*_points(scored, config)]
    points = tuple(point for point, noise in found if point.frauds > _DROWNED * noise)
    histogram = scored.histogram
    noise = math.sqrt(scored.noise_variance * histogram.bins.size)
    clear = noise <= _NOISE_PER_FRAUD * int(histogram.positive.sum())
    return ReliabilityCurve(
        points=points,
        left_out=len(found) - len(points),
        ece=whole.ece if clear else None,
        predicted_to_seen=_inverse(whole.observed_to_expected) if clear else None,
    )


def _points(scored: Scored, config: ScoringConfig) -> Iterator[tuple[Point, float]]:
    """Each group, and the standard deviation of the noise in its count of frauds."""
    histogram = scored.histogram
    probability = bin_probabilities(histogram.bins)
    rows = histogram.positive + histogram.negative
    groups = expected_groups(histogram, config.calibration_groups, _LEAST_FRAUDS)
    for group in range(groups.count):
        here = (groups.of_bin == group) & (rows > 0)
        held, frauds = int(rows[here].sum()), int(histogram.positive[here].sum())
        if not held:
            continue
        noise = math.sqrt(scored.noise_variance * groups.sizes[group])
        promised = float((probability * rows)[here].sum()) / held
        low, high = (float(end) for end in probability[np.flatnonzero(here)[[0, -1]]])
        yield Point(low, high, held, frauds, promised, share_estimate(frauds, held, noise, config.level)), noise


def share_estimate(count: int, of: int, noise: float, level: float) -> Estimate:
    """A share and its interval: Wilson's, as much wider as noise makes it.

    Args:
        count: How many, up to `of`.
        of: Of how many, at least 1.
        noise: Standard deviation of the noise in the count.
        level: Coverage.

    Source: Wilson 1927, the score interval; the noise's variance is added to it.
    """
    share, z = count / of, normal_quantile(level)
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    sampling = z / (1 + z**2 / of) * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    half = math.hypot(sampling, z * noise / of)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def _inverse(ratio: Estimate) -> Estimate | None:
    """One over a ratio; None where it may be 0."""
    if ratio.value <= 0 or ratio.low <= 0:
        return None
    return Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
