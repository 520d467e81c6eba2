"""A model of the bank's own on top of the global one: its last layer fine-tuned, calibrated, or left as it is.

All of it happens at the bank and stays there. What is better is decided on validation rows; test rows are not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fraudfl.config import ModelConfig
from fraudfl.folder import Rows as BankRows
from fraudfl.models.mlp import build_model, set_vector
from fraudfl.training.last_layer import (
    Floats,
    Rows,
    best_change,
    last_inputs,
    last_layer,
    row_loss,
    with_last_layer,
)

Choice = Literal["global", "calibrated", "fine-tuned", "fine-tuned and calibrated"]
PULLS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
_CALIBRATION_PULL = 1e-3


@dataclass(frozen=True, kw_only=True)
class Personalising:
    """How far a bank's own model may go from the global one, and how much evidence that takes.

    Attributes:
        pulls: Strengths of the pull to the global weights that are tried, firm ones first.
        least_frauds: Frauds that there must be among the training rows, and among the validation rows, to fine-tune.
        least_frauds_to_calibrate: Frauds that there must be among the validation rows, which calibration is fitted on.
        errors: By how many standard errors calibration must lower the loss on accounts that it was not fitted on.
        folds: Groups of accounts that take turns at being left out.
        most_rows: Training rows without fraud that are looked at; where there are more, a draw stands for all.
        seed: Of that draw, and of the folds.
    """

    pulls: tuple[float, ...] = PULLS
    least_frauds: int = 5
    least_frauds_to_calibrate: int = 50
    errors: float = 2.0
    folds: int = 5
    most_rows: int = 200_000
    seed: int = 0


@dataclass(frozen=True)
class Personal:
    """A bank's own model.

    Attributes:
        vector: All weights, float32, shape (size,); they differ from the global ones in the last layer alone.
        choice: What was done.
        pull: The pull that was best; None where the weights were not fine-tuned.
        calibration: What logits are multiplied with, and what is then added; None where they are left as they are.
        losses: Mean loss on validation rows of the global model, and of what was tried and can be set beside it.
        reason: Why, in words.
    """

    vector: npt.NDArray[np.float32]
    choice: Choice
    pull: float | None
    calibration: tuple[float, float] | None
    losses: Mapping[str, float]
    reason: str


def personalise(
    config: ModelConfig,
    vector: npt.NDArray[np.float32],
    train: BankRows,
    validation: BankRows,
    settings: Personalising | None = None,
) -> Personal:
    """Make a bank's own model out of the global one.

    Fine-tuning: for each pull the last layer that is best on training rows; the one with the lowest loss on validation
    rows is taken, or none. A pull that gets weaker step by step, until validation says stop, is to this convex problem
    what early stopping is to gradient descent. Calibration: scale and shift of the logits, fitted on validation rows
    and judged on accounts that were left out.

    Same arguments, same bits.

    Args:
        vector: The global model's weights, float32, shape (size,).
        train, validation: The bank's own rows; either may be empty or without fraud.
        settings: The defaults are those that docs/gain.md reports figures of.
    """
    settings = settings or Personalising()
    frauds = int(train.labels.sum()), int(validation.labels.sum())
    if min(frauds) < settings.least_frauds:
        reason = (
            f"{frauds[0]} frauds to train on and {frauds[1]} to validate with; "
            f"a model of the bank's own takes at least {settings.least_frauds} of each"
        )
        return _unchanged(vector, reason)
    model = build_model(config, train.features.shape[1])
    set_vector(model, vector)
    layer = last_layer(model, vector)
    kept = _kept(train.labels, settings)
    held = _rows(last_inputs(model, validation.features), layer, validation.labels)
    rows = _rows(last_inputs(model, train.features[kept]), layer, train.labels[kept], _counted(train.labels, kept))
    if not (np.isfinite(held.offset).all() and np.isfinite(rows.offset).all()):
        return _unchanged(vector, "the global model gives some rows no finite score")
    change, pull, losses = _fine_tuned(rows, held, settings)
    logits = held.offset + held.inputs @ change
    calibration = _calibrated(logits, held.labels, validation.clusters, settings, losses)
    scale, shift = calibration or (1.0, 0.0)
    own = scale * (layer + change)
    own[-1] += shift
    touched = pull is not None or calibration is not None
    return Personal(
        vector=with_last_layer(vector, own) if touched else vector.copy(),
        choice=_choice(pull, calibration),
        pull=pull,
        calibration=calibration,
        losses=losses,
        reason=_reason(losses, frauds[1], settings),
    )


def _unchanged(vector: npt.NDArray[np.float32], reason: str) -> Personal:
    return Personal(vector.copy(), "global", None, None, {}, reason)


def _kept(labels: npt.NDArray[np.float32], settings: Personalising) -> npt.NDArray[np.int64]:
    """Which training rows are looked at: all frauds, and so many others, in their order."""
    others = np.flatnonzero(labels == 0)
    if len(others) > settings.most_rows:
        others = np.random.default_rng(settings.seed).choice(others, settings.most_rows, replace=False)
    return np.sort(np.concatenate((np.flatnonzero(labels == 1), others)))


def _counted(labels: npt.NDArray[np.float32], kept: npt.NDArray[np.int64]) -> Floats:
    """How many rows each kept one stands for."""
    chosen = labels[kept]
    return np.where(chosen == 1, 1.0, (labels == 0).sum() / max(1, (chosen == 0).sum()))


def _rows(inputs: Floats, layer: Floats, labels: npt.NDArray[np.float32], weights: Floats | None = None) -> Rows:
    counted = np.ones(len(labels)) if weights is None else weights
    return Rows(inputs=inputs, offset=inputs @ layer, labels=labels.astype(np.float64), weights=counted)


def _fine_tuned(rows: Rows, held: Rows, settings: Personalising) -> tuple[Floats, float | None, dict[str, float]]:
    """The change to the last layer that validation likes best, its pull, and what was tried."""
    before = float(row_loss(held.offset, held.labels).mean())
    change = np.zeros(rows.inputs.shape[1])
    best, chosen, least, tried = change, None, before, np.inf
    for pull in settings.pulls:
        change = best_change(rows, pull, change)
        loss = float(row_loss(held.offset + held.inputs @ change, held.labels).mean())
        tried = min(tried, loss)
        if loss < least:
            best, chosen, least = change, pull, loss
    return best, chosen, {"global": before, "fine-tuned": float(tried)}


def _calibrated(
    logits: Floats,
    labels: Floats,
    accounts: npt.NDArray[np.int64],
    settings: Personalising,
    losses: dict[str, float],
) -> tuple[float, float] | None:
    """Scale and shift, where accounts that they were not fitted on are scored better by them; notes their loss."""
    if labels.sum() < settings.least_frauds_to_calibrate:
        return None
    fold = _folds(accounts, settings)
    left_out = np.empty(len(labels))
    for number in range(settings.folds):
        out = fold == number
        scale, shift = _scale_and_shift(logits[~out], labels[~out])
        left_out[out] = row_loss(scale * logits[out] + shift, labels[out])
    losses["calibrated"] = float(left_out.mean())
    gain = row_loss(logits, labels) - left_out
    if gain.mean() <= settings.errors * _standard_error(gain, accounts):
        return None
    scale, shift = _scale_and_shift(logits, labels)
    # A scale below zero would turn the order of scores round.
    return (scale, shift) if scale > 0 else None


def _scale_and_shift(logits: Floats, labels: Floats) -> tuple[float, float]:
    """Platt's calibration, drawn a little to scale 1 and shift 0.

    Source: Platt 1999, "Probabilistic outputs for support vector machines".
    """
    inputs = np.column_stack((logits, np.ones(len(logits))))
    rows = Rows(inputs=inputs, offset=logits, labels=labels, weights=np.ones(len(logits)))
    change = best_change(rows, _CALIBRATION_PULL)
    return 1.0 + float(change[0]), float(change[1])


def _folds(accounts: npt.NDArray[np.int64], settings: Personalising) -> npt.NDArray[np.int64]:
    distinct, member = np.unique(accounts, return_inverse=True)
    return (np.random.default_rng(settings.seed).permutation(len(distinct)) % settings.folds)[member]


def _standard_error(values: Floats, accounts: npt.NDArray[np.int64]) -> float:
    """Of the mean, with accounts drawn whole."""
    member = np.unique(accounts, return_inverse=True)[1]
    sums = np.bincount(member, values - values.mean())
    return float(np.sqrt((sums**2).sum()) / len(values))


def _choice(pull: float | None, calibration: tuple[float, float] | None) -> Choice:
    if pull is None:
        return "global" if calibration is None else "calibrated"
    return "fine-tuned" if calibration is None else "fine-tuned and calibrated"


def _reason(losses: Mapping[str, float], frauds: int, settings: Personalising) -> str:
    said = (
        f"on {frauds} frauds to validate with, the mean loss is {losses['global']:.5f} by the global model and "
        f"{losses['fine-tuned']:.5f} at best by a fine-tuned one"
    )
    if "calibrated" in losses:
        return f"{said}; calibrated {losses['calibrated']:.5f} on accounts left out"
    return f"{said}; calibration takes {settings.least_frauds_to_calibrate} frauds"
