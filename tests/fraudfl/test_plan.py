"""The plan: one spelling, one hash, and no reading of what is not one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from memory_fleet import PRIVATE, tiny_config

from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import PlanError
from fraudfl.plan import Plan, make_plan
from fraudfl.privacy.accounting import epsilon


def plan_of(**phase: Any) -> Plan:
    config = tiny_config(phase)
    return make_plan(config, config.phases[0], GENERATED_CONTRACT)


PLAIN, CLOSED = plan_of(), plan_of(**PRIVATE)


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


@pytest.mark.parametrize("plan", [PLAIN, CLOSED], ids=["open", "private"])
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


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"7", b"null", b'"plan"', b"{}", b'{"version": 2}'])
def test_what_is_not_a_plan_of_this_version_is_refused(data: bytes) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(data)


def test_a_field_that_this_version_does_not_know_is_refused() -> None:
    facts = json.loads(PLAIN.canonical_json()) | {"backdoor": True}
    with pytest.raises(PlanError, match="backdoor"):
        Plan.from_json(json.dumps(facts).encode())


def test_what_is_not_private_is_named_and_where_nothing_is_promised_nothing_is() -> None:
    assert CLOSED.not_covered == ("encoder sketches", "score histograms")
    assert PLAIN.not_covered == ()
    private = {**PRIVATE, "training": {"prior": "released"}, "baselines": ["alone"]}
    assert plan_of(**private).not_covered == (
        "encoder sketches",
        "label counts",
        "score histograms",
        "score histograms of the model trained alone",
    )


def test_noise_pays_for_all_planned_rounds_and_spare_attempts_and_no_more() -> None:
    for spare in (0, 2):
        plan = plan_of(**{**PRIVATE, "privacy": {**PRIVATE["privacy"], "spare_attempts": spare}})
        mechanism = plan.round_mechanism
        assert mechanism is not None
        assert epsilon([mechanism] * (3 + spare), 1e-6) <= 4.0
        assert epsilon([mechanism] * (4 + spare), 1e-6) > 4.0


def test_only_the_training_share_of_epsilon_is_spent_on_training() -> None:
    plan = plan_of(**{**PRIVATE, "privacy": {**PRIVATE["privacy"], "training_share": 0.5}})
    assert plan.training_epsilon == 2.0
    assert plan.round_mechanism is not None
    assert epsilon([plan.round_mechanism] * 3, 1e-6) <= 2.0


def test_fedprox_has_a_proximal_term_unless_told_otherwise() -> None:
    assert plan_of(strategy={"name": "fedprox"}).training.proximal_mu > 0
    assert plan_of(strategy={"name": "fedprox"}, training={"proximal_mu": 0.3}).training.proximal_mu == 0.3
    assert PLAIN.training.proximal_mu == 0
