"""DP-SGD at one bank, with noise in full: Poisson draws, clipping per unit, Gaussian noise of our own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import PrivacyError
from fraudfl.models.mlp import build_model
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.batches import FlatModel, LocalData, TrainedWeights
from fraudfl.training.noisy_sum import ClippedDraws, noise_share
from fraudfl.training.optimisers import build_optimiser
from fraudfl.training.proximal import add_proximal_gradient


def train_dp(
    model_config: ModelConfig,
    vector: npt.NDArray[np.float32],
    data: LocalData,
    config: TrainingConfig,
    dp: DpSgd,
    *,
    learning_rate: float,
    noise: NoiseSource,
    account_rows: int | None = None,
) -> TrainedWeights:
    """Take `dp.steps` steps of DP-SGD from `vector`, with a fresh optimiser.

    Each step draws every unit with probability q, sums the clipped gradients, adds noise of standard deviation
    noise multiplier x clip norm, and divides by the public `dp.expected_batch`. An empty draw is a step like any
    other, so neither the number of steps nor anything returned tells how many rows there are. Proximal term and
    weight decay come after the noise.

    Args:
        vector: Start weights, float32, shape (size,); not changed.
        data: The bank's rows, with their accounts where those are the unit.
        dp: The mechanism, with the steps of this call.
        noise: Where Poisson draws and noise come from.
        account_rows: Most rows of one account in a step; for unit `account` only.

    Returns:
        New weights and `dp.steps`; never a loss.

    Raises:
        NonFiniteError: if `vector` is not finite, which says nothing of the rows.
        PrivacyError: if the noise is to be shared among banks.
        TrainingError: if accounts are the unit, and the rows carry none.
    """
    if dp.parties != 1:
        raise PrivacyError(
            f"the noise is shared by {dp.parties} banks; expected all of it at this one, for local steps. "
            "Shared noise protects one sum over the banks: use privacy mode `distributed`"
        )
    flat = FlatModel(build_model(model_config, data.features.shape[1]), vector)
    start = flat.weights.clone()
    optimiser = build_optimiser(config, flat.weights, learning_rate)
    draws = ClippedDraws(flat, data, dp, config.positive_weight, account_rows)
    for _ in range(dp.steps):
        total = draws.draw(noise) + noise_share(dp, len(vector), noise)
        flat.gradient.copy_(torch.from_numpy(total / dp.expected_batch))
        add_proximal_gradient(flat.gradient, flat.weights, start, config.proximal_mu)
        before = flat.weights.clone()
        optimiser.step()
        # An error would be one more answer that depends on the rows, and nobody accounts for errors. What stays as it
        # was before the step is, like the step itself, a function of the noisy sum and of what was known before.
        flat.weights.copy_(torch.where(flat.weights.isfinite(), flat.weights, before))
    return TrainedWeights(flat.vector(), None, dp.steps)
