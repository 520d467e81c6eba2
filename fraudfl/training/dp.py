"""DP-SGD: Poisson draws on tensors, per-row clipping by Opacus' ghost clipping, Gaussian noise of our own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed.tensor  # Opacus' hooks name it, and import it by chance only.
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from torch import nn

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import NonFiniteError, TrainingError
from fraudfl.models.mlp import build_model
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.batches import FlatModel, LocalData, TrainedWeights, row_losses
from fraudfl.training.optimisers import build_optimiser
from fraudfl.training.proximal import add_proximal_gradient

# Rows clipped at a time: keeps activations in the processor's cache and memory flat for large batches.
_CHUNK_ROWS = 8_192
# Sums are float32, so one row can move one by a little more than C. This much more noise covers the rounding
# (Casacuberta et al. 2022); the accountant counts the noise without it.
_ROUNDING_MARGIN = 1 + 2**-10


class GhostClipper(GradSampleModuleFastGradientClipping):  # type: ignore[misc]  # Opacus ships no types
    """Opacus' ghost clipping with one backward pass instead of two.

    Opacus' hooks and norm samplers give each row's gradient norm and clipping factor. The clipped sum is then taken
    from the activations and output gradients that the hooks already saw ("book-keeping", Bu et al. 2023), where
    Opacus would go backward a second time. Only networks of `nn.Linear` layers are accepted.
    """

    def __init__(self, model: nn.Module, clip_norm: float) -> None:
        """Add Opacus' hooks to `model`, which must be in training mode; `clip_norm` is C."""
        owners = [module for module in model.modules() if list(module.parameters(recurse=False))]
        if not all(type(module) is nn.Linear for module in owners):
            raise TrainingError(
                f"ghost clipping here knows nn.Linear layers; found {[type(o).__name__ for o in owners]}"
            )
        self._seen: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
        super().__init__(model, loss_reduction="sum", max_grad_norm=clip_norm)
        self._owners: list[nn.Module] = owners

    def capture_backprops_hook(
        self, module: nn.Module, forward_input: Any, forward_output: Any, loss_reduction: str, batch_first: bool
    ) -> None:
        """Remember what the clipped sum needs, then let Opacus compute norms."""
        activations: Any = module.activations
        self._seen[module] = (activations[-1][0], forward_output[0].detach())
        super().capture_backprops_hook(module, forward_input, forward_output, loss_reduction, batch_first)

    def gradient_sum(self, features: torch.Tensor, labels: torch.Tensor, positive_weight: float) -> torch.Tensor:
        """See `clipped_gradient_sum`; chunks are summed in float64, the result has the model's dtype."""
        size = sum(parameter.numel() for parameter in self.parameters())
        total = torch.zeros(size, dtype=torch.float64)
        for start in range(0, len(labels), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            total += self._chunk_sum(features[chunk], labels[chunk], positive_weight)
        if not bool(torch.isfinite(total).all()):
            raise NonFiniteError(
                "a clipped gradient is not finite; expected finite ones. Nothing was released. "
                "Look for absurd values in the features, or lower `training.learning_rate`"
            )
        return total.to(features.dtype)

    def _chunk_sum(self, features: torch.Tensor, labels: torch.Tensor, positive_weight: float) -> torch.Tensor:
        # Asking for the gradient of the input alone lets autograd skip all weight gradients, unclipped as they are.
        rows = features.detach().requires_grad_()
        losses = row_losses(self(rows), labels, positive_weight)
        torch.autograd.grad(losses.sum(), rows)
        factors = self.get_clipping_coef()
        parts: list[torch.Tensor] = []
        for layer in self._owners:
            activations, output_gradients = self._seen.pop(layer)
            scaled = output_gradients * factors[:, None]
            parts.append((scaled.T @ activations).reshape(-1))
            if layer.bias is not None:
                parts.append(scaled.sum(0))
        return torch.cat(parts)


def clipped_gradient_sum(
    model: nn.Module, features: torch.Tensor, labels: torch.Tensor, clip_norm: float, positive_weight: float = 1.0
) -> torch.Tensor:
    """Sum per-row gradients after clipping each to `clip_norm`.

    Args:
        features: Shape (batch, width), in the model's dtype; the batch may be empty.
        labels: In {0, 1}, shape (batch,).
        clip_norm: L2 bound C per row, > 0.
        positive_weight: Weight of a fraud in the loss, applied before clipping.

    Returns:
        One vector, shape (size,); its L2 sensitivity to adding or removing one row is C, up to rounding.

    Raises:
        NonFiniteError: if a gradient is not finite; nothing has been released then.

    Source: Abadi et al. 2016, algorithm 1; per-row norms by ghost clipping, Li et al. 2022.
    """
    training = model.training
    clipper = GhostClipper(model.train(), clip_norm)
    try:
        return clipper.gradient_sum(features, labels, positive_weight)
    finally:
        clipper.remove_hooks()
        model.train(training)


def train_dp(
    model_config: ModelConfig,
    vector: npt.NDArray[np.float32],
    data: LocalData,
    config: TrainingConfig,
    dp: DpSgd,
    *,
    learning_rate: float,
    noise: NoiseSource,
) -> TrainedWeights:
    """Take `dp.steps` steps of DP-SGD from `vector`, with a fresh optimiser.

    Each step draws every row with probability q, sums the clipped gradients, adds noise of standard deviation
    noise multiplier x clip norm, and divides by the public `dp.expected_batch`. An empty draw is a step like any
    other, so neither the number of steps nor anything returned tells how many rows there are. Proximal term and
    weight decay come after the noise.

    Args:
        vector: Start weights, float32, shape (size,); not changed.
        data: The bank's rows; one row is one unit.
        dp: The mechanism, with the steps of this call.
        noise: Where Poisson draws and noise come from.

    Returns:
        New weights and `dp.steps`; never a loss.

    Raises:
        NonFiniteError: if a gradient or weight is not finite.
    """
    flat = FlatModel(build_model(model_config, data.features.shape[1]), vector)
    start = flat.weights.clone()
    optimiser = build_optimiser(config, flat.weights, learning_rate)
    clipper = GhostClipper(flat.model, dp.clip_norm)
    features, labels = data.tensors()
    deviation = dp.noise_multiplier * dp.clip_norm * _ROUNDING_MARGIN
    for _ in range(dp.steps):
        rows = torch.from_numpy(noise.poisson_draw(len(labels), dp.sampling_rate))
        total = clipper.gradient_sum(features[rows], labels[rows], config.positive_weight).double()
        total += torch.from_numpy(deviation * noise.gaussian(total.numel()))
        flat.gradient.copy_(total / dp.expected_batch)
        add_proximal_gradient(flat.gradient, flat.weights, start, config.proximal_mu)
        optimiser.step()
    return TrainedWeights(flat.vector(), None, dp.steps)
