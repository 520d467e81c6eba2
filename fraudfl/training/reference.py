"""What a phase is compared with: the same model trained without the federation, on a plan's budget."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fraudfl.config import TrainingConfig
from fraudfl.plan import Plan
from fraudfl.training.plain import learning_rate_at


def passes(plan: Plan) -> Iterator[tuple[TrainingConfig, float]]:
    """Settings and learning rate of each round that rows are gone through as often as in the phase.

    In a round without differential privacy a bank goes through its rows `local_epochs` times. With it a step takes a
    sample, so that so many passes make up for all rounds as the samples of a bank come to that is asked in each.
    """
    training = plan.training.model_copy(update={"proximal_mu": 0.0})
    count = plan.rounds
    if plan.private:
        training = training.model_copy(update={"local_epochs": 1})
        sampled = plan.rounds * plan.privacy.steps_per_round * plan.privacy.sampling_rate
        count = max(1, math.ceil(sampled - 1e-9))
    for done in range(count):
        yield training, learning_rate_at(training, done, count)
