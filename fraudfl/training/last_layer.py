"""The network's last layer by itself: what goes into it, and the change to it that fits a bank's own rows best.

With the layers before it held still the last one is a logistic regression, so there is one best change, and it does
not depend on a learning rate or on the order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import nn

from fraudfl.errors import TrainingError
from fraudfl.models.mlp import Classifier

Floats = npt.NDArray[np.float64]

_CHUNK_ROWS = 65_536
_GRADIENT = 1e-7
_STEPS = 500


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows as a linear model sees them.

    Attributes:
        inputs: float64, shape (n, k).
        offset: The logits before any change, float64, shape (n,).
        labels: float64 in {0, 1}, shape (n,).
        weights: How often each row counts, float64, shape (n,).
    """

    inputs: Floats
    offset: Floats
    labels: Floats
    weights: Floats


def last_inputs(model: Classifier, features: npt.NDArray[np.float32]) -> Floats:
    """What the last layer multiplies with its weights and its bias.

    Args:
        features: float32, shape (n, width).

    Returns:
        float64, shape (n, k + 1) for a last layer of k inputs; the last column is 1.
    """
    out = np.ones((len(features), _linear(model).in_features + 1))
    with torch.inference_mode():
        for start in range(0, len(features), _CHUNK_ROWS):
            part = torch.from_numpy(np.array(features[start : start + _CHUNK_ROWS], dtype=np.float32))
            out[start : start + len(part), :-1] = model.layers[:-1](part).numpy()
    return out


def last_layer(model: Classifier, vector: npt.NDArray[np.float32]) -> Floats:
    """Weights and bias of the last layer, float64 of shape (k + 1,): the end of the flat vector."""
    return vector[-(_linear(model).in_features + 1) :].astype(np.float64)


def with_last_layer(vector: npt.NDArray[np.float32], layer: Floats) -> npt.NDArray[np.float32]:
    """The same network with another last layer; float32, shape (size,)."""
    changed = vector.astype(np.float32, copy=True)
    changed[-len(layer) :] = layer
    return changed


def row_loss(logits: Floats, labels: Floats) -> Floats:
    """Cross-entropy of each row, in nats; float64, shape (n,)."""
    return np.asarray(np.logaddexp(0.0, logits) - labels * logits)


def best_change(rows: Rows, pull: float, start: Floats | None = None) -> Floats:
    """The change d that makes mean loss of `offset + inputs d`, plus `pull` / 2 times |d|², smallest.

    Args:
        rows: At least one.
        pull: How strongly the change is drawn to none; > 0, so that there is exactly one best one.
        start: Where to look first: the answer for a similar pull saves steps.

    Returns:
        float64, shape (k,).

    Raises:
        TrainingError: if there are no rows, the pull is not positive, or numbers are not finite.

    Source: the proximal term of FedProx (Li et al. 2020), here as ridge around the global weights; Newton's method in
    a trust region with conjugate gradients (Nocedal and Wright 2006, algorithm 7.2).
    """
    if not pull > 0 or not len(rows.labels):
        raise TrainingError(f"{len(rows.labels)} rows and a pull of {pull:g}; expected at least one row and a pull > 0")
    if not (np.isfinite(rows.inputs).all() and np.isfinite(rows.offset).all()):
        raise TrainingError("inputs of the last layer are not finite; expected finite ones. The model cannot be used")
    total = rows.weights.sum()

    def loss(change: Floats) -> tuple[float, Floats]:
        logits = rows.offset + rows.inputs @ change
        slopes = rows.weights * (expit(logits) - rows.labels) / total
        value = rows.weights @ row_loss(logits, rows.labels) / total + pull / 2 * change @ change
        return float(value), rows.inputs.T @ slopes + pull * change

    def curvature(change: Floats, direction: Floats) -> Floats:
        chance = expit(rows.offset + rows.inputs @ change)
        bends = rows.weights * chance * (1 - chance) / total
        return np.asarray(rows.inputs.T @ (bends * (rows.inputs @ direction)) + pull * direction)

    first = np.zeros(rows.inputs.shape[1]) if start is None else start
    options = {"gtol": _GRADIENT, "maxiter": _STEPS}
    found = minimize(loss, first, jac=True, hessp=curvature, method="trust-ncg", options=options)
    return np.asarray(found.x, dtype=np.float64)


def _linear(model: Classifier) -> nn.Linear:
    layer = model.layers[-1]
    assert isinstance(layer, nn.Linear)  # so every classifier ends
    return layer
