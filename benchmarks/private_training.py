"""Private training of a whole consortium in one process, from the functions that banks and coordinator use.

Banks' own functions give noisy sums (mode `distributed`) or noisy updates (mode `local`); these are encoded, added up,
stepped on and published as a coordinator does. Left out are masks, which cancel, signatures, ledgers and the network:
nothing that a model could depend on. Noise comes from the operating system, as at a bank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudfl.config import FraudflConfig
from fraudfl.errors import PrivacyError
from fraudfl.features.encoder import Encoder, fit_encoder
from fraudfl.features.sketch import Sketch
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.metrics.exact import auprc
from fraudfl.models.mlp import build_model, layout, score_logits, set_vector
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.privacy.denoise import plausible_counts
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum
from fraudfl.privacy.noise import NoiseSource
from fraudfl.privacy.noisy_counts import noisy_counts
from fraudfl.protocols import Aggregator, Scored, Vector
from fraudfl.summed import Part, parts_of
from fraudfl.training.batches import LocalData
from fraudfl.training.dp import train_dp
from fraudfl.training.noisy_sum import NoisySums
from fraudfl.training.plain import learning_rate_at
from fraudfl.transfer.codec import decode, encode
from fraudfl.transfer.model import derived_seed, start_vector
from fraudfl.transfer.pack import pack_counts
from fraudfl.transfer.savings import raw_sizes, saving
from server.rounds.aggregation import aggregator_of

Round = Callable[[Aggregator, int, Vector], int]
"""Collects one round from the model for an aggregator; returns the bytes that one bank sent."""


@dataclass(frozen=True)
class Trained:
    """A model, and the bytes of its training.

    Attributes:
        vector: The weights, float32, shape (size,).
        bytes_up: What one bank sent: its sketch, and its updates of all rounds; headers and keys apart.
        bytes_down: What it got: the encoder, and the models of all rounds.
    """

    vector: Vector
    bytes_up: int
    bytes_down: int


class Consortium:
    """The banks of a workspace, and the private plan of a configuration's first phase."""

    def __init__(self, facts: dict[str, Any], banks: Path) -> None:
        """Make the plan.

        Args:
            facts: A configuration, as in its YAML file.
            banks: Holds the bank folders.
        """
        config = FraudflConfig.model_validate(facts)
        self._folders = [BankFolder(path) for path in bank_paths(banks)]
        self._noise = NoiseSource()
        self.plan: Plan = make_plan(config, config.phases[0], self._folders[0].contract)

    @cached_property
    def encoder(self) -> Encoder:
        """Fitted from the banks' summed sketches, with noise where the plan's ε pays for them."""
        return self._encoder_and_bytes[0]

    @cached_property
    def _encoder_and_bytes(self) -> tuple[Encoder, int]:
        """The encoder, and the bytes of one bank's sketch: under secure aggregation as masked, else the mean."""
        plan = self.plan
        vectors = [
            folder.sketch(plan.features, plan.split, plan.encoder, plan.account_rows).without_labels().vector()
            for folder in self._folders
        ]
        part = parts_of(plan, "sketch", 0, len(vectors))[0]
        sent = masked_bytes(part)
        if plan.secure_aggregation is None:
            sent = sum(len(pack_counts(vector)) for vector in vectors) // len(vectors)
        mechanism = plan.mechanism("sketch")
        if not isinstance(mechanism, GaussianSum):
            return fit_encoder(plan.encoder, Sketch.from_vector(plan.encoder, np.sum(vectors, axis=0))), sent
        noisy = [noisy_counts(vector, mechanism, self._noise) for vector in vectors]
        total = np.rint(self._opened(part, noisy)).astype(np.int64)
        return fit_encoder(plan.encoder, Sketch.from_vector(plan.encoder, total).each(plausible_counts)), sent

    def train(self) -> Trained:
        """All rounds of the plan; every bank takes part in each."""
        plan = self.plan
        shape = layout(build_model(plan.model, self.encoder.width))
        model = start_vector(plan, self.encoder.width, {})
        lag = np.zeros_like(model)
        aggregator = aggregator_of(plan)
        step = self._sum_round() if plan.privacy.mode == "distributed" else self._update_round()
        sent, got = self._encoder_and_bytes[1], len(self.encoder.to_bytes())
        for number in range(1, plan.rounds + 1):
            aggregator.start(number, model)
            sent += step(aggregator, number, model)
            wanted = aggregator.finish() + lag
            rounding = np.random.default_rng(derived_seed(plan.seed, "down", number))
            delta = encode(wanted - model, plan.codec.down, shape, rng=rounding)
            model = model + decode(delta, shape)
            lag = wanted - model
            got += len(delta)
        return Trained(model, sent, got)

    def test_auprc(self, trained: Trained) -> float:
        """Over all banks' test rows together."""
        test = self.scored(trained, "test")
        found = auprc(test.logits, test.labels)
        assert found is not None  # the split has refused a test part without rows
        return found

    def scored(self, trained: Trained, part: str) -> Scored:
        """All banks' rows of one part, with the model's scores."""
        model = build_model(self.plan.model, self.encoder.width)
        set_vector(model, trained.vector)
        rows = [folder.rows(self.plan.features, self.plan.split, self.encoder, part) for folder in self._folders]
        ends = np.cumsum([len(own.labels) for own in rows]).tolist()
        return Scored(
            logits=np.concatenate([score_logits(model, own.features) for own in rows]),
            labels=np.concatenate([own.labels for own in rows]).astype(np.int8),
            clusters=np.concatenate([own.clusters for own in rows]),
            banks={f.bank: slice(*ends) for f, ends in zip(self._folders, pairwise([0, *ends]), strict=True)},
        )

    def savings(self, trained: Trained) -> float:
        """The share saved, both ways and over all banks, against their training windows as CSV."""
        raw = sum(raw_sizes(folder.training_window(self.plan.split)).csv_bytes for folder in self._folders)
        return saving((trained.bytes_up + trained.bytes_down) * len(self._folders), raw)

    def _data(self) -> list[LocalData]:
        rows = [folder.rows(self.plan.features, self.plan.split, self.encoder, "train") for folder in self._folders]
        return [LocalData(own.features, own.labels, own.clusters) for own in rows]

    def _opened(self, part: Part, vectors: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
        """The sum that a coordinator opens: each vector on the grid, added up in the modulus, and read back."""
        modulus = np.uint64(1 << part.encoding.bits)
        total = np.zeros(part.size, dtype=np.uint64)
        for vector in vectors:
            total = (total + part.encoding.encode(vector, self._noise.uniform(part.size))) % modulus
        return part.encoding.decode(total)

    def _sum_round(self) -> Round:
        """Mode `distributed`: hands the aggregator the mean gradient of one noisy sum."""
        plan, mechanism = self.plan, self._mechanism()
        data = self._data()
        part = parts_of(plan, "train", self.encoder.width, len(data))[0]
        banks = [
            NoisySums(
                plan.model,
                rows,
                plan.training,
                mechanism,
                account_rows=plan.account_rows,
                bound=part.bound,
                noise=self._noise,
            )
            for rows in data
        ]

        def step(aggregator: Aggregator, number: int, model: Vector) -> int:
            total = self._opened(part, (bank.draw(model) for bank in banks))
            aggregator.add("cohort", (total / mechanism.expected_batch).astype(np.float32), float(len(banks)))
            return masked_bytes(part)

        return step

    def _update_round(self) -> Round:
        """Mode `local`: hands the aggregator each bank's update, through the codec; the banks weigh alike."""
        plan, mechanism, data = self.plan, self._mechanism(), self._data()
        shape = layout(build_model(plan.model, self.encoder.width))
        rounding = _Uniforms(self._noise)

        def step(aggregator: Aggregator, number: int, model: Vector) -> int:
            rate, sent = learning_rate_at(plan.training, number - 1, plan.rounds), 0
            for bank, rows in enumerate(data):
                trained = train_dp(
                    plan.model,
                    model,
                    rows,
                    plan.training,
                    mechanism,
                    learning_rate=rate,
                    noise=self._noise,
                    account_rows=plan.account_rows,
                )
                update = encode(trained.vector - model, plan.codec.up, shape, rng=rounding)
                aggregator.add(str(bank), decode(update, shape), 1.0)
                sent += len(update)
            return sent // len(data)

        return step

    def _mechanism(self) -> DpSgd:
        mechanism = self.plan.round_mechanism
        if mechanism is None:
            raise PrivacyError("this plan promises no privacy; expected mode `local` or `distributed`")
        return mechanism


class _Uniforms:
    """A noise source as the codecs want their random numbers."""

    def __init__(self, noise: NoiseSource) -> None:
        self._noise = noise

    def random(self, size: int) -> NDArray[np.float64]:
        return self._noise.uniform(size)


def masked_bytes(part: Part) -> int:
    """What one masked vector takes."""
    return (part.size * part.encoding.bits + 7) // 8
