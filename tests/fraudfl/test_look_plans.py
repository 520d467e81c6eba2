"""Looks in a plan: which rounds have one, what each costs, and that one ε pays for all of them."""

from __future__ import annotations

from typing import Any

import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from memory_fleet import DISTRIBUTED, PRIVATE, SECURE, plan_of, tiny_config
from pydantic import ValidationError

from fraudfl.plan import LOOKS, Plan
from fraudfl.privacy.mechanisms import GaussianSum
from fraudfl.summed import part_sizes

RULE: dict[str, Any] = {"patience": 2, "bins": 32}


def private(base: dict[str, Any] = PRIVATE, **privacy: Any) -> dict[str, Any]:
    return {**base, "early_stop": RULE, "privacy": {**base["privacy"], "look_share": 0.15, **privacy}}


def composed(mechanisms: list[Any]) -> float:
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for mechanism in mechanisms:
        accountant.compose(mechanism.dp_event())
    return float(accountant.get_epsilon(1e-6))


@pytest.mark.parametrize(
    ("rounds", "every", "looks"),
    [(7, 1, (1, 2, 3, 4, 5, 6, 7)), (7, 3, (3, 6, 7)), (6, 3, (3, 6)), (4, 9, (4,)), (1, 1, (1,))],
)
def test_there_is_a_look_after_every_so_many_rounds_and_the_last(
    rounds: int, every: int, looks: tuple[int, ...]
) -> None:
    plan = plan_of(rounds=rounds, evaluate_every=every, early_stop=RULE)
    assert plan.looks == looks
    assert plan_of(rounds=rounds, evaluate_every=every).looks == ()


def test_looks_are_a_release_of_their_own_and_updates_then_bring_no_histograms() -> None:
    plan = plan_of(early_stop=RULE)
    assert [rule.content for rule in plan.releases["look"]] == [LOOKS]
    assert "score histograms" not in [rule.content for rule in plan.releases["train"]]
    assert part_sizes(plan, "look") == {"validation": 2 * (32 + 2)}
    without = plan_of()
    assert "look" not in without.releases
    assert "score histograms" in [rule.content for rule in without.releases["train"]]
    assert Plan.from_json(plan.canonical_json()) == plan


def test_looks_encoder_evaluation_and_training_share_one_epsilon_and_leave_none_of_it() -> None:
    spare = 2
    shares = {"encoder_share": 0.1, "evaluation_share": 0.2, "spare_attempts": spare}
    plan = plan_of(**private(**shares), rounds=5, evaluate_every=2)
    sketch, evaluate, train, look = (plan.mechanism(kind) for kind in ("sketch", "evaluate", "train", "look"))
    assert isinstance(look, GaussianSum)
    assert (look.sensitivity, look.releases, plan.paid_releases("look")) == (1.0, 1, 3 + spare)
    # dp-accounting by itself: all that one bank is charged for when every spare attempt is used.
    assert composed([look] * (3 + spare)) == pytest.approx(0.15 * 4, rel=1e-3)
    total = [sketch, evaluate] * 2 + [look] * (3 + spare) + [train] * (5 + spare)
    assert 3.98 < composed(total) <= 4.0 * (1 + 1e-6)
    assert LOOKS not in plan.not_covered


def test_an_account_moves_a_look_by_all_of_its_rows() -> None:
    look = plan_of(**private(unit="account", account_rows=5)).mechanism("look")
    assert isinstance(look, GaussianSum)
    assert look.sensitivity == 5.0


def test_banks_that_share_noise_share_that_of_looks() -> None:
    look = plan_of(**private(DISTRIBUTED)).mechanism("look")
    assert look is not None
    assert (look.parties, look.colluding) == (4, 1)
    assert look.share_deviation == pytest.approx(look.noise_multiplier / 2)


def test_without_privacy_looks_cost_nothing_also_under_secure_aggregation() -> None:
    plan = plan_of(**SECURE, early_stop=RULE)
    assert plan.mechanism("look") is None
    assert all(rule.summed for rule in plan.releases["look"])


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        (
            {**PRIVATE, "early_stop": RULE},
            r"under differential privacy ε pays for each look; set `privacy\.look_share`",
        ),
        ({**DISTRIBUTED, "early_stop": RULE}, r"ε pays for each look"),
        (
            private() | {"early_stop": None},
            r"`privacy\.look_share` pays for the looks of `early_stop`, which is not set",
        ),
        (private(look_share=1.0), "less than 1"),
        (private(look_share=0.6, encoder_share=0.4), "leave nothing of epsilon for training"),
        (
            private(DISTRIBUTED) | {"strategy": {**DISTRIBUTED["strategy"], "averaging": 0.9}},
            r"`early_stop` keeps a model of one round, and `strategy\.averaging` makes one of all rounds",
        ),
    ],
)
def test_looks_that_nobody_pays_for_are_refused(phase: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        tiny_config(phase)
