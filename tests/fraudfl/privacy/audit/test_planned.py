from dataclasses import replace

import numpy as np
import pytest
from memory_fleet import DISTRIBUTED, PRIVATE, plan_of

from fraudfl.errors import PrivacyError
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.audit.planned import Effort, audit_plan, audit_training, shadow_training
from fraudfl.training.batches import LocalData

QUICK = Effort(trials=1_000, sampled_trials=500, rounds=2, canaries=100, rows=150)
SHARES = {"encoder_share": 0.1, "evaluation_share": 0.1}


def rows(banks: int) -> tuple[LocalData, ...]:
    generator = np.random.default_rng(1)
    return tuple(
        LocalData(generator.standard_normal((200, 6), dtype=np.float32), (generator.random(200) < 0.1).astype("f4"))
        for _ in range(banks)
    )


def test_every_mechanism_of_a_distributed_plan_is_audited_against_coordinator_and_colluders() -> None:
    plan = plan_of(**DISTRIBUTED | {"privacy": DISTRIBUTED["privacy"] | SHARES})
    results = audit_plan(plan, QUICK)
    assert [result.name for result in results] == [
        "training: one step, canary always drawn",
        "training: one step, canary always drawn, against 1 colluding bank(s)",
        "training: 2 rounds as sampled",
        "training: 2 rounds as sampled, against 1 colluding bank(s)",
        "encoder sketches",
        "encoder sketches, against 1 colluding bank(s)",
        "score histograms",
        "score histograms, against 1 colluding bank(s)",
    ]
    assert {result.verdict for result in results} == {"sound"}
    mechanism = plan.round_mechanism
    assert mechanism is not None
    once = replace(mechanism, sampling_rate=1.0)
    assert results[0].claimed == epsilon([once], plan.delta)
    assert results[1].claimed == epsilon([once.against_colluders()], plan.delta)
    assert results[3].claimed == epsilon([mechanism.with_steps(2).against_colluders()], plan.delta)


def test_bins_of_gain_are_audited_where_the_plan_releases_them() -> None:
    plan = plan_of(**PRIVATE | {"privacy": PRIVATE["privacy"] | SHARES, "baselines": ["alone"]})
    found = {result.name: result for result in audit_plan(plan, QUICK)}
    mechanism = plan.mechanism("gain")
    assert mechanism is not None
    assert found["bins of gain"].claimed == epsilon([mechanism], plan.delta)
    assert found["bins of gain"].verdict == "sound"


def test_a_local_plan_is_audited_with_its_unit() -> None:
    plan = plan_of(**PRIVATE | {"privacy": PRIVATE["privacy"] | {"unit": "account", "account_rows": 3}})
    results = audit_plan(plan, QUICK)
    assert [result.name for result in results] == [
        "training: one step, canary always drawn",
        "training: 2 rounds as sampled",
    ]
    assert {result.verdict for result in results} == {"sound"}
    assert results[0].to_dict() == {
        "name": "training: one step, canary always drawn",
        "mechanism": "dp-sgd",
        "claimed": results[0].claimed,
        "lower_bound": results[0].lower_bound,
        "confidence": 0.999,
        "trials": 2_000,
        "verdict": "sound",
        "detail": results[0].detail,
    }


def test_a_plan_that_promises_nothing_has_nothing_to_audit() -> None:
    with pytest.raises(PrivacyError, match="promises no privacy"):
        audit_plan(plan_of())
    with pytest.raises(PrivacyError, match="expected a private mode"):
        audit_training(plan_of(), rows(1))


@pytest.mark.parametrize("phase", [PRIVATE, DISTRIBUTED], ids=["local", "distributed"])
def test_a_plan_s_training_is_audited_in_one_run(phase: dict) -> None:
    plan = plan_of(**phase)
    result = audit_training(plan, rows(4), QUICK)
    assert result.verdict == "sound"
    assert plan.round_mechanism is not None
    assert result.claimed == epsilon([plan.round_mechanism.with_steps(2)], plan.delta)
    assert "100 canaries in one training of 2 releases" in result.detail


def test_shared_noise_needs_the_rows_of_all_who_share_it() -> None:
    with pytest.raises(PrivacyError, match="at least 4 banks"):
        audit_training(plan_of(**DISTRIBUTED), rows(3), QUICK)


@pytest.mark.parametrize("phase", [{}, PRIVATE, DISTRIBUTED], ids=["open", "local", "distributed"])
def test_shadow_models_are_trained_as_the_plan_trains(phase: dict) -> None:
    plan = plan_of(**phase)
    train = shadow_training(plan)
    first, again = train(rows(1)[0], 1), train(rows(1)[0], 1)
    assert np.isfinite(first).all()
    # A seed decides all of an open training, and nothing of the noise of a private one.
    assert (first == again).all() == (not plan.private)
