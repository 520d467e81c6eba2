"""Clipped gradient sums per unit: Opacus' ghost clipping, one backward pass, rows one by one or grouped by account."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed.tensor  # Opacus' hooks name it, and import it by chance only.
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from torch import nn

from fraudfl.errors import NonFiniteError, TrainingError
from fraudfl.training.batches import row_losses
from fraudfl.training.units import Picks, in_chunks

# Rows clipped at a time: keeps activations in the processor's cache and memory flat for large batches.
_CHUNK_ROWS = 8_192


class GhostClipper(GradSampleModuleFastGradientClipping):  # type: ignore[misc]  # Opacus ships no types
    """Opacus' ghost clipping with one backward pass instead of two.

    Opacus' hooks and norm samplers give each unit's gradient norm and clipping factor: of a row, or of an account as
    a sequence of rows, whose gradients add up before they are clipped. The clipped sum is then taken from the
    activations and output gradients that the hooks already saw ("book-keeping", Bu et al. 2023), where Opacus would
    go backward a second time. Only networks of `nn.Linear` layers are accepted.
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

    def get_norm_sample(self) -> torch.Tensor:
        """Return each unit's gradient norm, as Opacus does but in less time, with a floor for accounts."""
        squares = [parameter._norm_sample.square() for parameter in self.trainable_parameters]
        total: torch.Tensor = sum(squares[1:], squares[0]) + self._rounding_floor()
        return total.sqrt()

    def gradient_sum(
        self, features: torch.Tensor, labels: torch.Tensor, positive_weight: float, picks: Picks | None = None
    ) -> torch.Tensor:
        """Sum the clipped gradients of the picked units, or of all rows as units of their own.

        Args:
            features: Shape (n, width), in the model's dtype.
            labels: In {0, 1}, shape (n,).
            positive_weight: Weight of a fraud in the loss, applied before clipping.
            picks: Which rows form which units, see `fraudfl.training.units`.

        Returns:
            float64, shape (size,); see `clipped_gradient_sum` for its sensitivity.

        Raises:
            NonFiniteError: if a gradient is not finite.
        """
        size = sum(parameter.numel() for parameter in self.parameters())
        total = torch.zeros(size, dtype=torch.float64)
        picks = np.arange(len(labels)) if picks is None else picks
        for chunk in in_chunks(picks, _CHUNK_ROWS):
            total += self._chunk_sum(features, labels, positive_weight, torch.from_numpy(chunk))
        if not bool(torch.isfinite(total).all()):
            raise NonFiniteError(
                "a clipped gradient is not finite; expected finite ones. Nothing was released. "
                "Look for absurd values in the features, or lower `training.learning_rate`"
            )
        return total

    def _chunk_sum(
        self, features: torch.Tensor, labels: torch.Tensor, positive_weight: float, picks: torch.Tensor
    ) -> torch.Tensor:
        empty = picks < 0
        taken = picks.clamp(min=0)
        # What lies in an empty place belongs to another unit, and must not count even where it is infinite.
        rows = features[taken].masked_fill_(empty[..., None], 0)
        # Asking for the gradient of the input alone lets autograd skip all weight gradients, unclipped as they are.
        rows.requires_grad_()
        losses = row_losses(self(rows), labels[taken], positive_weight).masked_fill(empty, 0)
        torch.autograd.grad(losses.sum(), rows)
        return self._clipped_sum(self.get_clipping_coef())

    def _clipped_sum(self, factors: torch.Tensor) -> torch.Tensor:
        parts: list[torch.Tensor] = []
        for layer in self._owners:
            activations, output_gradients = self._seen.pop(layer)
            scaled = output_gradients * factors.view(-1, *[1] * (output_gradients.dim() - 1))
            parts += _sums(activations.flatten(0, -2), scaled.flatten(0, -2), layer)
        return torch.cat(parts)

    def _rounding_floor(self) -> torch.Tensor | float:
        """Return what to add to an account's squared norm, for rows whose gradients nearly cancel.

        There the norm, and the sum itself, are what rounding leaves of large numbers, and could pass C unseen. This
        much more norm makes such an account's factor small enough against the lengths of its rows' gradients, whose
        sum S is: an error of a few ulp of S stays below the margin for rounding that the noise has. Where rows do not
        cancel it is lost in rounding.
        """
        if next(iter(self._seen.values()))[1].dim() == 2:
            return 0.0
        squares: list[torch.Tensor] = []
        for layer, (activations, gradients) in self._seen.items():
            inputs = activations.square().sum(-1) + (0 if layer.bias is None else 1)
            squares.append(gradients.square().sum(-1) * inputs)
        lengths = sum(squares[1:], squares[0]).sqrt().sum(-1)
        return lengths.square() * (8 * torch.finfo(lengths.dtype).eps)


def clipped_gradient_sum(
    model: nn.Module,
    features: torch.Tensor,
    labels: torch.Tensor,
    clip_norm: float,
    positive_weight: float = 1.0,
    picks: Picks | None = None,
) -> torch.Tensor:
    """Sum gradients per unit after clipping each unit's to `clip_norm`.

    Args:
        features: Shape (n, width), in the model's dtype; there may be no rows.
        labels: In {0, 1}, shape (n,).
        clip_norm: L2 bound C per unit, > 0.
        positive_weight: Weight of a fraud in the loss, applied before clipping.
        picks: Which rows form which units; all rows, each a unit, when absent.

    Returns:
        One vector, shape (size,), in the features' dtype; its L2 sensitivity to adding or removing one unit is C, up
        to rounding.

    Raises:
        NonFiniteError: if a gradient is not finite; nothing has been released then.

    Source: Abadi et al. 2016, algorithm 1; per-unit norms by ghost clipping, Li et al. 2022.
    """
    training = model.training
    clipper = GhostClipper(model.train(), clip_norm)
    try:
        return clipper.gradient_sum(features, labels, positive_weight, picks).to(features.dtype)
    finally:
        clipper.remove_hooks()
        model.train(training)


def _sums(activations: torch.Tensor, gradients: torch.Tensor, layer: nn.Module) -> list[torch.Tensor]:
    """Return one layer's summed gradients, flat: of its weight, and of its bias where it has one."""
    narrow = activations.shape[1] < gradients.shape[1]  # four times faster this way round
    weight = (activations.T @ gradients).T if narrow else gradients.T @ activations
    return [weight.reshape(-1)] if layer.bias is None else [weight.reshape(-1), gradients.sum(0)]
