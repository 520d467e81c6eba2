"""A real training, round by round, with canaries among a bank's rows, and what an observer of its releases learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.models.mlp import FloatVector, build_model, initial_vector, set_vector
from fraudfl.privacy.audit.bounds import FloatArray
from fraudfl.privacy.audit.circle import Circle
from fraudfl.privacy.audit.in_out import BoolArray, evidence
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.batches import LocalData, row_losses
from fraudfl.training.dp import train_dp
from fraudfl.training.noisy_sum import NoisySums

# Loud enough that a canary's gradient is clipped in every round, and lies nearly all in its own column at first. As
# the column grows, hidden units answer to it and later layers take a part, which costs the observer a few percent.
_LOUDNESS = 100.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained.

    Attributes:
        model, training: As in the plan; the server takes steps of plain gradient descent.
        claimed: All rounds of the training, one step each.
        real: Each bank's rows; canaries join those of the first.
        canaries: How many there may be; each has an input of its own, which is 0 in all real rows.
        account_rows: For unit `account`, as in the plan.
        prior: Fraud rate that the output bias starts from.
    """

    model: ModelConfig
    training: TrainingConfig
    claimed: DpSgd
    real: tuple[LocalData, ...]
    canaries: int = 400
    account_rows: int | None = None
    prior: float = 0.01

    @property
    def width(self) -> int:
        """Inputs of the model: real ones, then one for each canary."""
        return int(self.real[0].features.shape[1]) + self.canaries


class Rounds(Protocol):
    """How banks answer: with noise in full each, or with shares of it."""

    def round(self, vector: FloatVector) -> tuple[FloatArray, FloatVector]:
        """Take one round from `vector`; return the sum of gradients that the observer sees, and the next weights."""


class LocalRounds:
    """Each bank takes one step with noise in full; the server averages. The observer sees the first bank's step."""

    def __init__(
        self, setting: Setting, data: Sequence[LocalData], sources: Sequence[NoiseSource] | None = None
    ) -> None:
        """Start with each bank's rows, canaries included, and a noise source each; fresh ones by default."""
        self._setting = setting
        self._data = data
        self._sources = sources or [NoiseSource() for _ in data]

    def round(self, vector: FloatVector) -> tuple[FloatArray, FloatVector]:
        """See `Rounds`."""
        setting = self._setting
        plain = setting.training.model_copy(update={"optimizer": "sgd", "weight_decay": 0.0, "proximal_mu": 0.0})
        rate = plain.learning_rate
        steps = [
            train_dp(
                setting.model,
                vector,
                data,
                plain,
                setting.claimed.with_steps(1),
                learning_rate=rate,
                noise=noise,
                account_rows=setting.account_rows,
            ).vector.astype(np.float64)
            - vector
            for data, noise in zip(self._data, self._sources, strict=True)
        ]
        seen = -steps[0] * setting.claimed.expected_batch / rate
        return seen, (vector + np.mean(steps, axis=0)).astype(np.float32)


class SummedRounds:
    """Each bank answers with a noisy sum; the observer sees the opened total, and the server takes one step."""

    def __init__(self, setting: Setting, data: Sequence[LocalData], circle: Circle, bound: float) -> None:
        """Start with each bank's rows, canaries included, and their encoding and masks."""
        self._setting = setting
        self._circle = circle
        self._sources = [NoiseSource() for _ in data]
        self._banks = [
            NoisySums(
                setting.model,
                rows,
                setting.training,
                setting.claimed,
                account_rows=setting.account_rows,
                bound=bound,
                noise=noise,
            )
            for rows, noise in zip(data, self._sources, strict=True)
        ]

    def round(self, vector: FloatVector) -> tuple[FloatArray, FloatVector]:
        """See `Rounds`."""
        total, _ = self._circle.open([bank.draw(vector) for bank in self._banks], self._sources)
        rate = self._setting.training.learning_rate
        return total, (vector - rate * total / self._setting.claimed.expected_batch).astype(np.float32)


