"""One step on one noisy sum: torch's own optimisers, the plan's schedule, and the bits after a checkpoint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from memory_fleet import DISTRIBUTED, plan_of

from fraudfl.errors import CheckpointError, NonFiniteError, RoundError
from fraudfl.plan import Plan
from server.rounds.noisy_step import NoisyStep

SIZE = 23
RATE = 0.05


def plan_with(name: str, schedule: str = "constant", **strategy: Any) -> Plan:
    settings = {"name": name, "weighting": "equal", "server_learning_rate": RATE, **strategy}
    return plan_of(**{**DISTRIBUTED, "rounds": 4, "strategy": settings, "training": {"schedule": schedule}})


def gradients(seed: int = 0) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return [random.normal(0, 1, SIZE).astype(np.float32) for _ in range(4)]


def run(step: NoisyStep, start: np.ndarray[Any, Any], first: int = 1, banks: float = 6.0) -> list[np.ndarray[Any, Any]]:
    models = [start]
    for number, gradient in list(enumerate(gradients(), 1))[first - 1 :]:
        step.start(number, models[-1])
        step.add("cohort", gradient, banks)
        models.append(step.finish())
    return models


START = np.linspace(-1, 1, SIZE).astype(np.float32)


def test_dpsgd_is_torchs_momentum_on_the_mean_gradient() -> None:
    weights = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([weights], lr=RATE, momentum=0.6)
    ours = run(NoisyStep(plan_with("dpsgd", server_momentum=0.6)), START)
    for number, gradient in enumerate(gradients(), 1):
        weights.grad = torch.tensor(gradient, dtype=torch.float64)
        theirs.step()
        np.testing.assert_allclose(ours[number], weights.detach().numpy(), atol=1e-6)


def test_dpadam_takes_the_noise_of_those_who_took_part_off_the_second_moment() -> None:
    """Tang et al. 2024, in plain numbers; six banks bring the noise of six shares, of which four are planned."""
    plan = plan_with("dpadam")
    mechanism = plan.round_mechanism
    assert mechanism is not None
    share = mechanism.noise_multiplier * mechanism.clip_norm / math.sqrt(4)
    for banks in (4, 6):
        variance = (share * math.sqrt(banks) / (0.2 * 6000)) ** 2
        ours = run(NoisyStep(plan), START, banks=float(banks))
        m, v, expected = np.zeros(SIZE), np.zeros(SIZE), START.astype(np.float64)
        for number, gradient in enumerate(gradients(), 1):
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient.astype(np.float64) ** 2
            moved = np.maximum(v / (1 - 0.999**number) - variance, 0.3 * variance)
            expected = expected - RATE * (m / (1 - 0.9**number)) / (np.sqrt(moved) + 1e-8)
            np.testing.assert_allclose(ours[number], expected, atol=3e-6)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [(1 + math.cos(math.pi * done / 4)) / 2 for done in range(4)]),
    ],
)
def test_the_servers_learning_rate_follows_the_plans_schedule(schedule: str, factors: list[float]) -> None:
    ours = run(NoisyStep(plan_with("dpsgd", schedule, server_momentum=1e-9)), START)
    for number, gradient in enumerate(gradients(), 1):
        expected = ours[number - 1] - RATE * factors[number - 1] * gradient
        np.testing.assert_allclose(ours[number], expected, atol=1e-6)


def test_the_average_of_iterates_becomes_the_model_after_the_last_round_and_steps_go_on_from_the_iterate() -> None:
    plain = run(NoisyStep(plan_with("dpsgd")), START)
    averaged = run(NoisyStep(plan_with("dpsgd", averaging=0.9)), START)
    assert [model.tobytes() for model in averaged[:4]] == [model.tobytes() for model in plain[:4]]
    expected = np.zeros(SIZE)
    for number in range(1, 5):
        kept = min(0.9, (number - 1) / (8 + number))
        expected = kept * expected + (1 - kept) * plain[number]
    np.testing.assert_allclose(averaged[4], expected, atol=1e-6)
    assert np.abs(averaged[4] - plain[4]).max() > 1e-3


@pytest.mark.parametrize("name", ["dpsgd", "dpadam"])
def test_a_checkpoint_within_the_phase_changes_no_bit(name: str) -> None:
    plan = plan_with(name, averaging=0.5)
    whole = run(NoisyStep(plan), START)
    first = NoisyStep(plan)
    for number in (1, 2):
        first.start(number, whole[number - 1])
        first.add("cohort", gradients()[number - 1], 6.0)
        first.finish()
    resumed = NoisyStep(plan)
    resumed.restore({key: np.array(array) for key, array in first.state().items()})
    assert [model.tobytes() for model in run(resumed, whole[2], 3)[1:]] == [model.tobytes() for model in whole[3:]]
    forgetful = run(NoisyStep(plan), whole[2], 3)
    assert forgetful[-1].tobytes() != whole[-1].tobytes()


def test_before_the_first_step_there_is_nothing_to_keep_and_nothing_to_take_back() -> None:
    step = NoisyStep(plan_with("dpadam"))
    assert step.state() == {}
    step.restore({})
    assert run(step, START)[-1].tobytes() == run(NoisyStep(plan_with("dpadam")), START)[-1].tobytes()


def test_the_state_of_another_optimiser_is_refused() -> None:
    step = NoisyStep(plan_with("dpsgd"))
    run(step, START)
    with pytest.raises(CheckpointError, match="the server optimiser's state holds"):
        NoisyStep(plan_with("dpadam")).restore(step.state())


def test_a_round_without_a_sum_takes_no_step() -> None:
    step = NoisyStep(plan_with("dpadam"))
    step.start(1, START)
    with pytest.raises(RoundError, match="no sum came in"):
        step.finish()
    step.add("cohort", gradients()[0], 6.0)
    step.finish()
    step.start(2, START)  # the sum of the round before is not used again
    with pytest.raises(RoundError, match="no sum came in"):
        step.finish()


def test_a_gradient_that_is_not_finite_is_an_error_of_ours() -> None:
    step = NoisyStep(plan_with("dpsgd"))
    step.start(1, START)
    step.add("cohort", np.full(SIZE, np.inf, dtype=np.float32), 6.0)
    with pytest.raises(NonFiniteError, match="not finite"):
        step.finish()
