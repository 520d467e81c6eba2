"""What a bank does for each kind of request; every result is a draft that the gate must pass."""

from __future__ import annotations

import numpy as np
import torch

from bank_nodes.checks import Draft
from bank_nodes.received import Received
from fraudfl.config import TrainingConfig
from fraudfl.features.encoder import Encoder
from fraudfl.folder import BankFolder, Rows
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.models.mlp import build_model, layout, score_logits, set_vector
from fraudfl.plan import Plan
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Request, Scalar, Vector
from fraudfl.training.plain import LocalData, learning_rate_at, train_plain
from fraudfl.transfer.codec import ErrorFeedback, encode
from fraudfl.transfer.model import derived_seed, start_vector
from fraudfl.transfer.pack import pack_counts


class Tasks:
    """One bank's side of a phase."""

    def __init__(self, folder: BankFolder, noise: NoiseSource) -> None:
        """Work on one bank's folder, with noise from the operating system."""
        self._folder = folder
        self._noise = noise

    def sketch(self, request: Request, plan: Plan) -> Draft:
        """Histograms of the training rows over the plan's public bins."""
        sketch = self._folder.sketch(plan.features, plan.split, plan.encoder)
        released = sketch if plan.training.prior == "released" else sketch.without_labels()
        return Draft(payloads={"sketch": pack_counts(released.vector())})

    def train(self, request: Request, plan: Plan) -> Draft:
        """One round of local training from the request's model."""
        received = Received(self._folder.path, request.instance)
        encoder = received.encoder(request)
        start = received.model(request, plan, encoder.width)
        rows = self._rows(plan, encoder, "train")
        rate = learning_rate_at(plan.training, request.round - 1, plan.rounds)
        values: dict[str, Scalar] = {}
        if plan.private:
            vector = self._train_privately(plan, start, rows, rate)
        else:
            vector, values = self._train_plainly(plan, start, rows, rate, request)
        payloads = {"update": self._compress(request, plan, encoder.width, vector - start, received)}
        if not plan.private and int(request.values.get("look", 0)):
            payloads["scores"] = self._histogram(plan, encoder, "validation", start)
        shape = layout(build_model(plan.model, encoder.width))
        return Draft(values=values, payloads=payloads, mechanism=plan.round_mechanism, layout=shape)

    def evaluate(self, request: Request, plan: Plan) -> Draft:
        """Score histograms of the request's model; the scores themselves stay here."""
        received = Received(self._folder.path, request.instance)
        encoder = received.encoder(request)
        return self._judge(request, plan, encoder, received.model(request, plan, encoder.width), "federated")

    def alone(self, request: Request, plan: Plan) -> Draft:
        """The same model and budget on this bank's rows only."""
        encoder = Received(self._folder.path, request.instance).encoder(request)
        rows = self._rows(plan, encoder, "train")
        vector = start_vector(plan, encoder.width, request.values)
        training = plan.training.model_copy(update={"proximal_mu": 0.0})
        for done in range(plan.rounds):
            rate = learning_rate_at(training, done, plan.rounds)
            seed = derived_seed(plan.seed, self._folder.bank, "alone", done)
            vector = self._plain(plan, training, vector, rows, rate, seed)[0]
        return self._judge(request, plan, encoder, vector, "alone")

    def _train_privately(self, plan: Plan, start: Vector, rows: Rows, rate: float) -> Vector:
        # Imported on use: Opacus takes 50 MB, and a bank without private plans never needs it.
        from fraudfl.training.dp import train_dp

        assert plan.round_mechanism is not None  # a private plan always has one
        data = LocalData(rows.features, rows.labels)
        trained = train_dp(
            plan.model, start, data, plan.training, plan.round_mechanism, learning_rate=rate, noise=self._noise
        )
        return trained.vector

    def _train_plainly(
        self, plan: Plan, start: Vector, rows: Rows, rate: float, request: Request
    ) -> tuple[Vector, dict[str, Scalar]]:
        seed = derived_seed(plan.seed, self._folder.bank, "train", request.round, request.attempt)
        vector, loss = self._plain(plan, plan.training, start, rows, rate, seed)
        values: dict[str, Scalar] = {} if loss is None else {"loss": loss}
        if plan.strategy.weighting == "examples":
            values["examples"] = len(rows.labels)
        return vector, values

    def _plain(
        self, plan: Plan, training: TrainingConfig, start: Vector, rows: Rows, rate: float, seed: int
    ) -> tuple[Vector, float | None]:
        data = LocalData(rows.features, rows.labels)
        trained = train_plain(plan.model, start, data, training, learning_rate=rate, seed=seed)
        return trained.vector, trained.loss

    def _compress(self, request: Request, plan: Plan, width: int, update: Vector, received: Received) -> bytes:
        shape = layout(build_model(plan.model, width))
        uniforms = _Rounding(plan, self._folder.bank, request, self._noise)
        if plan.codec.up != "topk":
            return encode(update, plan.codec.up, shape, keep=plan.codec.keep, rng=uniforms)
        feedback = ErrorFeedback(shape, plan.codec.keep, received.residual(request.round, len(update)))
        data = feedback.compress(update, uniforms)
        received.keep_residual(request.round, feedback.residual)
        return data

    def _judge(self, request: Request, plan: Plan, encoder: Encoder, vector: Vector, name: str) -> Draft:
        payloads = {
            part: self._histogram(plan, encoder, part, vector, keep=(request.instance, name))
            for part in ("validation", "test")
        }
        return Draft(payloads=payloads)

    def _histogram(
        self, plan: Plan, encoder: Encoder, part: str, vector: Vector, keep: tuple[str, str] | None = None
    ) -> bytes:
        rows = self._rows(plan, encoder, part)
        model = build_model(plan.model, encoder.width)
        set_vector(model, vector)
        logits = score_logits(model, rows.features)
        if keep is not None:
            instance, name = keep
            self._folder.keep_scores(instance, f"{name}-{part}", logits)
        return pack_counts(ScoreHistogram.from_logits(logits, rows.labels, plan.score_bins).to_vector())

    def _rows(self, plan: Plan, encoder: Encoder, part: str) -> Rows:
        return self._folder.rows(plan.features, plan.split, encoder, part)


class _Rounding:
    """Uniform numbers for stochastic rounding: repeatable without privacy, from the operating system with it."""

    def __init__(self, plan: Plan, bank: str, request: Request, noise: NoiseSource) -> None:
        seed = derived_seed(plan.seed, bank, "round", request.round, request.attempt)
        self._generator = None if plan.private else np.random.default_rng(seed)
        self._noise = noise

    def random(self, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """float64 in [0, 1), shape (size,)."""
        return self._noise.uniform(size) if self._generator is None else self._generator.random(size)


def use_one_thread() -> None:
    """One thread per bank, so that sums come out the same on every machine and banks do not fight for cores."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
