"""The plan: one spelling, one hash, and no reading of what is not one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from memory_fleet import DISTRIBUTED, PRIVATE, SECURE, plan_of, tiny_config

from fraudfl.config import FeaturesConfig
from fraudfl.data.schema import Contract
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import PlanError
from fraudfl.plan import WINDOWS, Plan
from fraudfl.planning import make_plan
from fraudfl.privacy.accounting import epsilon

PLAIN, CLOSED, SHARED = plan_of(), plan_of(**PRIVATE), plan_of(**DISTRIBUTED)


def test_the_hash_is_the_sha_256_of_the_canonical_json() -> None:
    data = PLAIN.canonical_json()
    said = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.decode()
    assert said.split()[0] == PLAIN.hash
    facts = json.loads(data)
    assert json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() == data


def test_another_process_makes_the_same_plan() -> None:
    code = "from fraudfl.plan import Plan; import sys;print(Plan.from_json(sys.stdin.buffer.read()).hash)"
    said = subprocess.run([sys.executable, "-c", code], input=CLOSED.canonical_json(), capture_output=True, check=True)
    assert said.stdout.decode().strip() == CLOSED.hash == plan_of(**PRIVATE).hash


@pytest.mark.parametrize("plan", [PLAIN, CLOSED, SHARED], ids=["open", "private", "distributed"])
def test_a_plan_is_read_back_as_it_was(plan: Plan) -> None:
    assert Plan.from_json(plan.canonical_json()) == plan


def leaves(facts: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(facts, dict) and facts:
        return [leaf for key, value in facts.items() for leaf in leaves(value, (*path, key))]
    return [path]


def changed(facts: Any, path: tuple[Any, ...]) -> Any:
    """The same JSON with the leaf at `path` replaced by another value of its kind."""
    if not path:
        if isinstance(facts, bool):
            return not facts
        if isinstance(facts, int | float):
            return facts + 1
        return f"{facts}x" if isinstance(facts, str) else None if facts is not None else 0.5
    return {**facts, path[0]: changed(facts[path[0]], path[1:])}


def test_any_field_that_changes_changes_the_hash_or_makes_it_no_plan() -> None:
    facts = json.loads(CLOSED.canonical_json())
    survived = []
    for path in leaves(facts):
        other = json.dumps(changed(facts, path)).encode()
        try:
            survived.append(path) if Plan.from_json(other).hash == CLOSED.hash else None
        except PlanError:
            continue
    assert survived == []


@pytest.mark.parametrize("name", sorted(Plan.model_fields))
def test_a_plan_without_one_of_its_fields_is_refused(name: str) -> None:
    facts = json.loads(CLOSED.canonical_json())
    del facts[name]
    with pytest.raises(PlanError):
        Plan.from_json(json.dumps(facts).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b"7", b"null", b'"plan"', b"{}", b'{"version": 1}', b'{"version": 2}', b'{"version": 3}'],
)
def test_what_is_not_a_plan_of_this_version_is_refused(data: bytes) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(data)


def test_a_field_that_this_version_does_not_know_is_refused() -> None:
    facts = json.loads(PLAIN.canonical_json()) | {"backdoor": True}
    with pytest.raises(PlanError, match="backdoor"):
        Plan.from_json(json.dumps(facts).encode())


def test_what_is_not_private_is_named_and_where_nothing_is_promised_nothing_is() -> None:
    assert CLOSED.not_covered == ("encoder sketches", "score histograms", "what windows carry into other rows")
    assert PLAIN.not_covered == ()
    private = {**PRIVATE, "training": {"prior": "released"}, "baselines": ["alone"]}
    assert plan_of(**private).not_covered == (
        "encoder sketches",
        "label counts",
        "score histograms",
        "score histograms of the model trained alone",
        "the bin of the bank's gain",
        "what windows carry into other rows",
    )


def test_noise_pays_for_all_planned_rounds_and_spare_attempts_and_no_more() -> None:
    for spare in (0, 2):
        plan = plan_of(**{**PRIVATE, "privacy": {**PRIVATE["privacy"], "spare_attempts": spare}})
        mechanism = plan.round_mechanism
        assert mechanism is not None
        assert epsilon([mechanism] * (3 + spare), 1e-6) <= 4.0
        assert epsilon([mechanism] * (4 + spare), 1e-6) > 4.0


@pytest.mark.parametrize("spare", [0, 2])
def test_encoder_evaluation_and_training_share_one_epsilon_and_leave_none_of_it(spare: int) -> None:
    shares = {"encoder_share": 0.1, "evaluation_share": 0.2, "spare_attempts": spare}
    plan = plan_of(**{**PRIVATE, "privacy": {**PRIVATE["privacy"], **shares}})
    sketch, evaluate, train = (plan.mechanism(kind) for kind in ("sketch", "evaluate", "train"))
    assert sketch is not None
    assert evaluate is not None
    assert train is not None
    # dp-accounting by itself: all that one bank is charged for when every spare attempt is used.
    again = 2 if spare else 1
    assert composed([sketch] * again) == pytest.approx(0.4, rel=1e-3)
    assert composed([evaluate] * again) == pytest.approx(0.8, rel=1e-3)
    total = [sketch] * again + [evaluate] * again + [train] * (3 + spare)
    assert 3.98 < composed(total) <= 4.0 * (1 + 1e-6)


def composed(mechanisms: list[Any]) -> float:
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for mechanism in mechanisms:
        accountant.compose(mechanism.dp_event())
    return float(accountant.get_epsilon(1e-6))


def test_fedprox_has_a_proximal_term_unless_told_otherwise() -> None:
    assert plan_of(strategy={"name": "fedprox"}).training.proximal_mu > 0
    assert plan_of(strategy={"name": "fedprox"}, training={"proximal_mu": 0.3}).training.proximal_mu == 0.3
    assert PLAIN.training.proximal_mu == 0


def test_keys_and_openings_are_kinds_of_a_plan_with_secure_aggregation_only() -> None:
    one_exchange = {**SECURE, "secure_aggregation": {"min_cohort": 4, "recover": False}}
    usual = {"join", "sketch", "train", "evaluate"}
    assert set(plan_of(baselines=[]).releases) == usual
    assert set(plan_of(**SECURE).releases) == usual | {"peers", "confirm", "reveal"}
    assert set(plan_of(**one_exchange).releases) == usual | {"peers"}


@pytest.mark.parametrize("phase", [SECURE, DISTRIBUTED], ids=["secure", "distributed"])
def test_under_secure_aggregation_all_that_depends_on_data_leaves_in_sums_and_loss_and_scores_do_not_leave(
    phase: dict[str, Any],
) -> None:
    listed = [rule for rules in plan_of(**phase).releases.values() for rule in rules]
    windows = {WINDOWS} if "privacy" in phase else set()
    assert {rule.content for rule in listed} == {"encoder sketches", "model updates", "score histograms"} | windows
    assert all(rule.summed for rule in listed)
    assert not any(rule.summed for rules in PLAIN.releases.values() for rule in rules)


def test_what_encoder_and_evaluation_shares_pay_for_is_covered() -> None:
    shares = {"encoder_share": 0.1, "evaluation_share": 0.1}
    plan = plan_of(**{**DISTRIBUTED, "privacy": {**DISTRIBUTED["privacy"], **shares}})
    assert plan.not_covered == ("what windows carry into other rows",)
    assert SHARED.not_covered == ("encoder sketches", "score histograms", "what windows carry into other rows")


def test_a_plan_without_windows_has_nothing_that_they_carry() -> None:
    config = tiny_config(PRIVATE).model_copy(update={"features": FeaturesConfig(windows_days=(), aggregates=())})
    assert WINDOWS not in make_plan(config, config.phases[0], GENERATED_CONTRACT).not_covered


def test_banks_of_a_distributed_plan_share_the_noise_over_the_minimum_cohort() -> None:
    mechanism = SHARED.round_mechanism
    assert mechanism is not None
    assert (mechanism.parties, mechanism.colluding, mechanism.steps) == (4, 1, 1)
    assert mechanism.expected_batch == 0.2 * 6000
    assert mechanism.share_deviation == pytest.approx(mechanism.noise_multiplier / 2)
    # A tenth of delta is kept for what whole numbers change.
    total = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    total.compose(mechanism.dp_event(), 3)
    assert 3.98 < total.get_epsilon(0.9e-6) <= 4.0 * (1 + 1e-6)


@pytest.mark.parametrize("noise", [0.0, -1.0])
@pytest.mark.parametrize("name", ["noise_multiplier", "encoder_noise"])
def test_a_plan_whose_noise_is_none_is_refused_when_it_is_read(name: str, noise: float) -> None:
    plan = plan_of(**{**PRIVATE, "privacy": {**PRIVATE["privacy"], "encoder_share": 0.1}})
    facts = json.loads(plan.canonical_json()) | {name: noise}
    with pytest.raises(PlanError, match=f"noise_multiplier is {noise}; expected a positive number"):
        Plan.from_json(json.dumps(facts).encode())


def test_accounts_as_the_unit_need_an_account_column() -> None:
    config = tiny_config({**PRIVATE, "privacy": {**PRIVATE["privacy"], "unit": "account"}})
    without = Contract(kind="features", account=False, numeric=("amount",))
    with pytest.raises(PlanError, match=r"phase pilot: privacy\.unit is `account`, but the data has no column"):
        make_plan(config, config.phases[0], without)
