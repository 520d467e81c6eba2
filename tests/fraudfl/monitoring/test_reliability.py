"""The reliability curve: calibrated scores lie on the diagonal, and noise is never shown as a finding."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.monitoring.reliability import ReliabilityCurve, reliability_curve, share_estimate
from fraudfl.monitoring.scores import Scored
from fraudfl.monitoring.settings import ScoringConfig
from fraudfl.privacy.denoise import plausible_counts

CONFIG = ScoringConfig()


def rows(seed: int, count: int = 60_000, *, shift: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Scores that mean what they say, or promise too little by a shift of the logit."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-5, 1.7, count)
    labels = rng.random(count) < 1 / (1 + np.exp(-(logits + shift)))
    return logits.astype(np.float32), labels.astype(np.int8)


def curve_of(logits: NDArray[np.float32], labels: NDArray[np.int8]) -> ReliabilityCurve:
    found = reliability_curve(Scored(ScoreHistogram.from_logits(logits, labels, ScoreBins())), CONFIG)
    assert found is not None
    return found


def test_points_are_the_rows_between_their_ends() -> None:
    logits, labels = rows(1)
    found = curve_of(logits, labels)
    assert len(found.points) == CONFIG.calibration_groups
    assert sum(point.rows for point in found.points) == len(labels)
    assert sum(point.frauds for point in found.points) == labels.sum()
    promised = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for point in found.points:
        # Half a bin to either side: an edge between bins lies between their middles.
        here = (logits > np.log(point.low / (1 - point.low)) - 1 / 64) & (
            logits < np.log(point.high / (1 - point.high)) + 1 / 64
        )
        assert here.sum() == pytest.approx(point.rows, rel=0.01, abs=3)
        assert promised[here].mean() == pytest.approx(point.predicted, rel=0.02)
        assert labels[here].mean() == pytest.approx(point.observed.value, rel=0.02)


def test_calibrated_scores_lie_within_their_intervals() -> None:
    within = [
        point.observed.low <= point.predicted <= point.observed.high
        for seed in range(20)
        for point in curve_of(*rows(seed)).points
    ]
    assert np.mean(within) == pytest.approx(0.95, abs=0.04)


def test_scores_that_promise_half_the_frauds_show_it() -> None:
    logits, labels = rows(3, shift=1.0)
    found = curve_of(logits, labels)
    assert all(point.observed.low > point.predicted for point in found.points[1:-1])
    promised = (1 / (1 + np.exp(-logits.astype(np.float64)))).sum()
    assert found.predicted_to_seen is not None
    assert found.predicted_to_seen.value == pytest.approx(promised / labels.sum(), rel=1e-3)
    assert found.predicted_to_seen.high < 0.6
    assert found.ece == pytest.approx((labels.sum() - promised) / len(labels), rel=0.01)


def test_few_frauds_make_few_groups() -> None:
    found = curve_of(*rows(4, count=3_000))
    assert 1 <= len(found.points) < CONFIG.calibration_groups
    assert all(point.rows * point.predicted >= 10 for point in found.points)


def test_intervals_without_noise_are_wilson_s() -> None:
    for count, of in ((0, 50), (3, 1000), (40, 41), (7, 7)):
        found = share_estimate(count, of, 0.0, 0.95)
        oracle = binomtest(count, of).proportion_ci(0.95, method="wilson")
        assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


def test_noise_makes_intervals_wider_so_that_they_still_hold() -> None:
    rng, held = np.random.default_rng(5), []
    for _ in range(400):
        count = rng.binomial(5_000, 0.04) + round(rng.normal(0, 30))
        found = share_estimate(max(0, count), 5_000, 30.0, 0.95)
        held.append(found.low <= 0.04 <= found.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_frauds_that_may_be_noise_alone_are_not_shown() -> None:
    bins, rng = ScoreBins(count=64), np.random.default_rng(6)
    logits, labels = rows(6, count=20_000)
    exact = ScoreHistogram.from_logits(logits, labels, bins)

    def noisy(deviation: float) -> ReliabilityCurve:
        frauds, others = (
            plausible_counts(counts + rng.normal(0, deviation, bins.size))
            for counts in (exact.positive, exact.negative)
        )
        found = reliability_curve(Scored(ScoreHistogram(bins, frauds, others), deviation**2), CONFIG)
        assert found is not None
        return found

    quiet, loud = noisy(0.5), noisy(400.0)
    assert quiet.ece is not None
    assert len(quiet.points) > 3
    assert loud.ece is None
    assert loud.predicted_to_seen is None
    assert loud.points == ()
    assert loud.left_out > 0


def test_nothing_scored_has_no_curve() -> None:
    assert reliability_curve(Scored(ScoreHistogram.empty(ScoreBins())), CONFIG) is None
