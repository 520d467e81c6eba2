"""What a phase is compared with: as many passes over the rows as the phase takes, and its own settings."""

from __future__ import annotations

import math

import pytest

from fraudfl.config import FraudflConfig
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.training.reference import passes


def plan_of(**phase: object) -> Plan:
    config = FraudflConfig.model_validate(
        {
            "consortium": {"name": "tiny"},
            "split": {"origin": "2025-01-01", "train_days": [5, 34], "test_days": [42, 59]},
            "training": {"local_epochs": 3, "schedule": "linear", "learning_rate": 0.01, "proximal_mu": 0.1},
            "phases": [{"name": "pilot", "baselines": [], **phase}],
        }
    )
    return make_plan(config, config.phases[0], GENERATED_CONTRACT)


def test_without_privacy_each_round_has_its_local_epochs_at_its_own_rate() -> None:
    found = list(passes(plan_of(rounds=4)))
    assert [training.local_epochs for training, _ in found] == [3] * 4
    assert [rate for _, rate in found] == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
    # Nothing pulls a model that is trained alone towards another.
    assert {training.proximal_mu for training, _ in found} == {0.0}


@pytest.mark.parametrize(("rounds", "steps", "rate"), [(20, 3, 0.1), (7, 1, 0.05), (1, 1, 0.01)])
def test_with_privacy_rows_are_seen_as_often_as_steps_sample_them(rounds: int, steps: int, rate: float) -> None:
    privacy = {"mode": "local", "epsilon": 8.0, "units": 5000, "sampling_rate": rate, "steps_per_round": steps}
    found = list(passes(plan_of(rounds=rounds, privacy=privacy, strategy={"weighting": "equal"})))
    assert len(found) == max(1, math.ceil(round(rounds * steps * rate, 9)))
    assert {training.local_epochs for training, _ in found} == {1}
    assert found[0][1] == pytest.approx(0.01)
