"""Figures with intervals from summed histograms, and how far they are from quiet windows: coverage is simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss

from fraudfl.errors import DataError
from fraudfl.features.sketch import EncoderSpec, Sketch, sketch_size
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.monitoring.alert_rate import alert_rate
from fraudfl.monitoring.baseline import Window
from fraudfl.monitoring.calibration import calibration
from fraudfl.monitoring.figure_chart import usual
from fraudfl.monitoring.performance import QuietScores, performance
from fraudfl.monitoring.scores import Scored
from fraudfl.monitoring.settings import ScoringConfig
from fraudfl.privacy.denoise import plausible_counts

BINS = ScoreBins()
FEW = ScoreBins(count=64)
CONFIG = ScoringConfig(budget=0.02, replicates=40)
SPEC = EncoderSpec(numeric=("amount",))


def draw(rng, rows=20_000, frauds=200, strength=4.0):
    """Logits of a model that tells frauds by `strength`, and labels."""
    labels = np.zeros(rows, np.int8)
    labels[: rng.poisson(frauds)] = 1
    return (rng.normal(-6, 1.5, rows) + strength * labels).astype(np.float32), labels


def scored(rng, noise=0.0, bins=BINS, **shape):
    histogram = ScoreHistogram.from_logits(*draw(rng, **shape), bins)
    if not noise:
        return Scored(histogram)
    parts = [
        plausible_counts(part + rng.normal(0, noise, bins.size)) for part in (histogram.positive, histogram.negative)
    ]
    return Scored(ScoreHistogram(bins, *parts), noise**2)


def quiet_windows(rng, count=4, **shape):
    return QuietScores(tuple(scored(rng, **shape) for _ in range(count)), CONFIG)


def window_of(counts, noise_variance=0.0):
    empty = Sketch(SPEC, np.zeros(sketch_size(SPEC), np.int64))
    return Window("w", empty, counts, BINS, score_noise_variance=noise_variance)


def test_auprc_is_scikit_learns_and_lies_in_its_interval():
    logits, labels = draw(np.random.default_rng(0))
    found = performance(Scored(ScoreHistogram.from_logits(logits, labels, BINS)), QuietScores((), CONFIG))
    assert found.figures["auprc"].value == pytest.approx(average_precision_score(labels, logits), abs=0.005)
    assert found.figures["auprc"].low < found.figures["auprc"].value < found.figures["auprc"].high
    assert (found.rows, found.frauds) == (20_000, labels.sum())
    assert found.drops == {}
    assert found.calibration_shift is None


@pytest.mark.parametrize(("noise", "bins", "shape"), [(0.0, BINS, {}), (3.0, FEW, {"rows": 200_000, "frauds": 2000})])
def test_auprc_intervals_hold_the_truth_as_often_as_they_say(noise, bins, shape):
    rng = np.random.default_rng(1)
    none = QuietScores((), CONFIG)
    truth = performance(scored(rng, bins=bins, rows=500_000, frauds=5000), none).figures["auprc"].value
    found = [performance(scored(rng, noise, bins, **shape), none) for _ in range(40)]
    auprc = [one.figures["auprc"] for one in found]
    assert np.mean([one.low <= truth <= one.high for one in auprc]) >= 0.85
    assert np.mean([one.high - one.low for one in auprc]) < 0.35
    assert max(one.noise_per_fraud for one in found) < 0.02


def test_noise_that_drowns_the_frauds_is_told_of():
    rng = np.random.default_rng(12)
    found = performance(scored(rng, 3.0, FEW), QuietScores((), CONFIG))
    assert found.noise_per_fraud == pytest.approx(3 * np.sqrt(66) / found.frauds)
    assert found.noise_per_fraud > 0.02


def test_noise_alike_in_all_windows_is_no_drop():
    rng = np.random.default_rng(11)
    quiet = QuietScores(tuple(scored(rng, 3.0, FEW) for _ in range(4)), CONFIG)
    found = [performance(scored(rng, 3.0, FEW), quiet).drops["auprc"] for _ in range(10)]
    assert sum(one.low > 0 for one in found) <= 1
    worse = performance(scored(rng, 3.0, FEW, strength=1.5), quiet).drops["auprc"]
    assert worse.low > 0.05


def test_a_model_as_good_as_ever_has_no_sure_drop():
    rng = np.random.default_rng(2)
    found = [performance(scored(rng), quiet_windows(rng)) for _ in range(10)]
    assert sum(one.drops["auprc"].low > 0 for one in found) <= 1
    assert sum(one.drops["recall_at_budget"].low > 0 for one in found) <= 1
    assert sum(not one.calibration_shift.low <= 1 <= one.calibration_shift.high for one in found) <= 2


def test_a_model_that_got_worse_has_a_sure_drop_of_the_right_size():
    rng = np.random.default_rng(3)
    quiet = quiet_windows(rng)
    found = performance(scored(rng, strength=2.0), quiet)
    assert found.drops["auprc"].low > 0.1
    before, now = quiet.usual["auprc"].mean, found.figures["auprc"].value
    assert found.drops["auprc"].value == pytest.approx(before - now)


def test_twice_the_frauds_at_the_same_scores_shift_the_calibration_by_two():
    rng = np.random.default_rng(4)
    quiet = quiet_windows(rng, strength=0.5)
    shift = performance(scored(rng, strength=0.5, frauds=400), quiet).calibration_shift
    assert shift.low < 2 < shift.high
    assert shift.low > 1.3


def test_frauds_that_no_score_tells_multiply_the_missed_ones():
    rng = np.random.default_rng(13)
    quiet = quiet_windows(rng)
    known, unseen = scored(rng).histogram, scored(rng, rows=600, frauds=200, strength=0.0).histogram
    missed = 1 - known.recall_at_budget(0.02)
    found = performance(Scored(ScoreHistogram(BINS, known.positive + unseen.positive, known.negative)), quiet)
    expected = (missed * known.positive.sum() + unseen.positive.sum()) / (missed * known.positive.sum())
    assert found.missed_ratio.low < expected < found.missed_ratio.high
    assert found.missed_ratio.low > 2
    assert performance(scored(rng), quiet).missed_ratio.low < 1


def test_quiet_windows_that_differ_much_widen_every_interval():
    steady, jumping = usual([0.5, 0.51, 0.49, 0.5], [4e-4] * 4), usual([0.3, 0.7, 0.4, 0.6], [4e-4] * 4)
    assert steady.inflation == 1.0
    assert jumping.inflation == pytest.approx(np.var([0.3, 0.7, 0.4, 0.6], ddof=1) / 4e-4)
    assert jumping.above(0.3, 4e-4, 0.95).high > 0 > steady.above(0.3, 4e-4, 0.95).high
    assert jumping.widening(0.95) > 5 * steady.widening(0.95)


def test_a_window_without_a_fraud_has_no_figures_and_says_so():
    histogram = ScoreHistogram.from_logits(np.zeros(50, np.float32), np.zeros(50, np.int8), BINS)
    found = performance(Scored(histogram), quiet_windows(np.random.default_rng(5)))
    assert (found.figures, found.drops, found.calibration_shift, found.frauds) == ({}, {}, None, 0)


def test_quiet_windows_over_other_bins_are_refused():
    other = QuietScores((Scored(ScoreHistogram.empty(ScoreBins(count=64))),), CONFIG)
    with pytest.raises(DataError, match="over other bins"):
        performance(scored(np.random.default_rng(6)), other)


def test_calibration_of_true_probabilities_is_good_and_its_brier_is_scikit_learns():
    rng = np.random.default_rng(7)
    logits = rng.normal(-3, 1.5, 50_000).astype(np.float32)
    probability = 1 / (1 + np.exp(-logits.astype(float)))
    labels = (rng.random(50_000) < probability).astype(np.int8)
    found = calibration(Scored(ScoreHistogram.from_logits(logits, labels, BINS)), CONFIG)
    assert found.brier == pytest.approx(brier_score_loss(labels, probability), rel=1e-3)
    assert found.ece < 0.005
    assert found.observed_to_expected.low < 1 < found.observed_to_expected.high
    assert sum(row.rows for row in found.groups) == 50_000
    promised = [row.rows * row.predicted for row in found.groups]
    assert max(promised) < 2 * min(promised)


def test_scores_that_promise_twice_the_fraud_are_told_apart():
    rng = np.random.default_rng(8)
    logits = rng.normal(-3, 1.5, 50_000).astype(np.float32)
    labels = (rng.random(50_000) < 0.5 / (1 + np.exp(-logits.astype(float)))).astype(np.int8)
    found = calibration(Scored(ScoreHistogram.from_logits(logits, labels, BINS)), CONFIG)
    assert found.observed_to_expected.value == pytest.approx(0.5, abs=0.03)
    expected = np.mean(0.5 / (1 + np.exp(-logits.astype(float))))
    assert found.ece == pytest.approx(expected, rel=0.1)


def test_no_transaction_has_no_calibration_and_no_alert_rate():
    assert calibration(Scored(ScoreHistogram.empty(BINS)), CONFIG) is None
    assert alert_rate(window_of(np.zeros(BINS.size, np.int64)), CONFIG) is None
    assert alert_rate(window_of(None), CONFIG) is None


def test_the_alert_rate_is_the_share_above_the_threshold():
    logits = np.random.default_rng(9).normal(-2, 1, 10_000)
    counts = ScoreHistogram.from_logits(logits, np.zeros(10_000), BINS).negative
    found = alert_rate(window_of(counts), ScoringConfig(threshold=-1.0, budget=0.1))
    expected = float((logits >= -1).mean())
    assert found.rate.value == pytest.approx(expected, abs=1e-9)
    assert found.of_budget.value == pytest.approx(expected / 0.1)
    assert found.rate.high - found.rate.low == pytest.approx(
        2 * 1.96 * math.sqrt(expected * (1 - expected) / 1e4), rel=1e-3
    )


def test_noise_widens_the_alert_rate_by_as_many_bins_as_are_above():
    rng = np.random.default_rng(10)
    logits = rng.normal(-2, 1, 10_000)
    counts = ScoreHistogram.from_logits(logits, np.zeros(10_000), BINS).negative
    config = ScoringConfig(threshold=-1.0, budget=0.1)
    found = [
        alert_rate(window_of(np.rint(counts + rng.normal(0, 5, BINS.size)).astype(np.int64), 25.0), config).rate
        for _ in range(200)
    ]
    truth = float((logits >= -1).mean())
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.9