@dataclass
class CanaryTraining:
    """One training with canaries, by fair coins.

    Attributes:
        included: The coins, shape (canaries,).
        data: Each bank's rows with room for canary inputs; the first bank's with its canaries.
        vector: Weights after training.
    """

    setting: Setting
    seed: int = 0
    included: BoolArray = field(init=False)
    data: tuple[LocalData, ...] = field(init=False)
    vector: FloatVector = field(init=False)

    def __post_init__(self) -> None:
        """Toss the coins, and put the canaries among the rows."""
        setting = self.setting
        self.included = np.random.default_rng(self.seed).random(setting.canaries) < 0.5
        wide = [_widened(bank, setting.canaries) for bank in setting.real]
        self.data = (joined(wide[0], canary_data(setting, self.included)), *wide[1:])
        self.vector = initial_vector(setting.model, setting.width, prior=setting.prior, seed=self.seed)
        _canary_columns(self.vector, setting)[:] = 0

    def scores(self, rounds: Rounds) -> FloatArray:
        """Train, and add up the evidence about each canary, shape (canaries,)."""
        total = np.zeros(self.setting.canaries)
        directions = _Directions(self.setting)
        for _ in range(self.setting.claimed.times):
            along = directions.at(self.vector)
            seen, self.vector = rounds.round(self.vector)
            found = (_canary_columns(seen, self.setting) * along).sum(axis=0) / self.setting.claimed.clip_norm
            total += evidence(found, self.setting.claimed)
        return total


def canary_data(setting: Setting, present: BoolArray) -> LocalData:
    """The canaries that are in: frauds with one loud input each; as accounts, with two rows if two count."""
    each = min(setting.account_rows or 1, 2)
    places = np.repeat(np.flatnonzero(present), each)
    features = np.zeros((places.size, setting.width), dtype=np.float32)
    first = setting.width - setting.canaries
    features[np.arange(places.size), first + places] = _LOUDNESS * max(1.0, setting.claimed.clip_norm)
    # Below the account numbers of real rows, which count from 0.
    accounts = -1 - places if setting.claimed.unit == "account" else None
    return LocalData(features, np.ones(places.size, dtype=np.float32), accounts)


def joined(one: LocalData, other: LocalData) -> LocalData:
    """Both banks' rows, the first one's first; with accounts where both have them."""
    accounts = None
    if one.accounts is not None and other.accounts is not None:
        accounts = np.concatenate([one.accounts, other.accounts])
    return LocalData(
        np.concatenate([one.features, other.features]), np.concatenate([one.labels, other.labels]), accounts
    )


def chosen(rows: LocalData, which: BoolArray | npt.NDArray[np.int64]) -> LocalData:
    """Some of the rows, with their accounts."""
    accounts = None if rows.accounts is None else rows.accounts[which]
    return LocalData(rows.features[which], rows.labels[which], accounts)


class _Directions:
    """Where each canary's gradient points at given weights, along the weights of its own input."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._model = build_model(setting.model, setting.width)
        each_once = canary_data(replace(setting, account_rows=None), np.ones(setting.canaries, dtype=np.bool_))
        self._rows, self._labels = each_once.tensors()

    def at(self, vector: FloatVector) -> FloatArray:
        """Unit vectors as columns, shape (outputs of the first layer, canaries)."""
        set_vector(self._model, vector)
        first = self._model.layers[0](self._rows).detach().requires_grad_()
        logits = self._model.layers[1:](first).squeeze(-1)
        losses = row_losses(logits, self._labels, self._setting.training.positive_weight)
        (slopes,) = torch.autograd.grad(losses.sum(), first)
        norms = slopes.norm(dim=1, keepdim=True).clamp_min(torch.finfo(slopes.dtype).tiny)
        return np.asarray((slopes / norms).T.double().numpy())


def _canary_columns(vector: npt.NDArray[np.floating[Any]], setting: Setting) -> npt.NDArray[np.floating[Any]]:
    """The first layer's weights of canary inputs, a view of shape (outputs, canaries)."""
    outputs = setting.model.hidden[0] if setting.model.kind == "mlp" else 1
    return vector[: outputs * setting.width].reshape(outputs, setting.width)[:, setting.width - setting.canaries :]


def _widened(data: LocalData, columns: int) -> LocalData:
    """Room for canaries' inputs, and accounts that count from 0, so that canaries can have those below."""
    room = np.zeros((len(data.labels), columns), dtype=np.float32)
    accounts = None if data.accounts is None else np.unique(data.accounts, return_inverse=True)[1].astype(np.int64)
    return LocalData(np.concatenate([data.features, room], axis=1), data.labels, accounts)
