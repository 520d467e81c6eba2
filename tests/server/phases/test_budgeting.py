"""What a phase would cost: looks are counted where they are, and as often as there are any."""

from __future__ import annotations

import pytest
from memory_fleet import PRIVATE, tiny_config

from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import ConfigError
from fraudfl.privacy.accounting import epsilon
from server.phases.budgeting import forecast


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
