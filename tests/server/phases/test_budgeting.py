"""What a phase would cost: looks are counted where they are, and as often as there are any."""

from __future__ import annotations

import pytest
from memory_fleet import PRIVATE, plan_of, tiny_config

from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import ConfigError, PrivacyError
from fraudfl.privacy.accounting import Spent, epsilon
from server.phases.budgeting import forecast, what_if


def test_looks_are_part_of_the_forecast_and_come_with_their_rounds() -> None:
    privacy = {**PRIVATE["privacy"], "look_share": 0.2}
    phase = {**PRIVATE, "privacy": privacy, "rounds": 10, "evaluate_every": 4, "early_stop": {}}
    config = tiny_config(phase)
    found = forecast(config, config.phases[0], GENERATED_CONTRACT)
    looks = next(part for part in found.parts if part.name == "looks")
    # After rounds 4, 8 and 10.
    assert (looks.releases, looks.epsilon) == (3, pytest.approx(0.8, rel=1e-3))
    assert [part.name for part in found.parts] == ["training", "looks"]
    first, *_, last = found.points
    (training,) = (part for part in found.parts if part.name == "training")
    # After the first round there was no look yet.
    assert (first.rounds, first.epsilon) == (1, pytest.approx(epsilon([training.mechanism], 1e-6)))
    assert 3.98 < last.epsilon <= 4.0 * (1 + 1e-6)
    assert "score histograms of models in training" not in found.not_covered


def test_a_bank_that_takes_part_in_some_rounds_pays_for_those_and_the_forecast_counts_them() -> None:
    phase = {**PRIVATE, "rounds": 10, "cohort": 2, "privacy": {**PRIVATE["privacy"], "rounds_per_bank": 6}}
    config = tiny_config(phase)
    found = forecast(config, config.phases[0], GENERATED_CONTRACT)
    (training,) = found.parts
    assert (found.rounds, found.rounds_per_bank, training.releases, found.points[-1].rounds) == (10, 6, 6, 6)
    assert 3.98 < found.points[-1].epsilon <= 4.0 * (1 + 1e-6)
    assert found.spare_cost > 0
    phase["privacy"]["rounds_per_bank"] = 1
    config = tiny_config(phase)
    with pytest.raises(ConfigError, match=r"rounds_per_bank` is 1; set it to \d+ or more"):
        forecast(config, config.phases[0], GENERATED_CONTRACT)


def test_what_if_nothing_is_changed_is_what_the_phase_costs() -> None:
    phase = {**PRIVATE, "rounds": 10}
    config = tiny_config(phase)
    plan = plan_of(**phase)
    assert plan.noise_multiplier is not None
    same = what_if(plan, plan.rounds, plan.noise_multiplier)
    assert same == forecast(config, config.phases[0], GENERATED_CONTRACT).points[-1]


def test_what_if_more_rounds_or_more_noise_is_accounted_for_as_the_ledger_does() -> None:
    plan = plan_of(**PRIVATE)
    noise = plan.noise_multiplier
    assert noise is not None
    assert plan.round_mechanism is not None
    longer, quieter = what_if(plan, 3 * plan.rounds, noise), what_if(plan, plan.rounds, 2 * noise)
    charged = Spent().add(plan.round_mechanism, 3 * plan.rounds)
    assert (longer.rounds, longer.epsilon) == (3 * plan.rounds, charged.epsilon(plan.delta))
    assert quieter.epsilon < what_if(plan, plan.rounds, noise).epsilon < longer.epsilon


def test_what_if_is_refused_where_there_is_no_noise_or_nothing_to_do() -> None:
    with pytest.raises(PrivacyError, match="trains without noise"):
        what_if(plan_of(), 5, 1.0)
    for rounds, noise in ((0, 1.0), (5, 0.0)):
        with pytest.raises(ValueError, match="at least 1"):
            what_if(plan_of(**PRIVATE), rounds, noise)
