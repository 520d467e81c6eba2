"""What the coordinator does with a noisy sum: one step of momentum or of Adam corrected for the noise, in float64."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fraudfl.errors import CheckpointError, NonFiniteError, TrainingError
from fraudfl.privacy.mechanisms import DpSgd

Vector = npt.NDArray[np.float64]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class ServerStep(ABC):
    """Moves the global weights along mean gradients, and keeps a running average of where they have been.

    While it is short the average forgets its beginning: the iterate of step t enters with at least 9 / (8 + t).
    Everything here comes after the noise, so it costs no privacy.
    """

    def __init__(self, size: int, *, averaging: float = 0.0, weight_decay: float = 0.0) -> None:
        """Start before the first step.

        Args:
            size: Number of weights.
            averaging: Decay of the average of iterates, in [0, 1); 0 keeps the last iterate only.
            weight_decay: Decoupled decay, times the learning rate, per step (Loshchilov and Hutter 2019).
        """
        if not 0 <= averaging < 1:
            raise TrainingError(f"the decay of the average of iterates is {averaging}; expected 0 or more, below 1")
        self._decay, self._weight_decay = averaging, weight_decay
        self._state = {"steps": np.zeros(()), "average": np.zeros(size)}

    def step(
        self, weights: Vector, mean_gradient: Vector, learning_rate: float, noise_deviation: float | None = None
    ) -> Vector:
        """Take one step.

        Args:
            weights: Where to step from, shape (size,); not changed.
            mean_gradient: The noisy sum over its public divisor, shape (size,).
            learning_rate: This step's rate.
            noise_deviation: Standard deviation of the noise in each entry of this `mean_gradient`, where it is
                another than usual: more banks than the least bring more noise. See `noise_of_mean`.

        Returns:
            New weights, float64, shape (size,).

        Raises:
            NonFiniteError: if a new weight is not finite; this object's state is then of no more use.
            TrainingError: if shapes do not fit.
        """
        shape = self._state["average"].shape
        if weights.shape != shape or mean_gradient.shape != shape:
            raise TrainingError(f"weights {weights.shape} and gradient {mean_gradient.shape}; expected both {shape}")
        self._state["steps"] += 1
        direction = self._direction(mean_gradient.astype(np.float64), noise_deviation)
        new: Vector = weights * (1 - learning_rate * self._weight_decay) - learning_rate * direction
        if not np.isfinite(new).all():
            raise NonFiniteError("a server step made weights that are not finite; lower the server's learning rate")
        kept = min(self._decay, (self._steps - 1) / (8 + self._steps))
        self._state["average"] = kept * self._state["average"] + (1 - kept) * new
        return new

    @property
    def average(self) -> Vector:
        """What to publish, float64, shape (size,): the average of iterates, or the last where none is kept."""
        if self._steps == 0:
            raise TrainingError("there is no average of iterates before the first server step")
        return self._state["average"].copy()

    def state(self) -> dict[str, Vector]:
        """Copy out all that the next step depends on: float64 arrays by name."""
        return {name: array.copy() for name, array in self._state.items()}

    def restore(self, state: Mapping[str, Vector]) -> None:
        """Go on, to the last bit, where `state` was taken; from an object made with the same arguments.

        Raises:
            CheckpointError: if names, types or shapes are not this object's.
        """
        found = {name: (array.dtype.name, array.shape) for name, array in state.items()}
        expected = {name: (array.dtype.name, array.shape) for name, array in self._state.items()}
        if found != expected:
            raise CheckpointError(
                f"the server optimiser's state holds {found}; expected {expected}. "
                "Resume with the plan and the software that wrote the checkpoint"
            )
        self._state = {name: np.array(state[name]) for name in self._state}

    @property
    def _steps(self) -> float:
        return float(self._state["steps"])

    @abstractmethod
    def _direction(self, gradient: Vector, noise_deviation: float | None) -> Vector:
        """Return what the learning rate multiplies; `steps` counts this step already."""


class MomentumSgd(ServerStep):
    """Gradient descent with momentum, as `torch.optim.SGD` has it (without dampening)."""

    def __init__(self, size: int, *, momentum: float = 0.0, averaging: float = 0.0, weight_decay: float = 0.0) -> None:
        """Start from no velocity; `momentum` in [0, 1), the rest as in `ServerStep`."""
        super().__init__(size, averaging=averaging, weight_decay=weight_decay)
        self._momentum = momentum
        self._state["velocity"] = np.zeros(size)

    def _direction(self, gradient: Vector, noise_deviation: float | None) -> Vector:
        self._state["velocity"] = self._momentum * self._state["velocity"] + gradient
        return self._state["velocity"]


class DpAdam(ServerStep):
    """Adam whose second moment is freed of the noise: without that, noise larger than gradients makes Adam plain SGD.

    The known variance of the noise is averaged with the same weights as the squared gradients, and subtracted. What
    is left is kept above `floor` times that variance. Without noise this is Adam.

    Source: Tang, Shpilevskiy and Lécuyer 2024 (DP-AdamBC), where variance and floor are called Φ and γ'.
    """

    def __init__(
        self,
        size: int,
        *,
        noise_deviation: float,
        floor: float = 0.3,
        averaging: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        """Start from moments of zero.

        Args:
            size: Number of weights.
            noise_deviation: Standard deviation of the noise in each entry of a mean gradient, see `noise_of_mean`.
            floor: Least second moment, as a share of the noise's variance; > 0 where there is noise.
            averaging, weight_decay: As in `ServerStep`.
        """
        super().__init__(size, averaging=averaging, weight_decay=weight_decay)
        if not noise_deviation >= 0 or not floor > 0:
            raise TrainingError(
                f"DP-Adam has noise deviation {noise_deviation} and floor {floor}; expected 0 or more, and above 0"
            )
        self._noise_deviation, self._floor = noise_deviation, floor
        self._state |= {"first": np.zeros(size), "second": np.zeros(size), "noise": np.zeros(())}

    def _direction(self, gradient: Vector, noise_deviation: float | None) -> Vector:
        deviation = self._noise_deviation if noise_deviation is None else noise_deviation
        first = self._blend("first", gradient, _BETA1)
        second = self._blend("second", gradient**2, _BETA2)
        noise = self._blend("noise", np.array(deviation**2), _BETA2)
        signal: Vector = np.maximum(second - noise, self._floor * noise)
        direction: Vector = first / (np.sqrt(signal) + _EPSILON)
        return direction

    def _blend(self, name: str, value: Vector, beta: float) -> Vector:
        """Move one running average on, and return it corrected for having begun at zero."""
        self._state[name] = np.asarray(beta * self._state[name] + (1 - beta) * value)
        corrected: Vector = self._state[name] / (1 - beta**self._steps)
        return corrected


def noise_of_mean(mechanism: DpSgd, banks: int) -> float:
    """Return the noise's standard deviation in each entry of a mean gradient to which `banks` gave their shares.

    Args:
        mechanism: What a step costs; its `expected_batch` is that of all banks together.
        banks: Banks in the sum; public.
    """
    return mechanism.share_deviation * math.sqrt(banks) / mechanism.expected_batch
