"""How epsilon grew, from events and from phases."""

from __future__ import annotations

from typing import Any

import pytest
from memory_fleet import PRIVATE, plan_of

from fraudfl.report.course import MOMENTS, course, in_total
from fraudfl.report.facts import Participant, Phase, Spending
from fraudfl.report.spending import spent_as_heard

PLAN = plan_of(**PRIVATE, rounds=20)


def heard(bank: str, number: int, kind: str = "train") -> dict[str, Any]:
    return {"event": "heard", "time": 60.0 * number, "kind": kind, "round": number, "bank": bank, "of": 2}


def test_epsilon_of_each_bank_grows_with_the_rounds_that_it_took_part_in() -> None:
    events = [heard("a", 0, "join"), heard("a", 1), heard("b", 1), {"event": "round", "round": 1}, heard("a", 2)]
    first, second = course(PLAN, events)
    once, twice = (spent_as_heard(PLAN, {"train": times}).epsilon(PLAN.delta) for times in (1, 2))
    assert (first.round, first.at, first.epsilon) == (1, "1970-01-01T00:01:00+00:00", {"a": once, "b": once})
    assert (second.round, second.epsilon) == (2, {"a": twice, "b": once})
    assert (second.most, second.middle) == (twice, pytest.approx((once + twice) / 2))


def test_a_long_phase_is_stated_at_some_rounds_the_first_and_the_last_among_them() -> None:
    moments = course(PLAN, [heard("a", number) for number in range(1, 21)])
    assert len(moments) == MOMENTS
    assert (moments[0].round, moments[-1].round) == (1, 20)
    grown = [moment.most for moment in moments]
    assert grown == sorted(grown)
    assert grown[-1] == spent_as_heard(PLAN, {"train": 20}).epsilon(PLAN.delta)


def test_a_reply_that_came_again_costs_no_more_than_the_gate_lets_through() -> None:
    most = PLAN.paid_releases("train")
    (*_, last) = course(PLAN, [heard("a", 20)] * (most + 5))
    assert last.most == spent_as_heard(PLAN, {"train": most}).epsilon(PLAN.delta)


def test_a_plan_that_promises_nothing_has_no_course() -> None:
    assert course(plan_of(), [heard("a", 1)]) == ()
    assert course(PLAN, []) == ()


def phase(name: str, unit: str, **epsilon: float | None) -> Phase:
    banks = tuple(
        Participant(bank=bank, rounds=1, missed=0, accepted_at="", epsilon=one) for bank, one in epsilon.items()
    )
    spending = Spending.model_construct(unit=unit, delta=1e-6)
    return Phase.model_construct(name=name, participants=banks, spending=spending)


def test_epsilon_and_delta_of_all_phases_are_added_up_for_each_unit_by_itself() -> None:
    phases = [
        phase("pilot", "transaction", a=1.0, b=None),
        phase("rollout", "transaction", a=0.5, b=2.0),
        phase("other", "account", a=0.25),
        Phase.model_construct(name="open", participants=(), spending=None),
    ]
    found = [(one.bank, one.unit, one.epsilon, one.delta, one.phases) for one in in_total(phases)]
    assert found == [
        ("b", "transaction", 2.0, 1e-6, 1),
        ("a", "transaction", 1.5, 2e-6, 2),
        ("a", "account", 0.25, 1e-6, 1),
    ]
