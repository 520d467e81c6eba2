"""The operator's decision to release a hold: what it binds, and what nobody can release."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fraudfl.errors import TrustError
from fraudfl.gates.decision import GateDecision, GateError, decide
from fraudfl.trust.keys import new_key, parse_signed, public_text

KEY = new_key()
HOLD = {"name": "gain", "outcome": "hold", "reason": "0.04, between 0.01 and 0.07. Asked for: at least 0.02"}
PASS = {"name": "spend", "outcome": "pass", "reason": "2.5"}
FAIL = {"name": "who", "outcome": "fail", "reason": "3 of 10"}


def held(*gates: dict[str, Any]) -> dict[str, Any]:
    return {"name": "pilot", "plan_hash": "ab" * 32, "gates": list(gates)}


def decided(*gates: dict[str, Any], **facts: Any) -> GateDecision:
    words = {"by": "Ada Lovelace", "reason": "the committee's minutes of 3 March, item 2"} | facts
    return decide(KEY, "0123456789abcdef", held(*gates), **words)


def test_a_decision_is_signed_and_names_who_what_and_why() -> None:
    made = parse_signed(decided(HOLD, PASS).to_bytes(), GateDecision, "here")
    assert (made.by, made.phase, made.instance, made.plan_hash) == (
        "Ada Lovelace",
        "pilot",
        "0123456789abcdef",
        "ab" * 32,
    )
    assert [gate.name for gate in made.gates] == ["gain"]
    assert made.operator == public_text(KEY)
    assert (made.covers(HOLD), made.covers(PASS)) == (True, False)


def test_a_decision_about_some_figures_is_none_about_others() -> None:
    assert not decided(HOLD).covers(HOLD | {"reason": "0.01, between -0.03 and 0.05. Asked for: at least 0.02"})


@pytest.mark.parametrize("field", ["by", "reason", "phase", "instance", "at"])
def test_a_decision_that_was_edited_is_refused(field: str) -> None:
    made = decided(HOLD)
    other = {"phase": "rollout", "instance": "another", "at": "2025-01-01T00:00:00+00:00"}.get(field, "somebody")
    with pytest.raises(TrustError, match="altered"):
        parse_signed(made.model_copy(update={field: other}).to_bytes(), GateDecision, "here")


def test_a_fail_cannot_be_released_nor_anything_beside_it() -> None:
    with pytest.raises(GateError, match="who said `fail`, which nobody can release"):
        decided(FAIL, HOLD)


@pytest.mark.parametrize(
    ("gates", "named"),
    [([PASS], ()), ([HOLD | {"released": {"by": "Ada"}}], ()), ([HOLD, PASS], ("spend",)), ([HOLD], ("gone",))],
)
def test_there_must_be_a_hold_to_release(gates: list[dict[str, Any]], named: tuple[str, ...]) -> None:
    with pytest.raises(GateError, match="Nothing was released"):
        decided(*gates, gates=named)


def test_one_of_two_holds_can_be_released_alone() -> None:
    other = HOLD | {"name": "share"}
    assert [gate.name for gate in decided(HOLD, other, gates=["share"]).gates] == ["share"]
    assert [gate.name for gate in decided(HOLD, other).gates] == ["gain", "share"]


@pytest.mark.parametrize(
    "words", [{"by": ""}, {"by": "  "}, {"reason": ""}, {"reason": "two\nlines"}, {"by": "x" * 201}]
)
def test_who_and_why_are_a_line_of_text_each(words: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        decided(HOLD, **words)
