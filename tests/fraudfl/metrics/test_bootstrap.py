"""Bootstrap intervals: the weighted figures behind them, their coverage, and their pairing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from fraudfl.errors import DataError
from fraudfl.metrics.bootstrap import Bootstrap, Ranking, auprc_interval, difference_interval, figure_intervals
from fraudfl.metrics.exact import figures

rows = st.lists(st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40)


def consortium(accounts, seed):
    """Accounts of eight transactions, all scored alike: the rows of one say little more than one row."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(accounts), 8)
    fraud = rng.random(accounts) < 0.1
    logits = np.where(fraud, rng.normal(1, 1.5, accounts), rng.normal(-1, 1.5, accounts))[clusters]
    return logits + rng.normal(0, 0.05, clusters.size), fraud[clusters].astype(np.int8), clusters


@given(rows)
def test_weighted_figures_are_scikit_learns_with_sample_weights(drawn):
    logits, labels, weights = (np.array(column, dtype=float) for column in zip(*drawn, strict=True))
    found = Ranking(logits, labels).figures(weights, threshold=0.5, budget=0.3)
    if weights[labels == 1].sum() == 0:
        assert found.auprc is None
        return
    assert found.auprc == pytest.approx(average_precision_score(labels, logits, sample_weight=weights))
    if weights[labels == 0].sum() == 0:
        assert (found.auroc, found.balanced_accuracy) == (None, None)
        return
    assert found.auroc == pytest.approx(roc_auc_score(labels, logits, sample_weight=weights))
    expected = balanced_accuracy_score(labels, logits >= 0.5, sample_weight=weights)
    assert found.balanced_accuracy == pytest.approx(expected)


@given(rows, st.floats(0.01, 1.0))
def test_weights_count_as_repetitions_of_rows(drawn, budget):
    logits, labels, weights = (np.array(column) for column in zip(*drawn, strict=True))
    repeated = figures(np.repeat(logits, weights) * 1.0, np.repeat(labels, weights), threshold=0, budget=budget)
    found = Ranking(logits * 1.0, labels).figures(weights * 1.0, threshold=0, budget=budget)
    assert found.to_dict() == pytest.approx(repeated.to_dict())


def test_an_interval_covers_the_figure_and_narrows_with_more_accounts():
    widths = []
    for accounts in (300, 3000):
        logits, labels, clusters = consortium(accounts, seed=1)
        low, high = auprc_interval(logits, labels, clusters, Bootstrap())
        assert low < average_precision_score(labels, logits) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_drawing_accounts_is_wider_than_drawing_rows_when_an_accounts_rows_are_alike():
    logits, labels, clusters = consortium(500, seed=2)
    by_account = auprc_interval(logits, labels, clusters, Bootstrap())
    by_row = auprc_interval(logits, labels, None, Bootstrap())
    assert by_account[1] - by_account[0] > 1.8 * (by_row[1] - by_row[0])


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    logits, labels, _ = consortium(20_000, seed=3)
    truth = average_precision_score(labels, logits)
    covered = 0
    for seed in range(100):
        own, fraud, clusters = consortium(400, seed=100 + seed)
        low, high = auprc_interval(own, fraud, clusters, Bootstrap(replicates=100, level=0.9, seed=seed))
        covered += low <= truth <= high
    assert 80 <= covered <= 98


def test_a_paired_difference_is_narrower_than_two_intervals_and_zero_for_one_model():
    logits, labels, clusters = consortium(500, seed=4)
    better = logits + 0.5 * labels
    low, high = difference_interval((better, logits), labels, clusters, Bootstrap())
    own = auprc_interval(logits, labels, clusters, Bootstrap())
    assert 0 < low < high
    assert high - low < own[1] - own[0]
    assert difference_interval((logits, logits), labels, clusters, Bootstrap()) == (0, 0)
    assert difference_interval((logits, better), labels, clusters, Bootstrap()) == pytest.approx((-high, -low))


@pytest.mark.parametrize("figure", ["auroc", "balanced_accuracy", "recall_at_budget"])
def test_every_figure_has_an_interval_and_a_difference(figure):
    logits, labels, clusters = consortium(500, seed=5)
    settings = Bootstrap(threshold=0.0, budget=0.05)
    low, high = figure_intervals(logits, labels, clusters, settings)[figure]
    assert low < getattr(figures(logits, labels, threshold=0.0, budget=0.05), figure) < high
    low, high = difference_interval((logits, -logits), labels, clusters, settings, figure)
    assert 0 < low <= high


def test_the_same_seed_gives_the_same_interval_and_names_of_accounts_do_not_matter():
    logits, labels, clusters = consortium(200, seed=6)
    names = np.array([f"account-{number:05d}" for number in clusters])
    assert auprc_interval(logits, labels, clusters, Bootstrap(seed=1)) == auprc_interval(
        logits, labels, names, Bootstrap(seed=1)
    )
    assert auprc_interval(logits, labels, clusters, Bootstrap(seed=1)) != auprc_interval(
        logits, labels, clusters, Bootstrap(seed=2)
    )


def test_without_a_fraud_there_is_no_interval():
    logits = np.arange(10.0)
    assert auprc_interval(logits, np.zeros(10), None, Bootstrap(replicates=5)) is None
    assert difference_interval((logits, logits), np.zeros(10), None, Bootstrap(replicates=5)) is None


def test_nothing_to_score_and_clusters_of_another_table_are_refused():
    with pytest.raises(DataError, match="no scores"):
        auprc_interval(np.zeros(0), np.zeros(0), None, Bootstrap())
    with pytest.raises(DataError, match="one per row"):
        auprc_interval(np.zeros(3), np.array([0, 1, 0]), np.zeros(2), Bootstrap())
