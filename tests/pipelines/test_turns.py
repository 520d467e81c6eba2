"""Banks that come and go: whose turn it is, that turns are even, who joins late, and who is named when few are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_fleet import PRIVATE, Consortium, KilledError, plan_of, set_policy

from fraudfl.errors import QuorumError
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.protocols import Answer, Reply, Request
from fraudfl.transfer.codec import decode
from pipelines.circle import MADE_UP, Circle
from pipelines.phase import run_phase
from pipelines.publishing import model_layout

Make = Callable[..., Consortium]
BANKS = tuple(f"bank-0{number}" for number in range(1, 7))
MANY = [f"bank-{number:02d}" for number in range(20)]
OPEN: dict[str, Any] = {"baselines": [], "evaluate_every": 100}


def cohorts(one: Consortium, attempt: int = 1) -> dict[int, set[str]]:
    """Round to the banks that were asked to train."""
    found: dict[int, set[str]] = {}
    for bank, request in zip(one.fleet.asked_of, one.fleet.asked, strict=True):
        if request.kind == "train" and request.attempt == attempt:
            found.setdefault(request.round, set()).add(bank)
    return found


def trained(one: Consortium, bank: str) -> list[int]:
    """Rounds whose update this bank released, by its ledger."""
    return [entry.round for entry in one.ledger(bank).entries() if (entry.event, entry.kind) == ("released", "train")]


def away(banks: set[str], rounds: range, kinds: tuple[str, ...] = ("train",)) -> Callable[..., Reply | Answer]:
    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | Answer:
        if bank in banks and request.kind in kinds and request.round in rounds:
            return Answer(bank=bank, reply=None, reason="not connected", code="away", bytes_down=9)
        return work()

    return happening


# Turns.


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 19), st.lists(st.sets(st.sampled_from(MANY[6:])), min_size=1, max_size=60))
def test_banks_that_are_always_there_are_never_more_than_one_turn_apart(size: int, visits: list[set[str]]) -> None:
    circle, taken = Circle(members=set(MANY)), Counter[str]()
    for number, visitors in enumerate(visits):
        there = {*MANY[:6], *visitors}
        cohort = circle.draw(circle.ready(number, there), size, 3, number)
        assert set(cohort) <= there
        assert len(cohort) == min(size, len(there))
        circle.took_part(cohort)
        taken.update(cohort)
        turns = [taken[bank] for bank in MANY[:6]]
        assert max(turns) - min(turns) <= 1


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 10), st.lists(st.integers(0, 19), min_size=1, max_size=40))
def test_banks_that_miss_a_round_now_and_then_have_as_many_turns_in_the_end(size: int, absent: list[int]) -> None:
    circle, taken = Circle(members=set(MANY)), Counter[str]()
    # In every fifth round somebody is away.
    for number in range(5 * len(absent) + 5):
        gone = {MANY[absent[number // 5]]} if number % 5 == 0 and number // 5 < len(absent) else set()
        cohort = circle.draw(circle.ready(number, set(MANY) - gone), size, 3, number)
        circle.took_part(cohort)
        taken.update(cohort)
    turns = [taken[bank] for bank in MANY]
    assert max(turns) - min(turns) <= 1


@given(st.integers(1, 6), st.integers(0, 60), st.integers(0, 5))
def test_a_bank_that_comes_late_takes_turns_and_makes_up_for_a_few_only(size: int, late: int, seed: int) -> None:
    circle, rounds, taken = Circle(members=set(MANY[:8])), 24, Counter[str]()
    for number in range(late):
        circle.took_part(circle.draw(MANY[:7], size, seed, number))
    for number in range(late, late + rounds):
        cohort = circle.draw(MANY[:8], size, seed, number)
        circle.took_part(cohort)
        taken.update(cohort)
    # Of 24 * size turns each of eight banks has 3 * size, but for those that are made up for.
    assert 3 * size - 1 <= taken[MANY[7]] <= 3 * size + 1 + MADE_UP
    others = [taken[bank] for bank in MANY[:7]]
    assert max(others) - min(others) <= 2


def test_with_a_cohort_and_no_secure_aggregation_each_round_asks_a_few_in_turn(consortium: Make) -> None:
    one = consortium(**OPEN, rounds=6, cohort=2)
    outcome = run_phase(one.phase(), ())
    assert (outcome["status"], outcome["banks"], outcome["rounds"]) == ("completed", 6, 6)
    asked = cohorts(one)
    assert [len(asked[number]) for number in range(1, 7)] == [2] * 6
    assert Counter(bank for cohort in asked.values() for bank in cohort) == dict.fromkeys(BANKS, 2)
    assert asked[1] | asked[2] | asked[3] == asked[4] | asked[5] | asked[6] == set(BANKS)
    assert all(trained(one, bank) == [number for number in asked if bank in asked[number]] for bank in BANKS)
    # What is counted once is counted at all banks.
    for kind in ("join", "sketch", "evaluate"):
        banks = [
            bank for bank, request in zip(one.fleet.asked_of, one.fleet.asked, strict=True) if request.kind == kind
        ]
        assert sorted(banks) == sorted(BANKS)


def test_a_cohort_is_drawn_from_those_that_are_there_and_turns_stay_even(consortium: Make) -> None:
    one = consortium(**OPEN, rounds=9, cohort=2)

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        # Each bank goes for some rounds and comes back, but for two.
        gone = {2: "bank-01", 3: "bank-02", 4: "bank-03", 5: "bank-01", 6: "bank-04"}
        one.fleet.gone = {gone[request.round + 1]} if request.round + 1 in gone else set()
        return work()

    one.happening = happening
    outcome = run_phase(one.phase(), ())
    assert outcome["excluded"] == []
    turns = Counter(bank for cohort in cohorts(one).values() for bank in cohort)
    assert sum(turns.values()) == 18
    assert max(turns.values()) - min(turns.values()) <= 1


def test_a_bank_that_does_not_answer_its_turn_sits_out_and_is_asked_again(consortium: Make) -> None:
    one = consortium(**OPEN, rounds=6, cohort=3, quorum=0.6)
    one.happening = away({"bank-02"}, range(1, 5))
    outcome = run_phase(one.phase(), ())
    assert outcome["status"] == "completed"
    tried = [number for number, cohort in sorted(cohorts(one).items()) if "bank-02" in cohort]
    left_out = [item["round"] for item in outcome["excluded"]]
    assert left_out == [number for number in tried if number < 5]
    assert left_out != [1, 2, 3, 4]
    assert trained(one, "bank-02") == [number for number in tried if number >= 5]
    others = Counter(bank for cohort in cohorts(one).values() for bank in cohort - {"bank-02"})
    assert max(others.values()) - min(others.values()) <= 1


def test_a_resumed_round_asks_the_same_cohort_and_gets_the_same_bytes(consortium: Make) -> None:
    one = consortium(**{**PRIVATE, "rounds": 3, "cohort": 2})
    dead: list[str] = []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if (request.kind, request.round) == ("train", 2):
            dead.append(bank)
            if len(dead) == 2:
                raise KilledError
        return reply

    one.happening = happening
    with pytest.raises(KilledError):
        run_phase(one.phase(), ())
    run_phase(one.phase(), ())
    assert cohorts(one)[2] == set(dead)
    # Rounds that a bank was not asked in cost it nothing.
    charged = {bank: len(one.ledger(bank).mechanisms()) for bank in BANKS}
    assert charged == dict.fromkeys(BANKS, 1)
    assert all(len(set(copies)) == 1 for copies in one.fleet.sent.values())


FEW = {**PRIVATE, "rounds": 9, "cohort": 2, "privacy": {**PRIVATE["privacy"], "rounds_per_bank": 3}}


def test_noise_is_made_for_the_rounds_that_a_bank_takes_part_in_and_none_takes_part_in_more(consortium: Make) -> None:
    one = consortium(**FEW)
    assert run_phase(one.phase(), ())["rounds"] == 9
    assert {bank: len(trained(one, bank)) for bank in BANKS} == dict.fromkeys(BANKS, 3)
    all_rounds = plan_of(**FEW | {"privacy": PRIVATE["privacy"]})
    assert one.plan.noise_multiplier is not None
    assert all_rounds.noise_multiplier is not None
    assert one.plan.noise_multiplier < 0.95 * all_rounds.noise_multiplier
    target, delta = PRIVATE["privacy"]["epsilon"], one.plan.delta
    for bank in BANKS:
        paid = [mechanism_from_dict(facts) for facts in one.ledger(bank).mechanisms()]
        assert 0.98 * target < epsilon(paid, delta) <= target * (1 + 1e-6)


def test_when_those_that_are_left_had_all_their_rounds_the_phase_ends_and_says_so(consortium: Make) -> None:
    one = consortium(**FEW)
    phase = one.phase()
    phase.state.circle.gone = {"bank-02", "bank-05"}
    with pytest.raises(QuorumError, match=r"round 7: 0 banks can be.*bank-01: had its 3 rounds; bank-02: said no"):
        run_phase(phase, ())
    assert {bank: len(trained(one, bank)) for bank in BANKS if bank not in phase.state.circle.gone} == dict.fromkeys(
        ("bank-01", "bank-03", "bank-04", "bank-06"), 3
    )


def models_sent(one: Consortium) -> dict[int, set[bytes]]:
    """Round to the models that went out whole in it."""
    found: dict[int, set[bytes]] = {}
    for request in one.fleet.asked:
        assert "delta" not in request.payloads
        if request.kind == "train" and "model" in request.payloads:
            found.setdefault(request.round, set()).add(request.payloads["model"])
    return found


def test_where_banks_take_turns_the_same_model_goes_whole_through_the_down_codec_to_each(consortium: Make) -> None:
    one = consortium(**OPEN, rounds=6, cohort=2, codec={"down": "int8"})
    one.happening = dying_in(round_number=4)
    with pytest.raises(KilledError):
        run_phase(one.phase(), ())
    phase = one.phase()
    run_phase(phase, ())
    sent, shape = models_sent(one), model_layout(phase)
    # In the first round everybody computes the public start; a resumed round sends the very same again.
    assert {number: len(models) for number, models in sent.items()} == dict.fromkeys(range(2, 7), 1)
    for (model,) in sent.values():
        assert np.isfinite(decode(model, shape, expected="int8")).all()
    # What the codec rounded off is not lost: it waits for the next model.
    assert 0 < np.abs(phase.state.lag).max() < 0.1
    assert np.array_equal(phase.state.model, decode(phase.state.whole, shape))


def dying_in(round_number: int) -> Callable[..., Reply]:
    """The coordinator is killed once, when a bank has answered in a round."""
    dead: list[str] = []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if (request.kind, request.round) == ("train", round_number) and not dead:
            dead.append(bank)
            raise KilledError
        return reply

    return happening


# Late, and lost.


def test_a_bank_that_joins_late_gets_the_model_whole_and_takes_part_from_then_on(consortium: Make) -> None:
    one = consortium(**OPEN, rounds=5)
    one.happening = away({"bank-03"}, range(3), ("join", "sketch", "train"))
    phase = one.phase()
    outcome = run_phase(phase, ())
    assert trained(one, "bank-03") == [3, 4, 5]
    assert [figures["banks"] for figures in phase.state.history] == [5, 5, 6, 6, 6]
    sent = [
        request
        for bank, request in zip(one.fleet.asked_of, one.fleet.asked, strict=True)
        if bank == "bank-03" and request.kind == "train"
    ]
    assert [set(request.payloads) for request in sent[2:]] == [{"plan", "encoder", "model"}, {"delta"}, {"delta"}]
    assert (outcome["banks"], outcome["status"]) == (6, "completed")


def test_too_few_banks_end_the_phase_naming_each_and_why(consortium: Make) -> None:
    one = consortium(**OPEN, rounds=2, attempts=2)
    set_policy(one.folders / "bank-06", caps={"rounds": {"total": 1}})
    one.happening = away({"bank-02", "bank-05"}, range(2, 3))
    with pytest.raises(QuorumError, match=r"train in round 2: 3 of 6 banks answered, the quorum is 5") as told:
        run_phase(one.phase(), ())
    said = str(told.value).split("attempts were made. ")[1]
    assert [part.split(":")[0] for part in said.split("; bank-")] == ["bank-06", "02", "05"]
    assert "bank-02: not connected" in said
    assert "caps.rounds.total is 1" in said


def test_too_few_of_a_cohort_end_the_phase_naming_those_that_were_asked(consortium: Make) -> None:
    one = consortium(**OPEN, rounds=2, attempts=2, cohort=3, quorum=1.0)
    one.happening = away(set(BANKS[:4]), range(1, 3))
    with pytest.raises(QuorumError, match=r"train in round 1: \d of 3 banks answered") as told:
        run_phase(one.phase(), ())
    last = cohorts(one, attempt=2)[1]
    assert {bank for bank in BANKS if bank in str(told.value)} == last & set(BANKS[:4])
