"""Aggregators: plain sums are streamed, everything else is Flower's own strategy fed with the round's replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedMedian, FedTrimmedAvg, Krum
from numpy.typing import NDArray

from fraudfl.config import StrategyConfig
from fraudfl.errors import NonFiniteError, RoundError
from fraudfl.plan import Plan
from fraudfl.protocols import Aggregator, Vector
from server.rounds.noisy_step import NoisyStep
from server.rounds.weight_cap import Heaviest

# Sums are whole multiples of 2^-32, so that the order in which replies come cannot change a bit.
_FRACTION_BITS = 32
_KEY = "w"


def aggregator_of(plan: Plan) -> Aggregator:
    """The aggregator for a plan."""
    return NoisyStep(plan) if plan.strategy.steps_on_sums else build_aggregator(plan.strategy)


def build_aggregator(config: StrategyConfig) -> Aggregator:
    """The aggregator for a strategy that combines updates."""
    if config.name in ("fedavg", "fedprox"):
        return StreamedMean(config.largest_weight)
    if config.name == "fedadam":
        return FlowerAdam(config.server_learning_rate, config.largest_weight)
    if config.name == "fedavgm":
        return FlowerMomentum(config.server_momentum, config.largest_weight)
    strategies: dict[str, FedAvg] = {
        "fedtrimmedavg": FedTrimmedAvg(beta=config.trim),
        "fedmedian": FedMedian(),
        "krum": Krum(num_malicious_nodes=config.byzantine),
    }
    return FlowerCohort(strategies[config.name])


class StreamedMean:
    """The weighted mean of updates, added to the current model. Memory does not grow with the number of banks."""

    def __init__(self, largest_weight: float | None = None) -> None:
        """Start empty; `largest_weight` is the largest share of the weights that one bank may have."""
        self._largest = largest_weight
        self._heaviest: Heaviest | None = None
        self._current: Vector = np.zeros(0, dtype=np.float32)
        self._sum: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._weight = 0.0
        self._reach = 0.0

    def start(self, round_number: int, current: Vector) -> None:
        """Begin a round at the model `current`."""
        self._heaviest = None if self._largest is None else Heaviest(self._largest)
        self._current = current
        self._sum = np.zeros(current.shape, dtype=np.int64)
        self._weight = 0.0
        self._reach = 0.0

    def add(self, bank: str, update: Vector, weight: float) -> None:
        """Take one bank's update.

        Raises:
            NonFiniteError: when it is not finite, or too large to be an update.
        """
        reach = self._reach + float(np.abs(update).max(initial=0.0)) * weight
        if not np.isfinite(reach) or reach >= 2.0 ** (62 - _FRACTION_BITS):
            raise NonFiniteError(f"the update of {bank} is not finite, or far too large")
        if not 0 < weight < np.inf:
            raise NonFiniteError(f"the weight of {bank} is {weight}, expected a positive number")
        self._reach = reach
        if self._heaviest is None:
            self._count(update, weight)
            return
        freed = self._heaviest.push(bank, update, weight)
        if freed is not None:
            self._count(*freed)

    def finish(self) -> Vector:
        """The current model plus the mean update."""
        return (self._current + self.mean()).astype(np.float32)

    def mean(self) -> NDArray[np.float64]:
        """The weighted mean update of the round, which ends with it; float64, shape (size,)."""
        if self._heaviest is not None:
            for update, weight in self._heaviest.capped(self._weight):
                self._count(update, weight)
            self._heaviest = None
        if self._weight == 0:
            raise RoundError("no update came in; there is nothing to average")
        return self._sum / (2.0**_FRACTION_BITS * self._weight)

    def _count(self, update: Vector, weight: float) -> None:
        self._sum += np.rint(update.astype(np.float64) * weight * 2.0**_FRACTION_BITS).astype(np.int64)
        self._weight += weight

    def state(self) -> dict[str, NDArray[Any]]:
        """Nothing carries over to the next round."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Nothing to take back."""


