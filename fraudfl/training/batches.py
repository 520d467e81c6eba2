"""What every training loop shares: a bank's rows, the weights as one flat tensor, batches and the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from fraudfl.errors import NonFiniteError, TrainingError
from fraudfl.models.mlp import set_vector


@dataclass(frozen=True)
class LocalData:
    """One bank's encoded training rows. There may be none, or of one class only.

    Attributes:
        features: float32, shape (n, width).
        labels: float32 in {0, 1}, shape (n,).
        accounts: int64, shape (n,): rows of one account share a number, which says nothing else. Only where the
            unit of privacy is an account.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    accounts: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays whose shapes do not belong together, and accounts that are no numbers."""
        if self.features.ndim != 2 or self.labels.shape != self.features.shape[:1]:
            raise TrainingError(
                f"features have shape {self.features.shape} and labels {self.labels.shape}; "
                "expected (n, width) and (n,)"
            )
        accounts = self.accounts
        if accounts is not None and (accounts.shape != self.labels.shape or accounts.dtype != np.int64):
            raise TrainingError(
                f"accounts are {accounts.dtype} of shape {accounts.shape}; expected int64 of shape {self.labels.shape}"
            )

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both as float32 tensors; memory is shared where the arrays are float32, contiguous and writable."""
        return _tensor(self.features), _tensor(self.labels)


@dataclass(frozen=True)
class TrainedWeights:
    """What a training loop made.

    Attributes:
        vector: The new weights, float32, shape (size,).
        loss: Mean training loss of the last epoch; None with differential privacy, or without rows.
        steps: Optimiser steps taken.
    """

    vector: npt.NDArray[np.float32]
    loss: float | None
    steps: int


class FlatModel:
    """A model whose parameters are views of one flat tensor, so that optimisers and noise see one vector.

    Attributes:
        model: The network; its parameters share memory with `weights`.
        weights: float32, shape (size,).
    """

    def __init__(self, model: nn.Module, vector: npt.NDArray[np.float32]) -> None:
        """Load `vector` and tie the model's parameters to one tensor."""
        set_vector(model, vector)
        self.model = model
        self.weights = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])
        self.weights.grad = torch.zeros_like(self.weights)
        start = 0
        for parameter in model.parameters():
            parameter.data = self.weights[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    @property
    def gradient(self) -> torch.Tensor:
        """The gradient that the optimiser reads, shape (size,)."""
        gradient = self.weights.grad
        if gradient is None:
            raise TrainingError("the flat gradient was removed; set it to zero in place instead")
        return gradient

    def collect_gradients(self) -> None:
        """Let backward passes add into `gradient`."""
        start = 0
        for parameter in self.model.parameters():
            parameter.grad = self.gradient[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    def vector(self) -> npt.NDArray[np.float32]:
        """Copy the weights out.

        Raises:
            NonFiniteError: if a weight is not finite.
        """
        if not bool(torch.isfinite(self.weights).all()):
            raise NonFiniteError(
                "training ended with weights that are not finite; expected finite ones. "
                "Lower `training.learning_rate`, or look for absurd values in the features"
            )
        return self.weights.numpy().astype(np.float32, copy=True)


def row_losses(logits: torch.Tensor, labels: torch.Tensor, positive_weight: float) -> torch.Tensor:
    """Return the weighted cross-entropy of each row, shape (n,)."""
    weight = None if positive_weight == 1 else torch.tensor(positive_weight, dtype=logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight, reduction="none")


def shuffled_batches(rows: int, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield int64 row numbers, each row once, in a fresh order; the last batch may be smaller."""
    order = torch.randperm(rows, generator=generator)
    for start in range(0, rows, batch_size):
        yield order[start : start + batch_size]


def _tensor(array: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.require(array, dtype=np.float32, requirements=["C", "W"]))
