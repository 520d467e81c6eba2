"""Money saved: against brute force over rows, and what analysts rely on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.errors import DataError
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.metrics.money import Stakes, savings

BINS = ScoreBins(low=-4, high=4, count=16)


def drawn(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.1).astype(np.int8)
    return (rng.normal(labels * 1.5, 1.2)).astype(np.float32), labels


@given(st.integers(0, 2**31), st.floats(0, 5000), st.floats(0, 200))
def test_each_point_is_what_alerting_those_rows_saves(seed: int, loss: float, cost: float) -> None:
    logits, labels = drawn(seed)
    found = savings(ScoreHistogram.from_logits(logits, labels, BINS), Stakes(loss, cost))
    for threshold in BINS.edges:
        alerted = logits >= threshold
        money = sum(loss if fraud else 0.0 for fraud in labels[alerted]) - cost * int(alerted.sum())
        point = found.at(float(alerted.mean()))
        assert (point.alerts, point.found) == pytest.approx((alerted.sum(), labels[alerted].sum()))
        assert point.saved == pytest.approx(money, abs=1e-6 * (1 + loss * len(labels)))
        assert found.best.saved >= money - 1e-6 * (1 + loss * len(labels))


def test_the_list_grows_from_no_alert_to_all_transactions() -> None:
    logits, labels = drawn(1)
    points = savings(ScoreHistogram.from_logits(logits, labels, BINS), Stakes(100, 5)).points
    assert (points[0].share, points[0].saved) == (0, 0)
    assert (points[-1].share, points[-1].found) == (1, labels.sum())
    assert all(one.share < other.share for one, other in pairwise(points))


def test_where_no_alert_is_worth_its_cost_the_best_is_none() -> None:
    logits, labels = drawn(2)
    histogram = ScoreHistogram.from_logits(logits, labels, BINS)
    assert savings(histogram, Stakes(1, 50)).best.alerts == 0
    assert savings(histogram, Stakes(1, 0)).best.found == labels.sum()


def test_half_of_a_tie_finds_half_of_its_frauds() -> None:
    histogram = ScoreHistogram.from_logits(np.zeros(10, np.float32), np.repeat([1, 0], [4, 6]).astype(np.int8), BINS)
    half = savings(histogram, Stakes(10, 1)).at(0.5)
    assert (half.alerts, half.found, half.saved) == (5, 2, 15)


def test_noise_of_every_alerted_bin_is_in_what_is_saved() -> None:
    stakes, deviation, rng = Stakes(80, 5), 3.0, np.random.default_rng(3)
    bins = BINS.size
    exact = ScoreHistogram(BINS, np.full(bins, 500, np.int64), np.full(bins, 500, np.int64))
    at_half = []
    for _ in range(500):
        frauds, others = (np.rint(500 + rng.normal(0, deviation, bins)).astype(np.int64) for _ in range(2))
        at_half.append(savings(ScoreHistogram(BINS, frauds, others), stakes).points[bins // 2].saved)
    told = savings(exact, stakes, deviation**2)
    assert told.points[bins // 2].noise == pytest.approx(np.std(at_half), rel=0.1)
    assert told.points[0].noise == 0
    assert savings(exact, stakes).at(0.5).noise == 0


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_no_sum_of_money_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match="loss per fraud"):
        Stakes(wrong, 1)
    with pytest.raises(DataError, match="cost per alert"):
        Stakes(1, wrong)


def test_nothing_scored_is_refused() -> None:
    with pytest.raises(DataError, match="no transaction"):
        savings(ScoreHistogram.empty(BINS), Stakes(1, 1))
