"""SGD and Adam on one flat tensor, in the same arithmetic as `torch.optim`, to the last bit.

Torch's own load its compiler with their first step: 80 MB in every bank's daemon, a second in every process, and more
time a step than the arithmetic of a small network takes.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch

from fraudfl.config import TrainingConfig

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Optimiser(Protocol):
    """Moves weights along their gradient."""

    def step(self) -> None:
        """One step along the gradient that lies in `weights.grad` now."""
        ...


class Sgd:
    """Plain gradient descent; weight decay is added to the gradient."""

    def __init__(self, weights: torch.Tensor, learning_rate: float, weight_decay: float) -> None:
        """Work on `weights` in place."""
        self._weights = weights
        self._rate = learning_rate
        self._decay = weight_decay

    def step(self) -> None:
        """One step."""
        gradient = _gradient(self._weights)
        if self._decay:
            gradient = gradient.add(self._weights, alpha=self._decay)
        self._weights.add_(gradient, alpha=-self._rate)


class Adam:
    """Adam with decoupled weight decay.

    Source: Kingma and Ba 2015; decay as in Loshchilov and Hutter 2019.
    """

    def __init__(self, weights: torch.Tensor, learning_rate: float, weight_decay: float) -> None:
        """Work on `weights` in place, from moments of zero."""
        self._weights = weights
        self._rate = learning_rate
        self._decay = weight_decay
        self._steps = 0
        self._first = torch.zeros_like(weights)
        self._second = torch.zeros_like(weights)

    def step(self) -> None:
        """One step."""
        gradient = _gradient(self._weights)
        self._steps += 1
        if self._decay:
            self._weights.mul_(1 - self._rate * self._decay)
        self._first.lerp_(gradient, 1 - _BETA1)
        self._second.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        correction1, correction2 = 1 - _BETA1**self._steps, 1 - _BETA2**self._steps
        denominator = (self._second.sqrt() / math.sqrt(correction2)).add_(_EPSILON)
        self._weights.addcdiv_(self._first, denominator, value=-self._rate / correction1)


def build_optimiser(config: TrainingConfig, weights: torch.Tensor, learning_rate: float) -> Optimiser:
    """Make a fresh optimiser for a flat tensor whose `grad` is a tensor of the same shape."""
    kind = Sgd if config.optimizer == "sgd" else Adam
    return kind(weights, learning_rate, config.weight_decay)


def _gradient(weights: torch.Tensor) -> torch.Tensor:
    assert weights.grad is not None  # FlatModel gives it, and it is set to zero in place
    return weights.grad
