"""What masks are bound to: no two uses share a context, and what is malformed is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.errors import SecureAggregationError

FIELDS: dict[str, Any] = {
    "plan_hash": "ab" * 32,
    "instance": "pilot-1",
    "kind": "train",
    "round": 3,
    "attempt": 1,
    "cohort": ("east", "north", "west"),
    "peers": "cd" * 32,
}
OTHER: dict[str, Any] = {
    "plan_hash": "ac" * 32,
    "instance": "pilot-2",
    "kind": "evaluate",
    "round": 4,
    "attempt": 2,
    "cohort": ("east", "north"),
    "peers": "cf" * 32,
    "asked": "ef" * 32,
}
BAD: list[tuple[str, Any]] = [
    ("plan_hash", "AB" * 32),
    ("plan_hash", "ab"),
    ("instance", "a/b"),
    ("kind", "Train"),
    ("round", -1),
    ("attempt", 0),
    ("cohort", ("north",)),
    ("cohort", ("north", "east")),
    ("cohort", ("east", "east")),
    ("cohort", ("east", "North")),
    ("peers", "cd" * 31),
]
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,5}", fullmatch=True)
USES = st.tuples(
    st.sampled_from(["own", "pair", "pair-one-exchange"]),
    NAMES,
    st.lists(NAMES, min_size=1, max_size=2, unique=True).map(sorted).map(tuple),
    st.integers(0, 200),
    st.integers(1, 200),
    st.lists(NAMES, min_size=2, max_size=4, unique=True).map(sorted).map(tuple),
)


@pytest.mark.parametrize("field", FIELDS)
def test_another_value_of_any_field_is_another_attempt(field: str) -> None:
    first, second = Attempt(**FIELDS), Attempt(**FIELDS | {field: OTHER[field]})
    assert first.digest != second.digest
    assert first.context("pair", "update", "east", "north") != second.context("pair", "update", "east", "north")
    assert first.digest == Attempt(**FIELDS).digest


@given(USES, USES)
def test_two_uses_share_a_context_only_when_they_are_one_use(first: Any, second: Any) -> None:
    def context(use: Any) -> bytes:
        purpose, part, banks, number, attempt, cohort = use
        fields = FIELDS | {"round": number, "attempt": attempt, "cohort": cohort}
        return Attempt(**fields).context(purpose, part, *banks)

    assert (context(first) == context(second)) == (first == second)


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_malformed_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(SecureAggregationError, match=field):
        Attempt(**FIELDS | {field: value})


def test_a_part_is_a_name() -> None:
    with pytest.raises(SecureAggregationError, match="part: found 'Up,date'"):
        Attempt(**FIELDS).context("own", "Up,date", "east")


@pytest.mark.parametrize(
    ("survivors", "said"),
    [
        (("north", "east"), "sorted, each once"),
        (("east", "east", "north"), "sorted, each once"),
        (("east", "north", "south"), "bank south is not in the cohort"),
        (("east", "north"), "found 2 banks; expected the minimum cohort of 3"),
        ((), "found 0 banks"),
    ],
)
def test_a_malformed_or_small_survivor_set_is_refused(survivors: tuple[str, ...], said: str) -> None:
    attempt = Attempt(**FIELDS)
    with pytest.raises(SecureAggregationError, match=said):
        attempt.survivors(survivors, 3)
    assert attempt.survivors(("east", "north", "west"), 3) == ("east", "north", "west")
