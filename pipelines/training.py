"""The round loop of pilot and rollout: ask, aggregate, publish, checkpoint."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np

from fraudfl.errors import FraudflError, NonFiniteError, WireError
from fraudfl.features.encoder import Encoder
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.models.mlp import Layout
from fraudfl.protocols import Reply, Vector
from fraudfl.transfer.codec import decode
from pipelines.asking import Enclosed, ask, late_replies, payload, read_counts
from pipelines.early_stop import end_with_best, stopped, take_look
from pipelines.publishing import model_for as model_for
from pipelines.publishing import model_layout as model_layout
from pipelines.publishing import publish
from pipelines.summing import add_up
from pipelines.world import Phase


def train_rounds(phase: Phase) -> None:
    """Run the rounds that are left, or until looks say that it is enough, with a checkpoint after each."""
    shape = model_layout(phase)
    take_look(phase)
    while phase.state.round < phase.plan.rounds and not stopped(phase):
        _train_round(phase, phase.state.round + 1, shape)
        take_look(phase)
    end_with_best(phase)


def _train_round(phase: Phase, number: int, shape: Layout) -> None:
    started = time.monotonic()
    collected = _collect(phase, number, shape)
    publish(phase, shape)
    phase.state.held |= dict.fromkeys(collected.banks, number - 1)
    phase.state.round = number
    phase.state.seconds += time.monotonic() - started
    figures = collected.figures() | {"seconds": time.monotonic() - started}
    phase.state.history.append(figures)
    phase.save()
    phase.world.registry.log_round(number, figures)
    phase.world.progress.event("round", round=number, rounds=phase.plan.rounds, **figures, **phase.state.newly_moved())


@dataclass
class _Collected:
    """What came in during one round."""

    banks: set[str] = field(default_factory=set)
    losses: list[float] = field(default_factory=list)
    scores: ScoreHistogram | None = None

    def figures(self) -> dict[str, float]:
        figures = {"banks": float(len(self.banks))}
        if self.losses:
            figures["loss"] = float(np.mean(self.losses))
        if self.scores is not None:
            # The model that entered the round; the one that leaves it is looked at in the next.
            auprc = self.scores.auprc()
            figures |= {} if auprc is None else {"auprc": auprc}
        return figures


def _collect(phase: Phase, number: int, shape: Layout) -> _Collected:
    if phase.plan.secure_aggregation is not None:
        return _collect_sum(phase, number)
    collected = _Collected()
    look = number == 1 or number == phase.plan.rounds or number % phase.plan.evaluate_every == 0

    def restart() -> None:
        collected.losses.clear()
        collected.scores = None
        phase.world.aggregator.start(number, phase.state.model)

    def take(reply: Reply) -> None:
        update, weight = _update(phase, reply, shape), _weight(phase, reply)
        scores = _histogram(phase, reply)
        losses = [_number(reply, "loss")] if "loss" in reply.values else []
        # Nothing of a reply is used before all of it was read.
        phase.world.aggregator.add(reply.bank, update, weight)
        collected.losses.extend(losses)
        if scores is not None:
            collected.scores = scores if collected.scores is None else collected.scores + scores

    def enclose(bank: str) -> Enclosed:
        model = model_for(phase, bank)
        return Enclosed({**model.values, **({"look": 1} if look else {})}, model.payloads)

    collected.banks = ask(phase, "train", number, enclose, take, restart)
    _fold_late(phase, number, shape, collected)
    return collected


def _collect_sum(phase: Phase, number: int) -> _Collected:
    """One sum over a cohort: the mean update, or the mean gradient of one step with noise."""
    late_replies(phase)
    plan = phase.plan
    width = Encoder.from_bytes(phase.state.encoder).width
    summed = add_up(phase, "train", number, lambda bank: model_for(phase, bank), width)
    mechanism = plan.round_mechanism if plan.strategy.steps_on_sums else None
    divisor = float(len(summed.banks)) if mechanism is None else mechanism.expected_batch
    phase.world.aggregator.start(number, phase.state.model)
    phase.world.aggregator.add(
        "cohort", (summed.vectors["update"] / divisor).astype(np.float32), float(len(summed.banks))
    )
    return _Collected(banks=set(summed.banks))


def _fold_late(phase: Phase, number: int, shape: Layout, collected: _Collected) -> None:
    """Let a bank's update of the round before stand for the one that did not come, where the terms say so."""
    # One update for each bank, however many of its attempts came late.
    fresh = {
        reply.bank: reply
        for request, reply in late_replies(phase)
        if request.kind == "train" and request.round == number - 1 and reply.bank not in collected.banks
    }
    for bank, reply in sorted(fresh.items()) if phase.terms.fold_late else ():
        try:
            phase.world.aggregator.add(bank, _update(phase, reply, shape), _weight(phase, reply))
        except FraudflError as error:
            phase.world.progress.event("dropped", bank=bank, round=number - 1, reason=str(error))
            continue
        phase.world.progress.event("folded", bank=bank, round=number - 1, into=number)


def _update(phase: Phase, reply: Reply, shape: Layout) -> Vector:
    update = decode(payload(reply, "update"), shape, expected=phase.plan.codec.up)
    if not np.isfinite(update).all():
        raise NonFiniteError("the update holds numbers that are not finite")
    return update


def _weight(phase: Phase, reply: Reply) -> float:
    if phase.plan.strategy.weighting != "examples":
        return 1.0
    examples = _number(reply, "examples")
    if examples == 0:
        raise WireError(
            "it has no rows to train on, so that its update counts for nothing; it is evaluated all the same"
        )
    return examples


def _number(reply: Reply, name: str) -> float:
    value = reply.values.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise WireError(f"value {name!r} is {value!r}, expected a number from 0")
    return float(value)


def _histogram(phase: Phase, reply: Reply) -> ScoreHistogram | None:
    if "scores" not in reply.payloads:
        return None
    counts = read_counts(phase.plan, reply, "scores", 2 * phase.plan.score_bins.size)
    return ScoreHistogram.from_vector(counts, phase.plan.score_bins)
