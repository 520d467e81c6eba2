"""Gates on outcomes: intervals decide, doubts are told from misses, and every reason holds its figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.gates.config import GateConfig
from fraudfl.gates.judging import GateOutcome, judge, worst
from fraudfl.gates.measures import MEASURES

Says = Callable[..., GateOutcome]
GAIN = "gain_over_alone.auprc"


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("auprc", 0.40),
        ("gain_over_alone.auprc", 0.10),
        ("gain_over_xgboost.auprc", 0.05),
        ("gain_over_best_alone.auprc", 0.05),
        ("gain_over_best_alone.balanced_accuracy", 0.05),
        ("gain_over_alone.recall_at_budget", 0.1),
        ("fairness.recall_at_budget", 0.5),
        ("epsilon_max", 2.5),
        ("not_covered", 1),
        ("participation", 0.7),
        # Bank b missed round 2 in two attempts, bank c once; round 0 is no round of training: 2 of 10 * 5.
        ("missed_rounds", 0.04),
        ("savings_vs_csv", 0.98),
        ("savings_vs_parquet", 0.9),
        ("worst_bank_savings_vs_csv", 0.8),
    ],
)
def test_each_measure_is_read_from_the_outcome(outcome: dict[str, Any], says: Says, measure: str, value: float) -> None:
    assert says(outcome, measure=measure, at_most=1, bound="point").value == pytest.approx(value)


@pytest.mark.parametrize(
    ("asked", "expected", "words"),
    [
        ({"at_least": 0.06}, "pass", "even the interval's lower end meets"),
        ({"at_least": 0.07}, "hold", "the data cannot tell"),
        ({"at_least": 0.07, "unsure": "fail"}, "fail", "the data cannot tell"),
        ({"at_least": 0.07, "unsure": "pass"}, "pass", "the data cannot tell"),
        ({"at_least": 0.15}, "fail", "even the interval's upper end misses"),
        ({"at_least": 0.15, "unsure": "pass"}, "fail", "even the interval's upper end misses"),
        ({"at_least": 0.14, "bound": "upper"}, "pass", "a miss is not shown"),
        ({"at_least": 0.15, "bound": "upper"}, "fail", "even the interval's upper end misses"),
        ({"at_least": 0.09, "bound": "point"}, "pass", "whatever its error"),
        ({"at_least": 0.11, "bound": "point"}, "fail", "whatever its error"),
        ({"at_most": 0.14}, "pass", "even the interval's upper end meets"),
        ({"at_most": 0.10}, "hold", "the data cannot tell"),
        ({"at_most": 0.05}, "fail", "even the interval's lower end misses"),
        ({"at_most": 0.06, "bound": "lower"}, "pass", "a miss is not shown"),
    ],
)
def test_the_interval_decides_and_a_doubt_is_no_miss(
    outcome: dict[str, Any], says: Says, asked: dict[str, Any], expected: str, words: str
) -> None:
    said = says(outcome, measure=GAIN, **asked)
    assert (said.outcome, said.interval) == (expected, (0.06, 0.14))
    assert words in said.reason
    assert "gain in AUPRC over training alone is 0.1, with 95 % interval 0.06 to 0.14" in said.reason


ends = st.floats(-1, 1).map(lambda number: round(number, 3))


@given(st.tuples(ends, ends).map(sorted), ends, st.sampled_from(["at_least", "at_most"]))
def test_what_is_asked_of_an_interval_holds_for_all_of_it_some_of_it_or_none(interval, threshold, direction):
    low, high = interval
    metrics = {
        "federated": {"auprc": high},
        "alone": {"auprc": 0.0},
        "intervals": {"gain_over_alone": {"auprc": interval}},
    }
    gate = GateConfig(name="gate", measure=GAIN, **{direction: threshold})
    meets = [end >= threshold if direction == "at_least" else end <= threshold for end in (low, high)]
    expected = "pass" if all(meets) else "hold" if any(meets) else "fail"
    assert judge({"metrics": metrics}, [gate])[0].outcome == expected


def test_the_stronger_one_alone_is_the_one_to_beat_and_is_named(outcome: dict[str, Any], says: Says) -> None:
    said = says(outcome, measure="gain_over_best_alone.auprc", at_least=0.02)
    assert (said.outcome, said.interval) == ("hold", (0.01, 0.09))
    assert "the stronger one alone is `xgboost`" in said.reason
    # By balanced accuracy the MLP is the stronger one: 0.86 against 0.85.
    assert says(outcome, measure="gain_over_best_alone.balanced_accuracy", at_least=0.02).interval == (0.03, 0.07)


def test_a_figure_without_the_interval_it_should_have_is_not_taken_at_its_word(
    outcome: dict[str, Any], says: Says
) -> None:
    outcome["metrics"]["intervals"] = {}
    said = says(outcome, measure=GAIN, at_least=0.0)
    assert (said.outcome, said.value) == ("hold", None)
    assert "is 0.1, but the outcome holds no interval for it; `bound: point` would do without" in said.reason
    assert says(outcome, measure=GAIN, at_least=0.0, bound="point").outcome == "pass"
    assert says(outcome, measure="recall_at_budget", at_least=0.1, missing="fail").outcome == "fail"


@pytest.mark.parametrize("measure", sorted(set(MEASURES) - {"not_covered"}))
def test_an_outcome_that_does_not_hold_a_measure_holds_or_fails_and_never_passes(
    outcome: dict[str, Any], says: Says, measure: str
) -> None:
    outcome |= {"metrics": None, "roster": 0, "rounds": 0}
    outcome["privacy"] |= {"epsilon_max": None}
    outcome["transfer"] |= {"raw_csv_bytes": 0, "raw_parquet_bytes": 0}
    more = {"more_than": 0.01} if measure == "banks_losing" else {}
    assert says(outcome, measure=measure, at_least=0, **more).outcome == "hold"
    assert says(outcome, measure=measure, at_most=1, missing="fail", **more).outcome == "fail"


def test_without_xgboost_the_better_one_alone_is_not_known(outcome: dict[str, Any], says: Says) -> None:
    outcome["metrics"]["xgboost"] = None
    said = says(outcome, measure="gain_over_best_alone.auprc", at_least=0.0)
    assert (said.outcome, "`xgboost`" in said.reason) == ("hold", True)


def test_a_phase_without_privacy_has_spent_without_bound(outcome: dict[str, Any], says: Says) -> None:
    outcome["privacy"] |= {"mode": "none", "epsilon_max": None}
    said = says(outcome, measure="epsilon_max", at_most=1000)
    assert said.outcome == "fail"
    assert "without bound (the phase promises no differential privacy)" in said.reason


def test_counts_and_spends_are_exact_and_need_no_interval(outcome: dict[str, Any], says: Says) -> None:
    assert says(outcome, measure="participation", at_least=0.7).outcome == "pass"
    assert says(outcome, measure="participation", at_least=0.71).outcome == "fail"
    assert says(outcome, measure="epsilon_max", at_most=2.5).outcome == "pass"
    said = says(outcome, measure="not_covered", at_most=0)
    assert (said.outcome, "(label counts)" in said.reason) == ("fail", True)


def test_drift_is_read_where_a_phase_measured_it(outcome: dict[str, Any], says: Says) -> None:
    assert says(outcome | {"drift": {"psi_max": 0.3}}, measure="drift.psi_max", at_most=0.25).outcome == "fail"


def test_banks_that_lose_are_counted_from_single_banks_or_from_the_sum_alike(
    outcome: dict[str, Any], says: Says
) -> None:
    # Of four banks with a fraud one lost 0.05, and one lost 0.005, which is not more than 0.01.
    gate = {"measure": "banks_losing", "more_than": 0.01}
    said = says(outcome, **gate, at_most=0.25)
    assert (said.outcome, said.value) == ("pass", 0.25)
    assert "banks without a fraud to test on, not counted: 1" in said.reason
    edges = [-0.01, 0.01]
    outcome["metrics"] |= {
        "per_bank": None,
        "gain_bins": {"edges": edges, "counts": [1, 1, 2], "undefined": 1, "noise": 0},
    }
    assert says(outcome, **gate, at_most=0.25).reason == said.reason
    assert says(outcome, **gate, at_most=0.24).outcome == "fail"


def test_noise_in_the_counts_of_banks_makes_their_share_a_doubt(outcome: dict[str, Any], says: Says) -> None:
    gate = {"measure": "banks_losing", "more_than": 0.01, "at_most": 0.05}
    bins = {"edges": [-0.01, 0.01], "counts": [8.0, 92.0, 100.0], "undefined": 0, "noise": 4.0}
    outcome["metrics"]["gain_bins"] = bins
    assert says(outcome, **gate).outcome == "hold"
    outcome["metrics"]["gain_bins"] = bins | {"noise": 0.0}
    assert says(outcome, **gate).outcome == "pass"


def test_gates_together_say_the_worst_and_none_say_pass() -> None:
    assert worst(["pass", "hold", "pass"]) == "hold"
    assert worst(["hold", "fail", "pass"]) == "fail"
    assert worst([]) == "pass"


def test_what_gates_say_is_in_their_order_and_fits_the_summary(outcome: dict[str, Any]) -> None:
    gates = [
        GateConfig(name="spend", measure="epsilon_max", at_most=3),
        GateConfig(name="gain", measure=GAIN, at_least=0.08),
    ]
    said = [one.to_dict() for one in judge(outcome, gates)]
    assert [(one["name"], one["outcome"]) for one in said] == [("spend", "pass"), ("gain", "hold")]
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert all(set(one) == {"name", "outcome", "reason"} for one in said)
