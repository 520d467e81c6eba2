"""Summed score histograms agree with scikit-learn on the pooled scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from fraudfl.config import ModelConfig
from fraudfl.errors import DataError, WireError
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.models.mlp import build_model, initial_vector, score_logits, set_vector

BINS = ScoreBins()


def skewed_scores(rows, frauds, seed, spread=2.5):
    """Scores as a trained network gives them: most far below zero, frauds spread out, some of them missed."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(rows, dtype=np.int8)
    labels[:frauds] = 1
    logits = rng.gamma(3, 0.7, rows) - 7.5
    easy = rng.random(frauds) < 0.6
    logits[:frauds][easy] = rng.normal(-0.5, spread, int(easy.sum()))
    order = rng.permutation(rows)
    return logits[order].astype(np.float32), labels[order]


def recall_of_the_first(logits, labels, budget):
    first = np.argsort(-logits, kind="stable")[: round(budget * len(logits))]
    return labels[first].sum() / labels.sum()


@pytest.mark.parametrize(
    ("rows", "frauds", "spread"), [(300_000, 2500, 2.5), (200_000, 40, 2.5), (50_000, 400, 0.2), (20_000, 8000, 6.0)]
)
@pytest.mark.parametrize("bins", [ScoreBins(count=512), BINS])
def test_figures_summed_over_banks_agree_with_scikit_learn_on_pooled_scores(rows, frauds, spread, bins):
    logits, labels = skewed_scores(rows, frauds, seed=1, spread=spread)
    banks = np.array_split(np.arange(rows), 10)
    total = sum((ScoreHistogram.from_logits(logits[b], labels[b], bins) for b in banks), ScoreHistogram.empty(bins))
    threshold = total.best_threshold("balanced_accuracy")
    figures = total.figures(threshold=threshold, budget=0.005)
    assert figures.auprc == pytest.approx(average_precision_score(labels, logits), abs=0.002)
    assert figures.auroc == pytest.approx(roc_auc_score(labels, logits), abs=0.002)
    assert figures.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, logits >= threshold), abs=1e-9)
    if frauds > 100:  # with 40 frauds one of them is worth 0.025
        assert figures.recall_at_budget == pytest.approx(recall_of_the_first(logits, labels, 0.005), abs=0.002)


def test_a_threshold_that_is_no_edge_agrees_within_the_promise():
    logits, labels = skewed_scores(100_000, 2000, seed=2)
    histogram = ScoreHistogram.from_logits(logits, labels, BINS)
    for threshold in (-5.013, -2.2, 0.117):
        expected = balanced_accuracy_score(labels, logits >= threshold)
        assert histogram.balanced_accuracy(threshold) == pytest.approx(expected, abs=0.002)


def test_scores_beyond_the_bins_are_counted_at_the_ends():
    logits = np.array([-500.0, -16.5, 16.0, 900.0])
    histogram = ScoreHistogram.from_logits(logits, np.array([0, 0, 1, 1]), BINS)
    assert histogram.negative[0] == 2
    assert histogram.positive[-1] == 2
    assert histogram.figures().auprc == pytest.approx(1.0)
    assert histogram.balanced_accuracy(-1000.0) == pytest.approx(0.5)
    assert histogram.balanced_accuracy(1000.0) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.floats(-20, 20), st.booleans()), min_size=1, max_size=60), st.integers(0, 60))
def test_summing_banks_is_counting_all_rows_at_once(rows, cut):
    logits = np.array([row[0] for row in rows])
    labels = np.array([row[1] for row in rows]).astype(np.int8)
    parts = [
        ScoreHistogram.from_logits(part, own, ScoreBins(count=64))
        for part, own in ((logits[:cut], labels[:cut]), (logits[cut:], labels[cut:]))
    ]
    whole = ScoreHistogram.from_logits(logits, labels, ScoreBins(count=64))
    assert (parts[0] + parts[1]).to_vector().tolist() == whole.to_vector().tolist()
    assert ScoreHistogram.from_vector(whole.to_vector(), whole.bins).to_vector().tolist() == whole.to_vector().tolist()
    assert whole.total == len(rows)
    assert whole.to_vector().size == 2 * whole.bins.size


def test_the_best_threshold_is_the_best_of_all_edges():
    logits, labels = skewed_scores(5000, 100, seed=3)
    histogram = ScoreHistogram.from_logits(logits, labels, ScoreBins(count=256))
    quality = {
        "f1": lambda edge: f1_score(labels, logits >= edge, zero_division=0),
        "balanced_accuracy": lambda edge: balanced_accuracy_score(labels, logits >= edge),
    }
    for objective, of in quality.items():
        best = max(of(edge) for edge in histogram.bins.edges)
        assert of(histogram.best_threshold(objective)) == pytest.approx(best, abs=1e-9)