class FlowerStep(StreamedMean):
    """The streamed mean, then one step of one of Flower's server optimisers from the current model."""

    def __init__(self, strategy: FedAvg, largest_weight: float | None = None) -> None:
        """Hand each round's mean to this strategy, as the reply of one bank."""
        super().__init__(largest_weight)
        self._stepper = strategy
        self._round = 0

    def start(self, round_number: int, current: Vector) -> None:
        """Begin a round at the model `current`."""
        super().start(round_number, current)
        self._round = round_number

    def finish(self) -> Vector:
        """Flower's step along the mean update."""
        arrays, _ = self._stepper.aggregate_train(self._round, [_reply(self._current + self.mean(), 1.0)])
        return _vector(arrays)


class FlowerAdam(FlowerStep):
    """FedAdam, with Flower's defaults but for the learning rate."""

    def __init__(self, learning_rate: float, largest_weight: float | None = None) -> None:
        """Begin with both moments at zero."""
        self._strategy = FedAdam(eta=learning_rate)
        super().__init__(self._strategy, largest_weight)

    def start(self, round_number: int, current: Vector) -> None:
        """Begin a round at the model `current`."""
        super().start(round_number, current)
        self._strategy.current_arrays = {_KEY: current.astype(np.float64)}

    def state(self) -> dict[str, NDArray[Any]]:
        """Both moments."""
        moments = {"m": self._strategy.m_t, "v": self._strategy.v_t}
        return {name: value[_KEY] for name, value in moments.items() if value}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take both moments back."""
        self._strategy.m_t = {_KEY: np.array(state["m"])} if "m" in state else None
        self._strategy.v_t = {_KEY: np.array(state["v"])} if "v" in state else None


class FlowerMomentum(FlowerStep):
    """FedAvgM, with a server learning rate of 1."""

    def __init__(self, momentum: float, largest_weight: float | None = None) -> None:
        """Begin at rest."""
        self._strategy = FedAvgM(server_momentum=momentum)
        super().__init__(self._strategy, largest_weight)

    def start(self, round_number: int, current: Vector) -> None:
        """Begin a round at the model `current`."""
        super().start(round_number, current)
        self._strategy.current_arrays = ArrayRecord({_KEY: Array(current.astype(np.float64))})

    def state(self) -> dict[str, NDArray[Any]]:
        """What is left of earlier updates."""
        momentum = self._strategy.momentum_vector
        return {} if momentum is None else {"momentum": np.asarray(momentum[0])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the momentum back."""
        self._strategy.momentum_vector = [np.array(state["momentum"])] if "momentum" in state else None


class FlowerCohort:
    """A strategy that needs all updates at once: trimmed mean, median, Krum. Holds one cohort."""

    def __init__(self, strategy: FedAvg) -> None:
        """Hand each round's replies to this strategy of Flower's."""
        self._strategy = strategy
        self._current: Vector = np.zeros(0, dtype=np.float32)
        self._round = 0
        self._replies: dict[str, Message] = {}

    def start(self, round_number: int, current: Vector) -> None:
        """Begin a round at the model `current`."""
        self._round, self._current, self._replies = round_number, current, {}

    def add(self, bank: str, update: Vector, weight: float) -> None:
        """Keep one bank's model."""
        self._replies[bank] = _reply(self._current + update, weight)

    def finish(self) -> Vector:
        """What Flower makes of the cohort, in order of bank id."""
        if not self._replies:
            raise RoundError("no update came in; there is nothing to aggregate")
        replies = [self._replies[bank] for bank in sorted(self._replies)]
        arrays, _ = self._strategy.aggregate_train(self._round, replies)
        return _vector(arrays)

    def state(self) -> dict[str, NDArray[Any]]:
        """Nothing carries over to the next round."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Nothing to take back."""


def _reply(model: NDArray[Any], weight: float) -> Message:
    """A reply as Flower's strategies expect it."""
    content = RecordDict(
        {
            "arrays": ArrayRecord({_KEY: Array(np.ascontiguousarray(model))}),
            "metrics": MetricRecord({"num-examples": weight}),
        }
    )
    metadata = Metadata(
        run_id=0,
        message_id="",
        src_node_id=1,
        dst_node_id=1,
        reply_to_message_id="",
        group_id="",
        created_at=0.0,
        ttl=1.0,
        message_type="train",
    )
    return make_message(metadata=metadata, content=content)


def _vector(arrays: ArrayRecord | None) -> Vector:
    if arrays is None:
        raise RoundError("Flower's strategy gave no model")
    return np.asarray(arrays[_KEY].numpy(), dtype=np.float32)
