"""Gradient-boosted trees (XGBoost) as a reference; they are not federated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost

from fraudfl.errors import TrainingError


@dataclass(frozen=True)
class Trees:
    """Trained trees.

    Attributes:
        booster: XGBoost's model.
        threads: How many it scores with.
    """

    booster: xgboost.Booster
    threads: int = 1

    def score(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Score rows.

        Args:
            features: float32, shape (n, width); NaN is a missing value.

        Returns:
            Log-odds, float32, shape (n,).
        """
        if not len(features):
            return np.zeros(0, dtype=np.float32)
        margins = self.booster.predict(xgboost.DMatrix(features, nthread=self.threads), output_margin=True)
        return np.asarray(margins, dtype=np.float32)


def train_trees(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.generic],
    *,
    rounds: int = 200,
    seed: int = 0,
    threads: int = 1,
) -> Trees:
    """Train on all rows given: depth 6, learning rate 0.1, histogram splits; the same input gives the same trees.

    Args:
        features: float32, shape (n, width); NaN is a missing value.
        labels: 0 or 1, shape (n,); a single class is allowed.
        rounds: Number of trees.
        seed: Seed of XGBoost's column and row order.
        threads: With more than one, sums are taken in another order. Few rows take longer with two than with one.

    Raises:
        TrainingError: if there are no rows.
    """
    if not len(labels):
        raise TrainingError("there are no rows to train trees on")
    truth = labels.astype(np.float32)
    parameters = {
        "objective": "binary:logistic",
        # Given, not estimated: with one class only the estimate would be infinite log-odds.
        "base_score": float(np.clip(truth.mean(), 1e-6, 1 - 1e-6)),
        "tree_method": "hist",
        "max_depth": 6,
        "eta": 0.1,
        "nthread": threads,
        "seed": seed,
        "verbosity": 0,
    }
    data = xgboost.QuantileDMatrix(features, truth, nthread=threads)
    return Trees(xgboost.train(parameters, data, num_boost_round=rounds), threads)