def test_between_separated_classes_the_threshold_lies_in_the_middle():
    histogram = ScoreHistogram.from_logits(np.array([-4.0, 4.0]), np.array([0, 1]), ScoreBins(count=32))
    assert abs(histogram.best_threshold("f1")) <= 1.0


def test_the_budgets_threshold_is_the_lowest_edge_that_keeps_it():
    logits, labels = skewed_scores(20_000, 200, seed=4)
    histogram = ScoreHistogram.from_logits(logits, labels, BINS)
    threshold = histogram.threshold_at_budget(0.01)
    width = histogram.bins.edges[1] - histogram.bins.edges[0]
    assert (logits >= threshold).mean() <= 0.01 < (logits >= threshold - width).mean()


def test_the_curve_is_that_of_alerts_at_each_edge():
    logits, labels = skewed_scores(3000, 60, seed=5)
    precision, recall, thresholds = ScoreHistogram.from_logits(
        logits, labels, ScoreBins(count=128)
    ).precision_recall_curve()
    for p, r, threshold in list(zip(precision, recall, thresholds, strict=True))[::10]:
        alerts = logits >= threshold
        assert p == pytest.approx(labels[alerts].mean())
        assert r == pytest.approx(labels[alerts].sum() / labels.sum())
    assert np.all(np.diff(recall) >= 0)


def test_without_a_fraud_no_figure_is_invented():
    histogram = ScoreHistogram.from_logits(np.array([0.1, 0.2]), np.array([0, 0]), BINS)
    assert set(histogram.figures().to_dict().values()) == {None}
    assert histogram.best_threshold("f1") is None
    assert ScoreHistogram.empty(BINS).threshold_at_budget(0.1) is None


def test_without_a_legitimate_transaction_what_needs_one_is_absent():
    figures = ScoreHistogram.from_logits(np.array([0.1, 0.2]), np.array([1, 1]), BINS).figures()
    assert figures.auprc == pytest.approx(1.0)
    assert (figures.auroc, figures.balanced_accuracy) == (None, None)


@pytest.mark.parametrize(
    "vector",
    [np.zeros(7, dtype=np.int64), np.zeros(8), np.arange(8) - 1, np.zeros((2, 4), dtype=np.int64)],
)
def test_a_vector_that_is_no_histogram_is_refused(vector):
    with pytest.raises(WireError, match="score histogram"):
        ScoreHistogram.from_vector(vector, ScoreBins(count=2))


def test_histograms_of_different_plans_cannot_be_added():
    with pytest.raises(WireError, match="different bins"):
        ScoreHistogram.empty(ScoreBins(count=64)) + ScoreHistogram.empty(ScoreBins(count=32))


@pytest.mark.parametrize(("logit", "place"), [(np.inf, -1), (-np.inf, 0), (np.nan, 0)])
def test_a_score_that_is_not_finite_is_counted_in_an_outer_bin_like_any_other(logit, place):
    for dtype in (np.float32, np.float64):
        histogram = ScoreHistogram.from_logits(np.array([logit, 0.0, logit], dtype), np.array([0, 1, 1]), BINS)
        assert (histogram.negative[place], histogram.positive[place], histogram.total) == (1, 1, 3)


@pytest.mark.parametrize("hidden", [(32, 16), (10, 7)])
def test_a_rows_score_and_so_its_bin_is_the_same_beside_any_number_of_other_rows(hidden):
    generator = np.random.default_rng(6)
    config = ModelConfig(hidden=hidden)
    model = build_model(config, 9)
    set_vector(model, initial_vector(config, 9, prior=0.3, seed=1))
    features = np.repeat(generator.standard_normal((1, 9)), 1003, axis=0).astype(np.float32)
    logits = score_logits(model, features)
    assert len(np.unique(logits)) == 1
    for count in (1, 3, 16, 1002):
        np.testing.assert_array_equal(score_logits(model, features[-count:]), logits[-count:])


def test_scores_and_labels_that_make_no_sense_are_refused():
    with pytest.raises(DataError, match="label in row 0 is 2"):
        ScoreHistogram.from_logits(np.array([0.0]), np.array([2]), BINS)
    with pytest.raises(DataError, match="shape"):
        ScoreHistogram.from_logits(np.array([0.0]), np.array([0, 1]), BINS)


def test_bins_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="must be below"):
        ScoreBins(low=1.0, high=-1.0)
