"""What a phase keeps of its test scores: figures of the outcome can be made from them again."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from memory_fleet import INSTANCE, PRIVATE, Consortium

from fraudfl.errors import CheckpointError
from pipelines.phase import run_phase
from pipelines.way_scores import evaluation_noise, read_way_scores
from server.rounds.pooled import LocalBanks

Make = Callable[..., Consortium]


def test_released_scores_give_the_outcome_s_figures(consortium: Make) -> None:
    one = consortium()
    phase = one.phase()
    metrics = run_phase(phase, ())["metrics"]
    found = read_way_scores(one.place, phase.plan)
    assert found is not None
    assert (found.source, found.banks, found.noise_variance) == ("released", 6, 0.0)
    assert {*found.by_way} == {"federated", "alone"}
    for name, histogram in found.by_way.items():
        assert histogram.auprc() == metrics[name]["auprc"]


def test_exact_scores_of_every_way_are_kept_where_rows_are_on_one_machine(consortium: Make) -> None:
    one = consortium()
    phase = one.phase(LocalBanks(one.folders, one.plan, INSTANCE, one.place))
    metrics = run_phase(phase, ("alone", "pooled"))["metrics"]
    found = read_way_scores(one.place, phase.plan)
    assert found is not None
    assert found.source == "exact"
    assert {*found.by_way} == {"federated", "alone", "pooled"}
    for name, histogram in found.by_way.items():
        assert histogram.auprc() == pytest.approx(metrics[name]["auprc"], abs=2e-3)


def test_a_phase_of_before_shows_its_evaluation_alone(consortium: Make) -> None:
    one = consortium()
    phase = one.phase()
    run_phase(phase, ())
    (one.place / "scores.json").unlink()
    found = read_way_scores(one.place, phase.plan)
    assert found is not None
    assert {*found.by_way} == {"federated"}
    assert found.source == "released"
    (one.place / "evaluation.json").unlink()
    assert read_way_scores(one.place, phase.plan) is None


@pytest.mark.parametrize("wrong", [{"ways": {}}, {"source": "hearsay"}, {"ways": {"federated": [1, 2]}}, {"bins": 3}])
def test_scores_that_were_changed_are_refused_by_name(consortium: Make, wrong: dict[str, object]) -> None:
    one = consortium()
    phase = one.phase()
    run_phase(phase, ())
    path = one.place / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(CheckpointError, match=r"scores\.json: cannot be read"):
        read_way_scores(one.place, phase.plan)


def test_noise_of_every_bank_is_in_the_sum(consortium: Make) -> None:
    plan = consortium(**{**PRIVATE, "privacy": {**PRIVATE["privacy"], "evaluation_share": 0.3}}).plan
    mechanism = plan.mechanism("evaluate")
    assert mechanism is not None
    assert evaluation_noise(plan, 4) == pytest.approx(4 * (mechanism.noise_multiplier * mechanism.norm) ** 2)
