"""Privacy mode `distributed` at the coordinator: one optimiser step on one noisy sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import RoundError
from fraudfl.plan import Plan
from fraudfl.protocols import Vector
from fraudfl.training.plain import learning_rate_at
from fraudfl.training.server_step import DpAdam, MomentumSgd, ServerStep, noise_of_mean


class NoisyStep:
    """One step of DP-SGD or DP-Adam on the sum of a cohort's clipped gradients, in privacy mode `distributed`."""

    def __init__(self, plan: Plan) -> None:
        """Begin before the first step, which tells how many weights there are."""
        assert plan.round_mechanism is not None  # such a plan is private
        self._plan = plan
        self._mechanism = plan.round_mechanism
        # The same schedule as at a bank, with the server's learning rate in place of the bank's.
        self._schedule = plan.training.model_copy(update={"learning_rate": plan.strategy.server_learning_rate})
        self._stepper: ServerStep | None = None
        self._round = 0
        self._current: Vector = np.zeros(0, dtype=np.float32)
        self._gradient: tuple[Vector, int] | None = None

    def start(self, round_number: int, current: Vector) -> None:
        """Begin a round at the model `current`."""
        self._round, self._current, self._gradient = round_number, current, None

    def add(self, bank: str, update: Vector, weight: float) -> None:
        """Take the mean gradient; `weight` is the number of banks that gave their share of noise."""
        self._gradient = (update, int(weight))

    def finish(self) -> Vector:
        """The next iterate; after the last round what the plan makes of all of them."""
        if self._gradient is None:
            raise RoundError("no sum came in; there is no step to take")
        gradient, banks = self._gradient
        rate = learning_rate_at(self._schedule, self._round - 1, self._plan.rounds)
        stepper = self._stepper = self._stepper or self._fresh(len(gradient))
        noise = noise_of_mean(self._mechanism, banks)
        moved = stepper.step(self._current.astype(np.float64), gradient.astype(np.float64), rate, noise)
        return (stepper.average if self._round == self._plan.rounds else moved).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Moments, average and number of steps."""
        return {} if self._stepper is None else dict(self._stepper.state())

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where `state` was taken."""
        self._stepper = None
        if state:
            self._stepper = self._fresh(len(state["average"]))
            self._stepper.restore(state)

    def _fresh(self, size: int) -> ServerStep:
        settings, decay = self._plan.strategy, self._plan.training.weight_decay
        if settings.name == "dpsgd":
            momentum = settings.server_momentum
            return MomentumSgd(size, momentum=momentum, averaging=settings.averaging, weight_decay=decay)
        noise = noise_of_mean(self._mechanism, self._plan.parties)
        return DpAdam(size, noise_deviation=noise, averaging=settings.averaging, weight_decay=decay)
