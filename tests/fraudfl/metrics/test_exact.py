"""Exact figures against definitions counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fraudfl.errors import DataError, NonFiniteError
from fraudfl.metrics.exact import auprc, f1_at, figures
from fraudfl.metrics.figures import Figures

LOGITS = np.array([3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0])
LABELS = np.array([1, 0, 1, 0, 0, 0, 1, 0])


def test_figures_of_a_small_ranking_are_what_counting_gives():
    found = figures(LOGITS, LABELS, threshold=1.0, budget=0.25)
    assert found.auprc == pytest.approx((1 / 1 + 2 / 3 + 3 / 7) / 3)
    assert found.auroc == pytest.approx((5 + 4 + 1) / 15)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found.recall_at_budget == pytest.approx(1 / 3)
    assert f1_at(LOGITS, LABELS, threshold=1.0) == pytest.approx(2 / 3)
    assert auprc(LOGITS, LABELS) == found.auprc


def test_a_budget_that_ends_inside_a_tie_counts_its_frauds_in_proportion():
    logits = np.array([5.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    labels = np.array([0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert figures(logits, labels, threshold=0, budget=0.3).recall_at_budget == pytest.approx(0.5)
    assert figures(logits, labels, threshold=0, budget=0.1).recall_at_budget == 0
    assert figures(logits, labels, threshold=0, budget=1.0).recall_at_budget == 1


def test_without_a_fraud_no_figure_is_invented():
    assert figures(LOGITS, np.zeros(8, dtype=int), threshold=0, budget=0.1) == Figures(None, None, None, None)
    assert auprc(LOGITS, np.zeros(8, dtype=int)) is None
    assert f1_at(LOGITS, np.zeros(8, dtype=int), threshold=9.0) == 0


def test_without_a_legitimate_transaction_what_needs_one_is_absent():
    found = figures(LOGITS, np.ones(8, dtype=int), threshold=0, budget=0.5)
    assert (found.auprc, found.auroc, found.balanced_accuracy) == (1.0, None, None)
    assert found.recall_at_budget == pytest.approx(0.5)


def test_scores_and_labels_that_make_no_sense_are_refused():
    with pytest.raises(NonFiniteError, match="row 0"):
        figures(np.array([np.inf]), np.array([1]), threshold=0, budget=0.1)
    with pytest.raises(DataError, match=r"label in row 1 is 0\.5"):
        figures(np.array([0.0, 1.0]), np.array([1, 0.5]), threshold=0, budget=0.1)
