"""The XGBoost reference learns, repeats itself, and copes with what small banks have."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fraudfl.errors import TrainingError
from fraudfl.models.trees import train_trees


def bank(rows, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 5)).astype(np.float32)
    labels = (features[:, 0] * features[:, 1] + 0.3 * rng.normal(size=rows) > 1).astype(np.int8)
    features[rng.random((rows, 5)) < 0.05] = np.nan
    return features, labels


def test_trees_find_an_interaction_on_rows_they_have_not_seen():
    trees = train_trees(*bank(4000, 0), rounds=50)
    features, labels = bank(2000, 1)
    assert roc_auc_score(labels, trees.score(features)) > 0.9


def test_scores_are_log_odds_and_the_same_each_time():
    features, labels = bank(3000, 2)
    first, second = (train_trees(features, labels, rounds=20, seed=3).score(features) for _ in range(2))
    assert first.dtype == np.float32
    assert first.tobytes() == second.tobytes()
    assert (1 / (1 + np.exp(-first))).mean() == pytest.approx(labels.mean(), abs=0.01)


def test_a_bank_with_one_class_gets_finite_scores():
    features, labels = bank(100, 4)
    scores = train_trees(features, np.zeros_like(labels), rounds=5).score(features)
    assert np.all(np.isfinite(scores))
    assert scores.max() < 0


def test_no_rows_are_refused_in_training_and_fine_in_scoring():
    features, labels = bank(50, 5)
    assert train_trees(features, labels, rounds=2).score(features[:0]).shape == (0,)
    with pytest.raises(TrainingError, match="no rows"):
        train_trees(features[:0], labels[:0])
