"""FedProx: a pull towards the weights that the round began with (Li et al. 2020)."""

from __future__ import annotations

import torch


def add_proximal_gradient(gradient: torch.Tensor, weights: torch.Tensor, start: torch.Tensor, mu: float) -> None:
    """Add the gradient of mu/2 * ||weights - start||² in place; depends on no row, so it costs no privacy.

    Args:
        gradient, weights, start: float32, shape (size,).
        mu: Strength of the pull; 0 leaves the gradient as it is.
    """
    if mu > 0:
        gradient.add_(weights - start, alpha=mu)
