"""Adding up: what a coordinator makes of replies that are wrong, of banks that fail, and of what it may ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_fleet import SECURE, Consortium, set_policy
from sealed_runs import Meant, openings, overhear

from bank_nodes.gate.checks import Draft
from fraudfl.errors import QuorumError
from fraudfl.protocols import Reply, Request
from pipelines.asking import Enclosed
from pipelines.encoding import join
from pipelines.summing import Summed, add_up
from pipelines.turns import fewest
from pipelines.world import Phase, State

Make = Callable[..., Consortium]
BANKS = tuple(f"bank-0{number}" for number in range(1, 7))
ILL = "bank-02"


@pytest.fixture(scope="module")
def joined(shared: Make) -> Consortium:
    """Six banks that know each other's keys."""
    one = shared("joined", **SECURE)
    phase = one.phase()
    join(phase)
    phase.state.encoder = b"none yet"
    phase.save()
    return one


@pytest.fixture
def one(joined: Consortium, tmp_path: Path) -> Consortium:
    return joined.copy(tmp_path)


@pytest.fixture
def meant(monkeypatch: pytest.MonkeyPatch) -> Meant:
    return overhear(monkeypatch)


def fresh(one: Consortium) -> Phase:
    phase = one.phase()
    phase.state = State.from_checkpoint(one.checkpoints.latest())[0]
    return phase


def summed(one: Consortium) -> tuple[Summed, Phase]:
    phase = fresh(one)
    return add_up(phase, "sketch", 0, lambda _bank: Enclosed()), phase


def changing(kind: str, change: Callable[[Reply], Reply | None]) -> Callable[..., Reply | None]:
    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        reply = work()
        return change(reply) if (bank, request.kind, request.attempt) == (ILL, kind, 1) else reply

    return happening


def spoiled(reply: Reply, name: str, data: bytes) -> Reply:
    return replace(reply, payloads={**reply.payloads, name: data})


UPLOADS: dict[str, Callable[[Reply], Reply | None]] = {
    "silent": lambda reply: None,
    "empty": lambda reply: replace(reply, payloads={}),
    "cut short": lambda reply: spoiled(reply, "sketch", reply.payloads["sketch"][:-1]),
    "too long": lambda reply: spoiled(reply, "sketch", reply.payloads["sketch"] + b"\0"),
    "another's": lambda reply: replace(reply, bank="bank-01"),
    "another key": lambda reply: replace(reply, key=reply.key.replace("/0/1/", "/0/2/")),
}


@pytest.mark.parametrize("name", sorted(UPLOADS))
def test_an_upload_that_is_wrong_counts_as_lost_and_the_sum_of_the_others_is_exact(
    one: Consortium, meant: Meant, name: str
) -> None:
    one.happening = changing("sketch", UPLOADS[name])
    found, phase = summed(one)
    others = [bank for bank in BANKS if bank != ILL]
    assert found.banks == frozenset(others)
    assert found.vectors["sketch"].tolist() == meant.summed("sketch", 0, 1, "sketch", others).tolist()
    assert [item["bank"] for item in phase.state.excluded] == [ILL]
    assert set(phase.state.circle.turns) == set(others)


REVEALS: dict[str, Callable[[Reply], Reply | None]] = {
    "garbage": lambda reply: spoiled(reply, "reveal", b"{}"),
    "altered": lambda reply: spoiled(reply, "reveal", reply.payloads["reveal"].replace(b'"own":"', b'"own":"0', 1)),
    "another's name": lambda reply: spoiled(
        reply, "reveal", reply.payloads["reveal"].replace(b'"bank-02"', b'"bank-03"')
    ),
    "missing": lambda reply: replace(reply, payloads={}),
}


@pytest.mark.parametrize("name", sorted(REVEALS))
def test_a_reveal_that_is_wrong_ends_the_attempt_by_name_and_another_one_is_made(
    one: Consortium, meant: Meant, name: str
) -> None:
    one.happening = changing("reveal", REVEALS[name])
    found, _ = summed(one)
    (dropped,) = one.events("dropped")
    assert "no reveal from bank-02; every survivor's is needed" in dropped["reason"]
    assert found.vectors["sketch"].tolist() == meant.summed("sketch", 0, 2, "sketch", found.banks).tolist()
    assert len(openings(one, "reveal")) == 2


