"""Clipped gradient sums per unit: Opacus' ghost clipping, one backward pass, rows one by one or grouped by account."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed.tensor  # Opacus' hooks name it, and import it by chance only.
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.grad_sample.linear import compute_linear_norm_sample
from torch import nn

from fraudfl.errors import TrainingError
from fraudfl.models.mlp import BLOCK_ROWS
from fraudfl.training.batches import row_losses
from fraudfl.training.units import Picks, in_chunks

# Rows clipped at a time: keeps activations in the processor's cache and memory flat for large batches.
_CHUNK_ROWS = 4_096


class GhostClipper(GradSampleModuleFastGradientClipping):  # type: ignore[misc]  # Opacus ships no types
    """Opacus' ghost clipping with one backward pass instead of two.

    Opacus' hooks give what each unit's gradient norm and clipping factor need: of a row, or of an account as a
    sequence of rows, whose gradients add up before they are clipped (by Opacus' norm sampler). The clipped sum is then
    taken from the same activations and output gradients ("book-keeping", Bu et al. 2023), where Opacus would go
    backward a second time. Only networks of `nn.Linear` layers are accepted.

    Whoever chooses the weights must not be able to make one unit count for more than C, nor to learn from an error.
    So norms, factors and sums are float64, made of the very numbers that are summed; a unit whose gradient is not
    finite counts for nothing; and a unit's gradient has the same bits whichever other units are there.
    """

    def __init__(self, model: nn.Module, clip_norm: float) -> None:
        """Add Opacus' hooks to `model`, which must be in training mode; `clip_norm` is C."""
        owners = [module for module in model.modules() if list(module.parameters(recurse=False))]
        if not all(type(module) is nn.Linear for module in owners):
            raise TrainingError(
                f"ghost clipping here knows nn.Linear layers; found {[type(o).__name__ for o in owners]}"
            )
        self._seen: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
        self._empty: torch.Tensor | None = None
        super().__init__(model, loss_reduction="sum", max_grad_norm=clip_norm)
        self._owners: list[nn.Module] = owners

    def capture_backprops_hook(
        self, module: nn.Module, forward_input: Any, forward_output: Any, loss_reduction: str, batch_first: bool
    ) -> None:
        """Remember, in float64, what norms and clipped sum need; all of it is taken in one go after the pass."""
        layer: Any = module
        activations, gradients = layer.activations.pop()[0].double(), forward_output[0].detach().double()
        if self._empty is not None:
            # Weights can be chosen so that even an empty place's are not finite.
            activations = activations.masked_fill(self._empty[..., None], 0)
            gradients = gradients.masked_fill(self._empty[..., None], 0)
        self._seen[module] = (activations, gradients)
        for parameter in layer.parameters():
            parameter._forward_counter -= 1  # Opacus' guard against parameters in two layers

    def get_norm_sample(self) -> torch.Tensor:
        """Return each unit's gradient norm, float64, with a floor for accounts.

        Squares of float32 numbers, and products of two such squares, stay within float64's range: no norm underflows,
        and none is infinite unless the gradient is.
        """
        lengths = [self._row_squares(layer) for layer in self._owners]
        squares = sum(lengths[1:], lengths[0])
        if squares.dim() == 1:
            return squares.sqrt()
        return (self._account_squares() + _rounding_floor(squares)).sqrt()

    def get_clipping_coef(self) -> torch.Tensor:
        """Return each unit's factor, float64: min(1, C / norm), and 0 where the gradient is not finite.

        An error there would tell whoever chose the weights that some row makes them overflow.
        """
        norms = self.get_norm_sample()
        factors: torch.Tensor = (self.max_grad_norm / norms).clamp(max=1.0)
        return factors.masked_fill_(~norms.isfinite(), 0)

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
            float64, shape (size,), always finite; see `clipped_gradient_sum` for its sensitivity.
        """
        size = sum(parameter.numel() for parameter in self.parameters())
        total = torch.zeros(size, dtype=torch.float64)
        picks = np.arange(len(labels)) if picks is None else picks
        for chunk in in_chunks(picks, _CHUNK_ROWS):
            total += self._chunk_sum(features, labels, positive_weight, torch.from_numpy(chunk))
        return total

    def _chunk_sum(
        self, features: torch.Tensor, labels: torch.Tensor, positive_weight: float, picks: torch.Tensor
    ) -> torch.Tensor:
        picks = _to_full_blocks(picks)
        empty = picks < 0
        self._empty = empty if bool(empty.any()) else None
        taken = picks.clamp(min=0)
        # What lies in an empty place belongs to another unit, and must not count even where it is infinite.
        rows = features[taken].masked_fill_(empty[..., None], 0)
        # Asking for the gradient of the input alone lets autograd skip all weight gradients, unclipped as they are.
        rows.requires_grad_()
        losses = row_losses(self(rows), labels[taken], positive_weight).masked_fill(empty, 0)
        torch.autograd.grad(losses.sum(), rows)
        return self._clipped_sum(self.get_clipping_coef())

    def _clipped_sum(self, factors: torch.Tensor) -> torch.Tensor:
        dropped = factors == 0
        any_dropped = bool(dropped.any())
        parts: list[torch.Tensor] = []
        for layer in self._owners:
            activations, output_gradients = self._seen.pop(layer)
            shape = (-1, *[1] * (output_gradients.dim() - 1))
            scaled = output_gradients * factors.view(shape)
            if any_dropped:
                # Infinity times zero is no number, so a factor of zero alone does not take these out of the sum.
                activations = activations.masked_fill(dropped.view(shape), 0)
                scaled = scaled.masked_fill(dropped.view(shape), 0)
            parts += _sums(activations.flatten(0, -2), scaled.flatten(0, -2), layer)
        return torch.cat(parts)

    def _row_squares(self, layer: nn.Module) -> torch.Tensor:
        """Return the squared norm of each row's gradient in one layer: |output gradient|² (|input|² + 1 for a bias)."""
        activations, gradients = self._seen[layer]
        return _squared_lengths(gradients) * (_squared_lengths(activations) + (0 if layer.bias is None else 1))

    def _account_squares(self) -> torch.Tensor:
        """Return the squared norm of each account's gradient, by Opacus' sampler for sequences."""
        norms = [
            norm
            for layer, (activations, gradients) in self._seen.items()
            for norm in compute_linear_norm_sample(layer, [activations], gradients).values()
        ]
        return torch.stack(norms).square().sum(0)


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
        One vector, shape (size,), in the features' dtype, always finite; its L2 sensitivity to adding or removing one
        unit is C, up to rounding. A unit whose gradient is not finite contributes nothing.

    Source: Abadi et al. 2016, algorithm 1; per-unit norms by ghost clipping, Li et al. 2022.
    """
    training = model.training
    clipper = GhostClipper(model.train(), clip_norm)
    try:
        return clipper.gradient_sum(features, labels, positive_weight, picks).to(features.dtype)
    finally:
        clipper.remove_hooks()
        model.train(training)


def _squared_lengths(vectors: torch.Tensor) -> torch.Tensor:
    # A product with ones takes a third of the time that `sum` takes along a short last axis.
    return vectors.square() @ vectors.new_ones(vectors.shape[-1])


def _rounding_floor(squares: torch.Tensor) -> torch.Tensor:
    """Return what to add to an account's squared norm, for rows whose gradients nearly cancel.

    There the norm, and the sum itself, are what rounding leaves of large numbers, and could pass C unseen. This much
    more norm makes such an account's factor small enough against the lengths of its rows' gradients, whose sum S is:
    an error of a few ulp of S stays far below the margin for rounding that the noise has. Where rows do not cancel it
    is lost in rounding.

    Args:
        squares: Squared norms of the rows' gradients, shape (units, rows).
    """
    return squares.sqrt().sum(-1).square() * (8 * torch.finfo(squares.dtype).eps)


def _to_full_blocks(picks: torch.Tensor) -> torch.Tensor:
    """Fill up with empty units, so that matrix products treat the last units no differently from the others.

    They do otherwise: then a row's gradient, rounded, would depend on how many rows come after it.
    """
    missing = -len(picks) % BLOCK_ROWS
    return torch.cat([picks, picks.new_full((missing, *picks.shape[1:]), -1)]) if missing else picks


def _sums(activations: torch.Tensor, gradients: torch.Tensor, layer: nn.Module) -> list[torch.Tensor]:
    """Return one layer's summed gradients, flat: of its weight, and of its bias where it has one."""
    narrow = activations.shape[1] < gradients.shape[1]  # four times faster this way round
    weight = (activations.T @ gradients).T if narrow else gradients.T @ activations
    return [weight.reshape(-1)] if layer.bias is None else [weight.reshape(-1), gradients.sum(0)]
