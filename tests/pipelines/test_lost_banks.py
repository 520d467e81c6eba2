"""Sums whose banks are lost, late, capped or without keys, and rounds within which the coordinator dies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_fleet import SECURE, Consortium, Happening, KilledError, set_policy
from sealed_runs import Meant, begin, go_on, openings, overhear

from fraudfl.errors import QuorumError
from fraudfl.protocols import Answer, Reply, Request

Make = Callable[..., Consortium]
TWO_ROUNDS = {**SECURE, "rounds": 2}
ONE_EXCHANGE = {**TWO_ROUNDS, "secure_aggregation": {"min_cohort": 4, "colluding": 1, "recover": False}}
BANKS = tuple(f"bank-0{number}" for number in range(1, 7))


@pytest.fixture(scope="module")
def begun(shared: Make) -> Consortium:
    """A phase before its first round, to be copied."""
    return begin(shared("begun", **TWO_ROUNDS))


@pytest.fixture
def one(begun: Consortium, tmp_path: Path) -> Consortium:
    return begun.copy(tmp_path)


@pytest.fixture
def meant(monkeypatch: pytest.MonkeyPatch) -> Meant:
    return overhear(monkeypatch)


def silent(banks: set[str], kind: str, number: int = 1, attempts: tuple[int, ...] = (1,)) -> Happening:
    """These banks do what they are asked, and nothing of it arrives."""

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        reply = work()
        lost = bank in banks and (request.kind, request.round) == (kind, number) and request.attempt in attempts
        return None if lost else reply

    return happening


def asked(one: Consortium) -> list[tuple[str, Request]]:
    return list(zip(one.fleet.asked_of, one.fleet.asked, strict=True))


# Who is lost.


def mean_step(one: Consortium, meant: Meant, attempt: int, banks: tuple[str, ...]) -> np.ndarray[Any, Any]:
    start = one.checkpoints.kept[0].arrays["model"]
    return np.asarray(start + meant.summed("train", 1, attempt, "update", banks) / len(banks))


def after_round_1(one: Consortium) -> np.ndarray[Any, Any]:
    return np.asarray(next(kept for kept in one.checkpoints.kept if kept.round == 1).arrays["model"])


def one_set_each(one: Consortium) -> None:
    """No bank spoke twice about one attempt, and no two banks for different sets."""
    for kind in ("confirm", "reveal"):
        for banks in openings(one, kind).values():
            assert {len(sets) for sets in banks.values()} == {1}
            assert len({sets[0] for sets in banks.values()}) == 1


def test_banks_lost_before_they_upload_are_left_out_of_an_exact_sum_and_back_in_the_next_round(
    one: Consortium, meant: Meant
) -> None:
    # The quorum of six banks at 0.7 is five; the minimum cohort is four.
    one.config = one.config.model_copy(update={"phases": (one.config.phases[0].model_copy(update={"quorum": 0.6}),)})
    one.happening = silent({"bank-05", "bank-06"}, "train")
    phase = go_on(one)
    four = BANKS[:4]
    # Each of four banks rounds each entry by less than a step of 2^-20; then float32.
    np.testing.assert_allclose(after_round_1(one), mean_step(one, meant, 1, four), rtol=0, atol=2**-20 + 1e-7)
    assert [figures["banks"] for figures in phase.state.history] == [4, 6]
    assert {(item["bank"], item["round"]) for item in phase.state.excluded} == {("bank-05", 1), ("bank-06", 1)}
    one_set_each(one)
    (revealed,) = (banks for key, banks in openings(one, "reveal").items() if "/1/1/reveal-train/" in key)
    assert set(revealed) == set(four)


def test_an_upload_that_comes_after_its_bank_was_declared_lost_stays_unused(one: Consortium, meant: Meant) -> None:
    coming: list[tuple[Request, Answer]] = []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        reply = work()
        if (bank, request.kind, request.round) == ("bank-06", "train", 1):
            coming.append((request, Answer(bank=bank, reply=reply, bytes_up=11)))
            return None
        if coming and request.kind == "confirm":
            one.fleet.overdue.append(coming.pop())
        return reply

    one.happening = happening
    phase = go_on(one)
    assert phase.state.late == 1
    np.testing.assert_allclose(after_round_1(one), mean_step(one, meant, 1, BANKS[:5]), rtol=0, atol=2**-20 + 1e-7)
    assert ("bank-06", 1) in {(item["bank"], item["round"]) for item in phase.state.excluded}
    # Its own masks for that attempt are in no reveal of its own.
    assert all("bank-06" not in banks for key, banks in openings(one, "reveal").items() if "/1/1/reveal-train/" in key)


def test_a_bank_lost_while_unmasking_ends_the_attempt_by_name_and_the_next_works_without_it(
    one: Consortium, meant: Meant
) -> None:
    one.happening = silent({"bank-06"}, "reveal")
    phase = go_on(one)
    (dropped,) = one.events("dropped")
    assert (dropped["kind"], dropped["round"], dropped["attempt"]) == ("train", 1, 1)
    assert "no reveal from bank-06; every survivor's is needed" in dropped["reason"]
    np.testing.assert_allclose(after_round_1(one), mean_step(one, meant, 2, BANKS[:5]), rtol=0, atol=2**-20 + 1e-7)
    assert phase.state.history[0]["banks"] == 5
    one_set_each(one)


def test_too_few_survivors_open_nothing_and_end_the_phase_naming_what_happened(one: Consortium) -> None:
    one.happening = silent({"bank-04", "bank-05", "bank-06"}, "train", attempts=(1, 2, 3))
    with pytest.raises(QuorumError, match=r"(a sum needs 5|no sum was opened in 3 attempts)"):
        go_on(one)
    reasons = [event["reason"] for event in one.events("dropped")]
    assert "3 of 6 banks answered; no sum over fewer than 4 is opened" in reasons
    assert not [key for key in openings(one, "reveal") if "reveal-train" in key]


def test_too_few_signatures_over_one_set_reveal_nothing(one: Consortium) -> None:
    one.happening = silent(set(BANKS[1:4]), "confirm", attempts=(1, 2, 3))
    with pytest.raises(QuorumError):
        go_on(one)
    reasons = [event["reason"] for event in one.events("dropped")]
    assert reasons[0] == "3 banks confirmed who is in the sum, and 4 are needed"
    assert not [key for key in openings(one, "reveal") if "reveal-train" in key]


@pytest.mark.parametrize("capped", [1, 3])
def test_banks_whose_cap_is_reached_are_left_out_and_below_the_minimum_the_phase_ends(
    one: Consortium, capped: int
) -> None:
    for bank in BANKS[:capped]:
        set_policy(one.folders / bank, caps={"rounds": {"total": 1}})
    if capped == 1:
        phase = go_on(one)
        assert [figures["banks"] for figures in phase.state.history] == [6, 5]
        assert any("caps.rounds.total is 1" in item["reason"] for item in phase.state.excluded)
        return
    with pytest.raises(QuorumError, match=r"(banks can be asked, and a sum needs 5|no sum was opened)"):
        go_on(one)
    reasons = [event["reason"] for event in one.events("excluded")]
    assert sum("caps.rounds.total is 1" in reason for reason in reasons) >= 3
    assert one.checkpoints.latest().round == 1


def away(one: Consortium) -> Happening:
    def happening(bank: str, _request: Request, work: Callable[[], Reply]) -> Reply | Answer:
        if bank in one.fleet.gone:
            return Answer(bank=bank, reply=None, reason="is not connected", code="away")
        return work()

    return happening


def test_a_bank_that_comes_late_is_admitted_and_all_banks_get_keys_anew(consortium: Make) -> None:
    one = consortium(**TWO_ROUNDS)
    one.fleet.gone, one.happening = {"bank-03"}, away(one)
    begin(one)
    first = one.checkpoints.latest().facts["circle"]
    assert sorted(first["members"]) == [bank for bank in BANKS if bank != "bank-03"]
    one.fleet.gone.clear()
    phase = go_on(one)
    assert [figures["banks"] for figures in phase.state.history] == [6, 6]
    assert phase.state.circle.members == set(BANKS)
    assert phase.state.circle.digest != first["digest"]
    handed = [bank for bank, request in asked(one) if request.cohort == phase.state.circle.digest]
    assert sorted(handed) == sorted(BANKS)


def test_a_bank_that_lost_its_keys_is_left_out_and_the_others_go_on(one: Consortium) -> None:
    shutil.rmtree(one.folders / "bank-02" / "secagg")
    phase = go_on(one)
    assert [figures["banks"] for figures in phase.state.history] == [5, 5]
    assert {item["bank"] for item in phase.state.excluded} == {"bank-02"}


# What dies.


@pytest.mark.parametrize(
    ("kind", "bank"), [("train", "bank-03"), ("confirm", "bank-03"), ("reveal", "bank-03"), ("reveal", "bank-06")]
)
def test_a_coordinator_killed_within_a_secure_round_gets_the_same_bytes_and_no_bank_is_asked_for_more(
    one: Consortium, meant: Meant, kind: str, bank: str
) -> None:
    dead: list[bool] = []

    def happening(who: str, request: Request, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if (who, request.kind, request.round) == (bank, kind, 1) and not dead:
            dead.append(True)
            one.fleet.sent.setdefault((who, request.key), []).append(b"lost")
            raise KilledError
        return reply

    one.happening = happening
    with pytest.raises(KilledError):
        go_on(one)
    first = {place: copies[0] for place, copies in one.fleet.sent.items() if copies[0] != b"lost"}
    phase = go_on(one)
    assert [figures["banks"] for figures in phase.state.history] == [6, 6]
    assert phase.state.excluded == []
    for place, data in first.items():
        assert set(one.fleet.sent[place]) == {data}
    np.testing.assert_allclose(after_round_1(one), mean_step(one, meant, 1, BANKS), rtol=0, atol=2**-20 + 1e-7)
    for who in BANKS:
        entries = one.ledger(who).entries()
        keys = [entry.key for entry in entries if entry.event == "reserved"]
        assert len(set(keys)) == len(keys)
        assert sum(entry.kind == "train" and entry.event == "released" for entry in entries) == 2
    one_set_each(one)


def test_a_phase_killed_over_its_first_sum_begins_again_with_the_same_keys_and_bytes(
    consortium: Make, meant: Meant
) -> None:
    one = consortium(**TWO_ROUNDS)
    dead: list[bool] = []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if (bank, request.kind) == ("bank-04", "reveal") and not dead:
            dead.append(True)
            raise KilledError
        return reply

    one.happening = happening
    with pytest.raises(KilledError):
        begin(one)
    begin(one)
    assert {len(set(copies)) for copies in one.fleet.sent.values()} == {1}
    total = meant.summed("sketch", 0, 1, "sketch", BANKS)
    assert {entry.key for bank in BANKS for entry in one.ledger(bank).entries()
            if (entry.event, entry.kind) == ("released", "sketch")} == {next(iter(meant.vectors))[1]}  # fmt: skip
    assert total.sum() > 0
    one_set_each(one)


# One exchange.


def test_with_one_exchange_a_round_that_misses_a_bank_is_dropped_and_tried_without_it(
    consortium: Make, meant: Meant
) -> None:
    one = begin(consortium(**ONE_EXCHANGE))
    one.happening = silent({"bank-06"}, "train")
    phase = go_on(one)
    (dropped,) = one.events("dropped")
    assert "no answer from bank-06; a plan with one exchange needs the whole cohort" in dropped["reason"]
    np.testing.assert_allclose(after_round_1(one), mean_step(one, meant, 2, BANKS[:5]), rtol=0, atol=2**-20 + 1e-7)
    assert phase.state.history[0]["banks"] == 5
    assert {request.kind for request in one.fleet.asked} == {"join", "peers", "sketch", "train"}


def test_a_cohort_is_drawn_for_each_round_from_those_asked_least(consortium: Make) -> None:
    one = begin(consortium(**{**SECURE, "rounds": 3, "cohort": 4}))
    phase = go_on(one)
    cohorts = [
        {bank for bank, request in asked(one) if (request.kind, request.round) == ("train", number)}
        for number in (1, 2, 3)
    ]
    assert {len(cohort) for cohort in cohorts} == {4}
    # The sketch is everybody's and no turn; three rounds have twelve places for six banks.
    assert phase.state.circle.turns == dict.fromkeys(BANKS, 2)
    assert [figures["banks"] for figures in phase.state.history] == [4, 4, 4]
