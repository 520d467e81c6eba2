"""What a bank does for each kind of request; every result is a draft that the gate must pass."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bank_nodes.answers.counting import counted
from bank_nodes.folder.received import Received
from bank_nodes.gate.checks import Draft
from fraudfl.config import TrainingConfig
from fraudfl.features.encoder import Encoder
from fraudfl.folder import BankFolder, Rows
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.models.mlp import build_model, layout, score_logits, set_vector
from fraudfl.plan import Plan
from fraudfl.privacy.contribution import within_bound
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Request, Scalar, Vector
from fraudfl.summed import entry_bound
from fraudfl.training.plain import LocalData, learning_rate_at, train_plain
from fraudfl.training.reference import passes
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
        sketch = self._folder.sketch(plan.features, plan.split, plan.encoder, plan.account_rows)
        released = sketch if plan.training.prior == "released" else sketch.without_labels()
        return counted(plan, request.kind, {"sketch": released.vector()}, self._noise)

    def train(self, request: Request, plan: Plan) -> Draft:
        """One round of local training from the request's model."""
        received = Received(self._folder.path, request.instance)
        encoder = received.encoder(request)
        start = received.model(request, plan, encoder.width)
        rows = self._rows(plan, encoder, "train")
        if plan.privacy.mode == "distributed":
            vectors = {"update": self._noisy_sum(plan, start, rows)}
            return Draft(mechanism=plan.round_mechanism, vectors=vectors, width=encoder.width)
        rate = learning_rate_at(plan.training, request.round - 1, plan.rounds)
        values: dict[str, Scalar] = {}
        if plan.private:
            vector = self._train_privately(plan, start, rows, rate)
        else:
            vector, values = self._train_plainly(plan, start, rows, rate, request)
        update = vector - start
        if plan.private or plan.secure_aggregation is not None:
            update = _within(update, plan.max_update_norm)
        if plan.secure_aggregation is not None:
            vectors = {"update": update.astype(np.float64)}
            return Draft(mechanism=plan.round_mechanism, vectors=vectors, width=encoder.width)
        payloads = {"update": self._compress(request, plan, encoder.width, update, received)}
        if not plan.private and plan.early_stop is None and int(request.values.get("look", 0)):
            payloads["scores"] = pack_counts(self._histogram(plan, encoder, "validation", start, plan.score_bins))
        shape = layout(build_model(plan.model, encoder.width))
        return Draft(values=values, payloads=payloads, mechanism=plan.round_mechanism, layout=shape)

    def look(self, request: Request, plan: Plan) -> Draft:
        """Score histograms of the request's model on validation rows, to see whether training should end."""
        received = Received(self._folder.path, request.instance)
        encoder = received.encoder(request)
        vector = received.model(request, plan, encoder.width)
        counts = self._histogram(plan, encoder, "validation", vector, plan.look_bins)
        return counted(plan, request.kind, {"validation": counts}, self._noise)

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
        for done, (training, rate) in enumerate(passes(plan)):
            seed = derived_seed(plan.seed, self._folder.bank, "alone", done)
            vector = self._plain(plan, training, vector, rows, rate, seed)[0]
        return self._judge(request, plan, encoder, vector, "alone")

    def _noisy_sum(self, plan: Plan, start: Vector, rows: Rows) -> NDArray[np.float64]:
        # Imported on use: Opacus takes 50 MB, and a bank without private plans never needs it.
        from fraudfl.training.noisy_sum import noisy_sum

        assert plan.round_mechanism is not None  # a private plan always has one
        return noisy_sum(
            plan.model,
            start,
            LocalData(rows.features, rows.labels, rows.clusters),
            plan.training,
            plan.round_mechanism,
            account_rows=plan.account_rows,
            bound=entry_bound(plan, "train"),
            noise=self._noise,
        )

    def _train_privately(self, plan: Plan, start: Vector, rows: Rows, rate: float) -> Vector:
        from fraudfl.training.dp import train_dp

        assert plan.round_mechanism is not None  # a private plan always has one
        trained = train_dp(
            plan.model,
            start,
            LocalData(rows.features, rows.labels, rows.clusters),
            plan.training,
            plan.round_mechanism,
            learning_rate=rate,
            noise=self._noise,
            account_rows=plan.account_rows,
        )
        return trained.vector

    def _train_plainly(
        self, plan: Plan, start: Vector, rows: Rows, rate: float, request: Request
    ) -> tuple[Vector, dict[str, Scalar]]:
        seed = derived_seed(plan.seed, self._folder.bank, "train", request.round, request.attempt)
        vector, loss = self._plain(plan, plan.training, start, rows, rate, seed)
        if plan.secure_aggregation is not None:
            # Beside the sum nothing leaves.
            return vector, {}
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
        counts = {
            part: self._histogram(plan, encoder, part, vector, plan.score_bins, keep=(request.instance, name))
            for part in ("validation", "test")
        }
        return counted(plan, request.kind, counts, self._noise)

    def _histogram(
        self,
        plan: Plan,
        encoder: Encoder,
        part: str,
        vector: Vector,
        bins: ScoreBins,
        keep: tuple[str, str] | None = None,
    ) -> NDArray[np.int64]:
        rows = self._rows(plan, encoder, part)
        model = build_model(plan.model, encoder.width)
        set_vector(model, vector)
        logits = score_logits(model, rows.features)
        if keep is not None:
            instance, name = keep
            self._folder.keep_scores(instance, f"{name}-{part}", logits)
        labels = rows.labels
        if plan.account_rows is not None:
            counted = within_bound(rows.clusters, plan.account_rows)
            logits, labels = logits[counted], labels[counted]
        return ScoreHistogram.from_logits(logits, labels, bins).to_vector()

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


def _within(update: Vector, most: float) -> Vector:
    """An update that is no fault for the gate: where a refusal would tell something, it is made shorter instead."""
    finite = np.nan_to_num(update.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    # A little less than the bound, for what float32 and the codec's rounding add.
    factor = min(1.0, 0.99 * most / max(float(np.linalg.norm(finite)), 1e-300))
    return (finite * factor).astype(np.float32) if factor < 1 or not np.isfinite(update).all() else update


def use_one_thread() -> None:
    """One thread per bank, so that sums come out the same on every machine and banks do not fight for cores."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
