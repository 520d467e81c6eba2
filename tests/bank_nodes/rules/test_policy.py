"""The policy: what it approves by itself, what nothing can override, and which cap a release would pass."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_fleet import DISTRIBUTED, PRIVATE, SECURE, tiny_config

from bank_nodes.rules.policy import (
    Policy,
    feature_names,
    objections,
    over_cap,
    read_policy,
    review,
    uncovered_contents,
)
from fraudfl.data.schema import Contract
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import ConfigError
from fraudfl.plan import Plan, ReleaseRule
from fraudfl.planning import make_plan
from fraudfl.privacy.ledger import LedgerTotals

CONTRACT = GENERATED_CONTRACT.model_copy(update={"numeric": ("age",), "categorical": ("channel",)})
SKETCHED = ["encoder sketches", "score histograms", "what windows carry into other rows"]


def plan_of(contract: Contract = CONTRACT, **phase: Any) -> Plan:
    config = tiny_config(phase)
    return make_plan(config, config.phases[0], contract)


OPEN, CLOSED = plan_of(), plan_of(**PRIVATE)
MASKED = plan_of(**DISTRIBUTED)


def trusting(plan: Plan) -> Plan:
    """The same plan with a coordinator that is taken to be honest."""
    assert plan.secure_aggregation is not None
    curious = plan.secure_aggregation.model_copy(update={"coordinator": "honest-but-curious"})
    return plan.model_copy(update={"secure_aggregation": curious})


def policy(**sections: Any) -> Policy:
    return Policy.model_validate({"uncovered": SKETCHED} | sections)


def rules(**approve: Any) -> Policy:
    return policy(approve={"automatic": True} | approve)


def test_without_a_file_no_plan_is_approved_and_nothing_leaves_without_privacy(tmp_path: Path) -> None:
    found = read_policy(tmp_path)
    assert found == Policy()
    told = review(CLOSED, found)
    assert told[-1] == "approve.automatic is off, and the plan's hash is not in approve.plans"
    assert objections(CLOSED, found) == told[:-1]
    assert [name for name in SKETCHED if not any(repr(name) in reason for reason in told)] == []


def test_automatic_rules_by_themselves_let_nothing_leave_without_privacy() -> None:
    assert review(CLOSED, Policy.model_validate({"approve": {"automatic": True}})) == objections(CLOSED, Policy())
    assert objections(CLOSED, Policy()) != []


def test_a_plan_that_keeps_the_rules_is_approved() -> None:
    assert review(CLOSED, rules()) == []


def test_a_plan_approved_in_advance_needs_no_rule_but_its_uncovered_releases_need_their_lines() -> None:
    advance = {"plans": [CLOSED.hash], "consortium": "another"}
    assert review(CLOSED, policy(approve=advance)) == []
    assert len(review(CLOSED, policy(approve=advance, uncovered=SKETCHED[:1]))) == len(SKETCHED) - 1
    assert review(OPEN, policy(approve=advance, uncovered=["*"])) != []


@pytest.mark.parametrize(
    ("approve", "told"),
    [
        ({"max_epsilon": 3.9}, "ε is 4; approve.max_epsilon is 3.9"),
        ({"max_delta": 1e-7}, "δ is 1e-06; approve.max_delta is 1e-07"),
        ({"modes": ["distributed"]}, "privacy mode is 'local'; approve.modes has distributed"),
        ({"modes": []}, "privacy mode is 'local'; approve.modes has none"),
        ({"min_cohort": 2}, "the plan's minimum cohort is 1; approve.min_cohort is 2"),
        ({"secure_aggregation": True}, "the plan does not use secure aggregation"),
        ({"min_colluding": 1}, "the plan holds against 0 colluding banks; approve.min_colluding is 1"),
        ({"max_rounds": 2}, "the plan has 3 rounds; approve.max_rounds is 2"),
        ({"kinds": ["assessment", "monitoring"]}, "the phase is a 'pilot'; approve.kinds has assessment, monitoring"),
        ({"consortium": "other"}, "the consortium is 'tiny'; approve.consortium is 'other'"),
    ],
)
def test_each_rule_that_is_broken_is_told(approve: dict[str, Any], told: str) -> None:
    (reason,) = review(CLOSED, rules(**approve))
    assert reason.startswith(told)


@pytest.mark.parametrize(
    "approve",
    [
        {"max_epsilon": 4},
        {"max_delta": 1e-6},
        {"modes": ["local"]},
        {"max_rounds": 3},
        {"kinds": ["pilot"]},
        {"consortium": "tiny"},
        {"features": ["*"]},
    ],
)
def test_a_rule_that_is_just_kept_is_no_reason(approve: dict[str, Any]) -> None:
    assert review(CLOSED, rules(**approve)) == []


def test_every_broken_rule_is_told_at_once() -> None:
    assert len(review(CLOSED, rules(max_epsilon=1, max_rounds=1, consortium="other", min_cohort=9))) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": None},
        {"noise_multiplier": 0.0},
        {"privacy": CLOSED.privacy.model_copy(update={"mode": "none"})},
        {"privacy": CLOSED.privacy.model_copy(update={"epsilon": None})},
    ],
)
def test_an_epsilon_that_no_noise_stands_behind_does_not_count(change: dict[str, Any]) -> None:
    plan = CLOSED.model_copy(update=change)
    approve = {"automatic": True, "max_epsilon": 1000, "modes": ["none", "local"]}
    told = review(plan, policy(uncovered=["*"], approve=approve))
    delta = ["the plan promises no δ; approve.max_delta is 1e-05"] if plan.private and not plan.noise_multiplier else []
    assert told == ["the plan promises no ε; approve.max_epsilon asks for one of at most 1000", *delta]


def test_a_small_epsilon_at_a_large_delta_is_approved_by_no_rule_that_leaves_delta_out() -> None:
    """With one unit a δ of 0.09 is within 1/(10 units); ε = 1 there is far more at a δ that protects anybody."""
    loose = CLOSED.privacy.model_copy(update={"units": 1, "delta": 0.09, "epsilon": 1.0})
    loud = CLOSED.model_copy(update={"privacy": loose})
    assert review(loud, rules(max_epsilon=1)) == ["δ is 0.09; approve.max_delta is 1e-05"]
    assert review(loud, rules(max_epsilon=1, max_delta=0.09)) == []


def test_a_delta_that_is_left_out_asks_nothing_of_plans_that_promise_nothing_and_one_that_is_given_does() -> None:
    anything = {"automatic": True, "modes": ["none"]}
    assert review(OPEN, policy(uncovered=["*"], approve=anything)) == []
    told = review(OPEN, policy(uncovered=["*"], approve=anything | {"max_delta": 0.5}))
    assert told == ["the plan promises no δ; approve.max_delta is 0.5"]


def test_masks_that_rest_on_an_honest_coordinator_are_approved_only_where_the_policy_says_any() -> None:
    asked = {"automatic": True, "secure_aggregation": True, "modes": ["none", "distributed"]}
    for plan in (MASKED, plan_of(**SECURE)):
        assert review(plan, policy(uncovered=["*"], approve=asked)) == []
        (told,) = review(trusting(plan), policy(uncovered=["*"], approve=asked))
        assert told == (
            "the plan's secure aggregation holds against a coordinator that is 'honest-but-curious'; "
            "approve.coordinator is 'malicious'"
        )
        assert review(trusting(plan), policy(uncovered=["*"], approve=asked | {"coordinator": "any"})) == []


def test_a_plan_must_hold_against_as_many_colluding_banks_as_the_policy_says() -> None:
    assert MASKED.secure_aggregation is not None
    named = MASKED.secure_aggregation.colluding
    asked = {"automatic": True, "modes": ["distributed"]}
    assert review(MASKED, policy(uncovered=["*"], approve=asked | {"min_colluding": named})) == []
    (told,) = review(MASKED, policy(uncovered=["*"], approve=asked | {"min_colluding": named + 1}))
    assert told == f"the plan holds against {named} colluding banks; approve.min_colluding is {named + 1}"


def test_a_delta_that_no_noise_stands_behind_does_not_count() -> None:
    plan = CLOSED.model_copy(update={"noise_multiplier": None})
    assert any("promises no δ" in reason for reason in review(plan, rules(max_delta=0.5)))


def test_every_feature_must_be_named_the_categorical_ones_too() -> None:
    numeric = [
        *("amount", "hour_sin", "hour_cos", "weekday", "is_weekend", "is_night", "age", "pair_since_last"),
        *(f"{who}_{what}" for who in ("account", "counterparty") for what in ("count_7d", "mean_7d", "since_last")),
    ]
    names = [*numeric, "currency", "channel"]
    assert review(CLOSED, rules(features=names)) == []
    for left_out in names:
        told = review(CLOSED, rules(features=[name for name in names if name != left_out]))
        assert told == [f"feature {left_out!r} fits nothing in approve.features"]


def test_features_may_be_patterns_and_case_counts() -> None:
    patterns = ["amount", "hour_*", "*week*", "is_night", "*_7d", "*since_last", "ag?", "c[hu]*"]
    assert review(CLOSED, rules(features=patterns)) == []
    assert len(review(CLOSED, rules(features=[*patterns[:-1], "C[hu]*"]))) == 2
    assert len(review(CLOSED, rules(features=[]))) == len(feature_names(CLOSED))


def test_a_name_that_looks_like_a_pattern_can_be_listed_as_it_is() -> None:
    plan = plan_of(CONTRACT.model_copy(update={"numeric": ("fee[eur]",)}), **PRIVATE)
    assert review(plan, rules(features=[*feature_names(CLOSED), "fee[eur]"])) == []


def test_a_feature_smuggled_into_the_encoder_alone_is_seen() -> None:
    encoder = CLOSED.encoder.model_copy(update={"numeric": (*CLOSED.encoder.numeric, "salary")})
    told = review(CLOSED.model_copy(update={"encoder": encoder}), rules(features=list(feature_names(CLOSED))))
    assert told == ["feature 'salary' fits nothing in approve.features"]


def test_features_that_cannot_be_declared_are_a_reason_and_no_crash() -> None:
    plan = CLOSED.model_copy(update={"features": CLOSED.features.model_copy(update={"exclude": ("nonsense",)})})
    (told,) = review(plan, rules(features=["*"]))
    assert told.startswith("the plan's features cannot be told: features.exclude")


@pytest.mark.parametrize("missing", SKETCHED)
def test_each_release_without_privacy_needs_its_own_line(missing: str) -> None:
    lines = [name for name in SKETCHED if name != missing]
    (told,) = objections(CLOSED, policy(uncovered=lines))
    assert told == f"{missing!r} would be released without privacy; `uncovered` in policy.yaml does not list it"


def test_a_star_allows_every_release_and_no_other_pattern_does() -> None:
    assert objections(OPEN, policy(uncovered=["*"])) == []
    assert len(objections(CLOSED, policy(uncovered=["enc*", "score*", "what*"]))) == len(SKETCHED)


def test_without_privacy_everything_that_a_plan_releases_is_uncovered() -> None:
    assert uncovered_contents(OPEN) == (
        "encoder sketches",
        "example counts",
        "model updates",
        "score histograms",
        "score histograms of the model trained alone",
        "the bin of the bank's gain",
        "training loss",
    )
    assert uncovered_contents(CLOSED) == CLOSED.not_covered


@pytest.mark.parametrize("change", [{}, {"noise_multiplier": None}, {"privacy": OPEN.privacy}])
def test_a_plan_cannot_talk_its_releases_out_of_the_list(change: dict[str, Any]) -> None:
    boast = {
        kind: tuple(ReleaseRule(content=rule.content, covered=True) for rule in listed)
        for kind, listed in CLOSED.releases.items()
    }
    plan = CLOSED.model_copy(update={"releases": boast, **change})
    assert plan.not_covered == ()
    assert uncovered_contents(plan) == (*SKETCHED[:1], *(["model updates"] if change else []), *SKETCHED[1:])


NOTHING_YET = LedgerTotals(
    rounds_phase=0,
    rounds_month=0,
    rounds_total=0,
    releases_phase=0,
    releases_day=0,
    releases_month=0,
    releases_total=0,
    bytes_day=0,
)
CAPS = [
    ("rounds", "phase"),
    ("rounds", "month"),
    ("rounds", "total"),
    ("releases", "phase"),
    ("releases", "day"),
    ("releases", "month"),
    ("releases", "total"),
]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from([*CAPS, ("bytes", "day")]), st.integers(0, 4)),
    st.fixed_dictionaries({name: st.integers(0, 4) for name in asdict(NOTHING_YET)}),
    st.integers(0, 3),
    st.booleans(),
)
def test_a_cap_is_named_exactly_when_the_release_would_pass_one(
    caps: dict[tuple[str, str], int], used: dict[str, int], size: int, counts_round: bool
) -> None:
    sections: dict[str, Any] = {"rounds": {}, "releases": {}}
    for (what, span), cap in caps.items():
        if what == "bytes":
            sections["bytes_per_day"] = cap
        else:
            sections[what][span] = cap
    needs = {"rounds": int(counts_round), "releases": 1, "bytes": size}
    after = {(what, span): used[f"{what}_{span}"] + needs[what] for what, span in [*CAPS, ("bytes", "day")]}
    passed = {f"{what}_{span}" for (what, span), cap in caps.items() if needs[what] and after[what, span] > cap}
    told = over_cap(Policy.model_validate({"caps": sections}), LedgerTotals(**used), size, counts_round)
    assert (told is None) == (not passed)
    if told is not None:
        name = re.match(r"caps\.(\S+) is", told)
        assert name is not None
        assert name[1].replace("bytes_per_day", "bytes_day").replace(".", "_") in passed


def test_a_cap_that_would_be_passed_is_told_with_its_figures() -> None:
    capped = Policy.model_validate({"caps": {"bytes_per_day": 1000}})
    used = LedgerTotals(**asdict(NOTHING_YET) | {"bytes_day": 900})
    assert over_cap(capped, used, 100, True) is None
    assert over_cap(capped, used, 101, True) == (
        "caps.bytes_per_day is 1000; 900 are used, and this release needs 101 more"
    )


def written(folder: Path, text: str) -> Path:
    (folder / "policy.yaml").write_text(text)
    return folder


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_policy(written(folder, text))
    return str(caught.value).removeprefix(f"{folder}/")


def test_the_example_in_the_reference_is_a_policy_and_names_every_key(tmp_path: Path) -> None:
    reference = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    example = reference.split("```yaml\n")[1].split("```")[0]
    read_policy(written(tmp_path, example))
    facts = yaml.safe_load(example)
    assert list(facts) == list(Policy.model_fields)
    for section, model in ((name, type(getattr(Policy(), name))) for name in ("approve", "caps", "hours", "resources")):
        assert list(facts[section]) == list(model.model_fields)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("aprove:\n  automatic: true\n", "line 1: aprove: "),
        ("signers: [ann]\napprove:\n  automatc: true\n", "line 3: approve.automatc: found True; no such key"),
        ("approve:\n  plans: [abc]\n", "line 2: approve.plans.0: found 'abc'; String should match"),
        ("approve:\n  max_epsilon: -1\n", "line 2: approve.max_epsilon: found -1; Input should be greater"),
        ("approve:\n  modes: [global]\n", "line 2: approve.modes.0: found 'global'; Input should be 'none'"),
        ("hours:\n  zone: Europe/Nowhere\n", "line 2: hours.zone: found 'Europe/Nowhere'; no such time zone"),
        ("hours:\n  windows:\n    - daily 1:00-2:00\n", "line 3: hours.windows.0: found 'daily 1:00-2:00'; times"),
        ("caps:\n  epsilon: {month: .inf}\n", "line 2: caps.epsilon.month: found inf"),
        ("caps:\n  epsilon: {month: 4, delta: 0}\n", "line 2: caps.epsilon.delta: found 0; Input should be greater"),
        ("approve:\n  coordinator: honest\n", "line 2: approve.coordinator: found 'honest'; Input should be"),
        ("alert_budget: 5\n", "line 1: alert_budget: found 5; Input should be less"),
        ("cost_per_alert: -2\n", "line 1: cost_per_alert: found -2; Input should be greater"),
        ("uncovered: encoder sketches\n", "line 1: uncovered: found 'encoder sketches'; Input should be a valid tuple"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line_and_key(tmp_path: Path, text: str, told: str) -> None:
    assert refusal(tmp_path, text).startswith(f"policy.yaml, {told}")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("caps:\n  rounds:\n    month:\n", "line 3: caps.rounds.month"),
        ("approve:\n  automatic: true\n  max_epsilon:\n", "line 3: approve.max_epsilon"),
        ("caps:\n", "line 1: caps"),
        ("signers:\n", "line 1: signers"),
    ],
)
def test_a_key_left_empty_is_a_mistake_and_not_the_absence_of_a_limit(tmp_path: Path, text: str, key: str) -> None:
    assert f"{key}: found None; nothing is given here" in refusal(tmp_path, text)


def test_yes_is_no_number(tmp_path: Path) -> None:
    told = refusal(tmp_path, "approve:\n  automatic: yes\n  max_epsilon: yes\n")
    assert told == "policy.yaml, line 3: approve.max_epsilon: found True; yes and no mean nothing here"


@pytest.mark.parametrize("text", ["", "# all of it is a comment\n", "- a\n"])
def test_a_file_that_says_nothing_is_refused_and_not_taken_for_no_rules(tmp_path: Path, text: str) -> None:
    assert "expected sections such as `approve:` and `signers:`" in refusal(tmp_path, text)


def test_a_policy_that_cannot_be_read_is_an_error_and_not_its_absence(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(tmp_path / "file")


def test_a_policy_under_a_misspelt_name_is_not_overlooked(tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text("signers: [ann]\n")
    with pytest.raises(ConfigError, match=r"found a policy under another name; expected policy\.yaml"):
        read_policy(tmp_path)