CONFIRMATIONS: dict[str, Callable[[Reply], Reply | None]] = {
    "garbage": lambda reply: spoiled(reply, "confirmation", b"{}"),
    "of other banks": lambda reply: spoiled(
        reply, "confirmation", reply.payloads["confirmation"].replace(b'"bank-06"', b'"bank-16"')
    ),
    "another's": lambda reply: spoiled(
        reply, "confirmation", reply.payloads["confirmation"].replace(b'"bank":"bank-02"', b'"bank":"bank-03"')
    ),
    "missing": lambda reply: replace(reply, payloads={}),
}


@pytest.mark.parametrize("name", sorted(CONFIRMATIONS))
def test_a_confirmation_that_is_wrong_is_not_counted_and_the_others_are_enough(
    one: Consortium, meant: Meant, name: str
) -> None:
    one.happening = changing("confirm", CONFIRMATIONS[name])
    found, phase = summed(one)
    assert found.banks == frozenset(BANKS)
    assert found.vectors["sketch"].tolist() == meant.summed("sketch", 0, 1, "sketch", BANKS).tolist()
    assert [item["bank"] for item in phase.state.excluded] == [ILL]


def test_attempts_end_where_the_plan_says_naming_the_last_reason(one: Consortium) -> None:
    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        return None if bank in BANKS[:3] and request.kind == "reveal" else work()

    one.happening = happening
    with pytest.raises(
        QuorumError, match=r"sketch in round 0: no sum was opened in 3 attempts; the last: .*no reveal f"
    ):
        summed(one)
    assert [event["attempt"] for event in one.events("dropped")] == [1, 2, 3]
    assert all(len(banks) <= 6 for banks in openings(one, "reveal").values())


@pytest.mark.parametrize(
    ("quorum", "cohort", "expected"), [(0.7, None, 5), (0.1, None, 4), (1.0, None, 6), (0.5, 5, 4), (1.0, 5, 5)]
)
def test_a_sum_needs_the_minimum_cohort_and_the_quorum_of_those_asked(
    one: Consortium, quorum: float, cohort: int | None, expected: int
) -> None:
    phase = fresh(one)
    phase.terms = replace(phase.terms, quorum=quorum, cohort=cohort)
    assert fewest(phase, "train") == expected


def test_only_rounds_of_training_take_turns(one: Consortium) -> None:
    phase = fresh(one)
    phase.terms = replace(phase.terms, quorum=1.0, cohort=4)
    assert (fewest(phase, "train"), fewest(phase, "evaluate")) == (4, 6)


def test_where_too_few_are_ready_those_who_rest_are_called_back(one: Consortium) -> None:
    phase = fresh(one)
    for bank in BANKS[:3]:
        phase.state.circle.rests[bank] = (50, 64)
    found = add_up(phase, "sketch", 0, lambda _bank: Enclosed())
    assert found.banks == frozenset(BANKS)
    assert phase.state.circle.rests == {}


def test_a_phase_with_too_few_members_ends_before_anybody_is_asked(one: Consortium) -> None:
    phase = fresh(one)
    phase.state.circle.members = set(BANKS[:3])
    phase.state.next_look = float("inf")
    with pytest.raises(QuorumError, match="round 0: 3 banks can be asked, and a sum needs 5"):
        add_up(phase, "sketch", 0, lambda _bank: Enclosed())
    assert one.fleet.asked == []


def test_a_bank_that_says_no_twice_is_gone_for_the_phase(one: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    set_policy(one.folders / ILL, caps={"rounds": {"total": 0}})
    monkeypatch.setattr("bank_nodes.answers.tasks.Tasks.train", stand_in(9))
    phase = fresh(one)
    for number, gone in ((1, set()), (2, {ILL}), (3, {ILL})):
        # After the first no it may only have lost the keys: it is handed them again.
        phase.state.next_look = 0.0
        found = add_up(phase, "train", number, lambda _bank: Enclosed(), 9)
        assert found.banks == frozenset(BANKS) - {ILL}
        assert phase.state.circle.gone == gone
        phase.state.round = number
    asked = [request.round for bank, request in zip(one.fleet.asked_of, one.fleet.asked, strict=True)
             if (bank, request.kind) == (ILL, "train")]  # fmt: skip
    assert asked == [1, 2]


def stand_in(width: int) -> Callable[..., Any]:
    """A bank's training in a test that looks at who is asked, not at what is learned."""

    def train(_self: Any, _request: Request, plan: Any) -> Draft:
        size = plan.model.size(width)
        return Draft(vectors={"update": np.zeros(size)}, width=width, mechanism=plan.round_mechanism)

    return train
