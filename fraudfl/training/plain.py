"""Plain local training (FedAvg's and FedProx's client step), and the learning-rate schedule over rounds."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import NonFiniteError, TrainingError
from fraudfl.models.mlp import build_model
from fraudfl.training.batches import FlatModel, LocalData, TrainedWeights, row_losses, shuffled_batches
from fraudfl.training.optimisers import build_optimiser
from fraudfl.training.proximal import add_proximal_gradient

__all__ = ["LocalData", "TrainedWeights", "learning_rate_at", "train_plain"]


def train_plain(
    model_config: ModelConfig,
    vector: npt.NDArray[np.float32],
    data: LocalData,
    config: TrainingConfig,
    *,
    learning_rate: float,
    seed: int,
) -> TrainedWeights:
    """Train for `config.local_epochs` epochs from `vector`, with a fresh optimiser.

    Same arguments, same bits, as long as the number of threads is the same: call `torch.set_num_threads(1)` once
    in the process. Torch's global random generator is neither read nor changed.

    Args:
        vector: Start weights, float32, shape (size,); not changed.
        learning_rate: This round's rate, see `learning_rate_at`.
        seed: Seed of the order of rows.

    Returns:
        New weights, and the mean loss over the last epoch. Without rows: the start weights, no loss, 0 steps.

    Raises:
        NonFiniteError: if loss or weights are not finite.
    """
    flat = FlatModel(build_model(model_config, data.features.shape[1]), vector)
    if len(data.labels) == 0:
        return TrainedWeights(flat.vector(), None, 0)
    flat.collect_gradients()
    start = flat.weights.clone()
    optimiser = build_optimiser(config, flat.weights, learning_rate)
    generator = torch.Generator().manual_seed(seed)
    features, labels = data.tensors()
    steps, loss = 0, math.nan
    for _ in range(config.local_epochs):
        total = torch.zeros((), dtype=torch.float64)
        for rows in shuffled_batches(len(labels), config.batch_size, generator):
            flat.gradient.zero_()
            losses = row_losses(flat.model(features[rows]), labels[rows], config.positive_weight)
            losses.mean().backward()  # type: ignore[no-untyped-call]
            add_proximal_gradient(flat.gradient, flat.weights, start, config.proximal_mu)
            optimiser.step()
            total += losses.detach().sum()
            steps += 1
        loss = _finite(float(total) / len(labels), steps)
    return TrainedWeights(flat.vector(), loss, steps)


def learning_rate_at(config: TrainingConfig, round_index: int, rounds: int) -> float:
    """Return the learning rate of a round; it falls over the planned rounds and never reaches zero.

    Args:
        round_index: 0 for the first round; below `rounds`.
        rounds: Planned rounds of the phase.

    Raises:
        TrainingError: if the round is not one of the planned ones.
    """
    if not 0 <= round_index < rounds:
        raise TrainingError(
            f"round index {round_index} is outside the plan's {rounds} rounds; expected 0..{rounds - 1}"
        )
    done = round_index / rounds
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "linear":
        return config.learning_rate * (1 - done)
    return config.learning_rate


def _finite(loss: float, steps: int) -> float:
    if not math.isfinite(loss):
        raise NonFiniteError(
            f"the training loss is {loss} after {steps} steps; expected a finite number. "
            "Lower `training.learning_rate`, or look for absurd values in the features"
        )
    return loss
