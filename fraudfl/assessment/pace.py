"""How long phases will take: one round of each plan timed on made-up rows, and questions timed in the assessment."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from fraudfl.models.mlp import initial_vector
from fraudfl.plan import Plan
from fraudfl.privacy.noise import NoiseSource
from fraudfl.summed import entry_bound
from fraudfl.training.plain import LocalData, train_plain

_ROWS = 4000
_FRAUDS = 0.02
_FEATURE_SECONDS = 8e-5
"""Per transaction: behavioural windows and their encoding, on one core of an ordinary machine."""


@dataclass(frozen=True)
class Pace:
    """What was measured in the assessment.

    Attributes:
        question: Seconds from a question to the last bank's answer.
        lanes: Banks that work at the same time: all, where each has its own machine.
    """

    question: float
    lanes: int


def round_seconds(plan: Plan, inputs: int, rows: float) -> float:
    """Time one round of a plan's training on made-up rows, here, and scale it to a bank with so many."""
    generator = np.random.default_rng(plan.seed)
    made = min(_ROWS, max(100, math.ceil(rows)))
    data = LocalData(
        generator.normal(size=(made, inputs)).astype(np.float32),
        (generator.random(made) < _FRAUDS).astype(np.float32),
        np.arange(made, dtype=np.int64),
    )
    _one_round(plan, inputs, data)  # what is imported and set up once is no part of a round
    started = time.perf_counter()
    _one_round(plan, inputs, data)
    return (time.perf_counter() - started) * rows / made


def phase_seconds(plan: Plan, banks: int, asked: int, rows: float, inputs: int, pace: Pace) -> float:
    """How long a training phase takes: its questions, one after the other, and the work of the banks that are asked.

    Args:
        rows: Training rows of an ordinary bank. The largest bank makes each round longer.
    """
    opened = plan.secure_aggregation is not None and plan.secure_aggregation.recover
    questions = (3 if opened else 1) * (plan.rounds + 2 + 2 * plan.alone) + 2
    one = round_seconds(plan, inputs, rows)
    waves = math.ceil(asked / pace.lanes)
    features = 0.0 if plan.contract.kind == "features" else math.ceil(banks / pace.lanes) * rows * _FEATURE_SECONDS
    return questions * pace.question + features + waves * one * plan.rounds * (2 if plan.alone else 1)


def _one_round(plan: Plan, inputs: int, data: LocalData) -> None:
    start = initial_vector(plan.model, inputs, prior=0.01, seed=1)
    mechanism = plan.round_mechanism
    if mechanism is None:
        train_plain(plan.model, start, data, plan.training, learning_rate=1e-3, seed=1)
        return
    # Imported on use: they bring Opacus.
    if plan.privacy.mode == "distributed":
        from fraudfl.training.noisy_sum import noisy_sum

        noisy_sum(
            plan.model,
            start,
            data,
            plan.training,
            mechanism,
            account_rows=plan.account_rows,
            bound=entry_bound(plan, "train"),
            noise=NoiseSource(),
        )
        return
    from fraudfl.training.dp import train_dp

    train_dp(
        plan.model,
        start,
        data,
        plan.training,
        mechanism,
        learning_rate=1e-3,
        noise=NoiseSource(),
        account_rows=plan.account_rows,
    )
