"""The circle of a phase: who is ready, who is drawn, who rests, and all of it again after a restart."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipelines.circle import Circle

BANKS = [f"bank-{number:02d}" for number in range(1, 13)]


def test_members_that_are_there_and_neither_rest_nor_refused_for_good_are_ready() -> None:
    circle = Circle(members=set(BANKS[:6]), gone={BANKS[0]}, rests={BANKS[1]: (5, 2)})
    present = [*BANKS[:5], "bank-77"]
    assert circle.ready(4, present) == BANKS[2:5]
    assert circle.ready(5, present) == BANKS[1:5]


def test_a_rest_doubles_up_to_sixty_four_rounds_and_ends_when_the_bank_took_part() -> None:
    circle, lengths = Circle(members={"a"}), []
    for _ in range(9):
        circle.rest("a", 10)
        lengths.append(circle.rests["a"][0] - 10)
    assert lengths == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    circle.took_part({"a"})
    circle.rest("a", 10)
    assert circle.rests["a"] == (11, 1)


@given(st.integers(2, 12), st.integers(0, 5), st.integers(1, 40))
def test_over_many_rounds_banks_are_asked_equally_often(size: int, seed: int, rounds: int) -> None:
    circle = Circle(members=set(BANKS))
    for number in range(rounds):
        cohort = circle.draw(BANKS, size, seed, number, 1)
        assert len(cohort) == len(set(cohort)) == size
        assert list(cohort) == sorted(cohort)
        circle.took_part(cohort)
    times = [circle.turns[bank] for bank in circle.turns] + [0] * (12 - len(circle.turns))
    assert max(times) - min(times) <= 1


def test_a_draw_repeats_for_the_same_round_and_differs_between_rounds_attempts_and_seeds() -> None:
    circle = Circle(members=set(BANKS))
    draws = [circle.draw(BANKS, 4, seed, number, attempt) for seed in (1, 2) for number in (1, 2) for attempt in (1, 2)]
    again = [circle.draw(BANKS, 4, seed, number, attempt) for seed in (1, 2) for number in (1, 2) for attempt in (1, 2)]
    assert draws == again
    assert len(set(draws)) >= 7


def test_without_a_size_or_with_one_that_all_fit_everybody_is_drawn() -> None:
    for size in (None, 12, 40):
        assert Circle().draw(BANKS, size, 1, 1) == tuple(BANKS)


def test_first_cohorts_are_drawn_evenly() -> None:
    found = Counter(bank for number in range(600) for bank in Circle().draw(BANKS, 4, 3, number))
    # Binomial(600, 1/3): 200 ± 11.5.
    assert all(abs(times - 200) < 5 * 11.5 for times in found.values())


def test_a_circle_survives_a_checkpoint() -> None:
    circle = Circle(
        keys={"bank-02": "{}", "bank-01": '{"a": 1}'},
        peers=b'{"keys":[]}',
        digest="ab" * 32,
        members={"bank-01"},
        turns={"bank-01": 3},
        rests={"bank-02": (7, 2)},
        gone={"bank-03"},
    )
    back = Circle.from_facts(json.loads(json.dumps(circle.to_facts())))
    assert back == circle
    assert list(back.keys) == list(circle.keys)
