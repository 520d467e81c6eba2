"""Asking over real gates: who is waited for and how long, who is left out and why, and what is remembered of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from memory_fleet import Consortium, KilledError, set_policy

from bank_nodes.rules.approvals import Approvals
from fraudfl.errors import QuorumError
from fraudfl.protocols import Answer, Refused, Reply, Request
from pipelines import asking
from pipelines.asking import Enclosed, ask
from pipelines.phase import run_phase
from pipelines.world import Phase, State

Make = Callable[..., Consortium]
ILL = "bank-02"
ALL = {f"bank-0{number}" for number in range(1, 7)}


class Clock:
    """Stands in for the `time` module: time passes when the fleet pauses, and a little whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asking, "time", clock)
    return clock


def patient(make: Make, clock: Clock, *, patience: float = 3600.0, quorum: float = 1.0, **phase: Any) -> Consortium:
    one = make(patience_seconds=patience, quorum=quorum, **phase)
    one.fleet.pausing = clock.pass_by
    return one


def join(phase: Phase) -> set[str]:
    plan = Enclosed(payloads={"plan": phase.plan.canonical_json()})
    return ask(phase, "join", 0, lambda _bank: plan, lambda _reply: None)


def asked_of(one: Consortium, bank: str) -> list[Request]:
    return [request for request, to in zip(one.fleet.asked, one.fleet.asked_of, strict=True) if to == bank]


def doing(one: Consortium, clock: Clock, *steps: Callable[[], object]) -> None:
    """Something happens during each of the next pauses."""
    left = list(steps)

    def pausing(seconds: float) -> None:
        clock.pass_by(seconds)
        if left:
            left.pop(0)()

    one.fleet.pausing = pausing


def answering(bank: str, code: Refused, times: int) -> Callable[..., Reply | Answer]:
    """The network answers for one bank, so many times."""
    left = [times]

    def happening(asked: str, request: Request, work: Callable[[], Reply]) -> Reply | Answer:
        if asked == bank and left[0]:
            left[0] -= 1
            return Answer(bank=bank, reply=None, reason="not connected", code=code, bytes_down=7)
        return work()

    return happening


def nothing() -> None:
    """Nobody does anything."""


# Who is waited for.


def test_a_bank_that_has_not_approved_is_asked_the_same_again_until_it_has(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock)
    set_policy(one.folders / ILL, approve={"automatic": False})
    doing(one, clock, nothing, nothing, lambda: Approvals(one.folders / ILL).decide(one.plan, "approve", "ann"))
    phase = one.phase()
    assert join(phase) == ALL
    first, *others = asked_of(one, ILL)
    assert len(others) == 3
    assert all(request == first for request in others)
    assert all(len(asked_of(one, bank)) == 1 for bank in ALL - {ILL})
    assert one.fleet.paused == [2.0, 2.0, 2.0]
    assert phase.state.excluded == []
    (waiting, *_) = one.events("waiting")
    assert list(waiting["banks"]) == [ILL]
    assert "waits for an approval at this bank" in waiting["banks"][ILL]


def test_a_bank_outside_its_hours_is_asked_again_when_they_begin(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock, patience=24 * 3600)
    phase = one.phase()
    join(phase)
    opening = (datetime.now(UTC) + timedelta(hours=6)).replace(minute=0, second=0, microsecond=0)
    set_policy(one.folders / ILL, hours={"windows": [f"daily {opening:%H}:00-{opening:%H}:30"]})
    doing(one, clock, lambda: set_policy(one.folders / ILL))
    assert ask(phase, "sketch", 0, lambda _bank: Enclosed(), lambda _reply: None) == ALL
    (paused,) = one.fleet.paused
    until_then = (opening - datetime.now(UTC)).total_seconds()
    assert until_then <= paused < until_then + 60
    sketches = [request for request in asked_of(one, ILL) if request.kind == "sketch"]
    assert len(sketches) == 2
    assert sketches[0] == sketches[1]


def test_a_bank_that_is_away_is_asked_the_same_again_until_it_is_back(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock)
    one.happening = answering(ILL, "away", 3)
    phase = one.phase()
    assert join(phase) == ALL
    first, *others = asked_of(one, ILL)
    assert [request == first for request in others] == [True] * 3
    assert one.events("waiting")[0] == {"banks": {ILL: "not connected"}}
    assert {request.attempt for request in one.fleet.asked} == {1}
    assert one.checkpoints.attempts == {("join", 0): 1}


def test_the_pause_is_short_while_anybody_may_come_at_any_time(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock)
    away = answering(ILL, "away", 1)

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | Answer:
        if bank == "bank-05" and not one.fleet.paused:
            opens = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            return Answer(bank=bank, reply=None, reason="not now", code="not-now", opens_at=opens)
        return away(bank, request, work)

    one.happening = happening
    assert join(one.phase()) == ALL
    assert one.fleet.paused == [2.0]


@pytest.mark.parametrize("opens_at", ["", "soon", "2025-01-15T22:00:00", "2025-01-15T22:00:00+01:00", "9" * 60])
def test_an_opening_that_is_past_or_cannot_be_read_means_a_short_pause(
    consortium: Make, clock: Clock, opens_at: str
) -> None:
    one = patient(consortium, clock)

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | Answer:
        if bank == ILL and not one.fleet.paused:
            return Answer(bank=bank, reply=None, reason="not now", code="not-now", opens_at=opens_at)
        return work()

    one.happening = happening
    assert join(one.phase()) == ALL
    assert one.fleet.paused == [2.0]


def test_with_a_quorum_nobody_is_waited_for_and_the_others_are_left_out_with_their_reasons(
    consortium: Make, clock: Clock
) -> None:
    one = patient(consortium, clock, quorum=0.5)
    set_policy(one.folders / "bank-01", approve={"automatic": False})
    one.happening = answering(ILL, "away", 99)
    phase = one.phase()
    assert join(phase) == ALL - {ILL, "bank-01"}
    assert one.fleet.paused == []
    assert len(one.fleet.asked) == 6
    reasons = {item["bank"]: item["reason"] for item in phase.state.excluded}
    assert reasons.pop(ILL) == "not connected"
    assert "waits for an approval" in reasons.pop("bank-01")
    assert reasons == {}
    assert ILL not in phase.state.joined


def test_patience_ends_and_leaves_a_bank_out_with_its_last_reason(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock, patience=5.0, quorum=1.0, attempts=2)
    one.happening = answering(ILL, "away", 99)
    phase = one.phase()
    with pytest.raises(QuorumError, match=r"join in round 0: 5 of 6 .* 2 attempts were made.*bank-02: not connected"):
        join(phase)
    assert [(item["bank"], item["reason"]) for item in phase.state.excluded] == [(ILL, "not connected")] * 2
    # 2 s, 2 s and what is left of 5 s, in either attempt.
    assert [round(seconds, 1) for seconds in one.fleet.paused] == [2, 2, 1, 2, 2, 1]
    assert {request.attempt for request in asked_of(one, ILL)} == {1, 2}


def test_without_patience_nobody_is_asked_twice(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock, patience=0.0, attempts=1)
    one.happening = answering(ILL, "away", 99)
    with pytest.raises(QuorumError):
        join(one.phase())
    assert (len(one.fleet.asked), one.fleet.paused) == (6, [])


@pytest.mark.parametrize("code", ["refused", "silent"])
def test_a_bank_that_says_no_for_good_or_nothing_at_all_is_not_waited_for(
    consortium: Make, clock: Clock, code: Refused
) -> None:
    one = patient(consortium, clock, attempts=1)
    one.happening = answering(ILL, code, 99)
    with pytest.raises(QuorumError, match="5 of 6 banks answered"):
        join(one.phase())
    assert one.fleet.paused == []


def test_what_was_taken_before_a_wait_is_taken_once_and_kept(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock)
    one.happening = answering(ILL, "away", 2)
    phase, taken, restarts = one.phase(), [], []
    plan = Enclosed(payloads={"plan": one.plan.canonical_json()})
    ask(phase, "join", 0, lambda _bank: plan, lambda reply: taken.append(reply.bank), lambda: restarts.append(1))
    assert sorted(taken) == sorted(ALL)
    assert taken[-1] == ILL
    assert len(restarts) == 1


def test_every_byte_of_every_question_is_counted_while_a_bank_is_waited_for(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock)
    set_policy(one.folders / ILL, approve={"automatic": False})
    doing(one, clock, nothing, lambda: Approvals(one.folders / ILL).decide(one.plan, "approve", "ann"))
    phase = one.phase()
    join(phase)
    up = sum(len(data) for copies in one.fleet.sent.values() for data in copies)
    assert (phase.state.meter.bytes_down, phase.state.meter.bytes_up) == (8 * 100, up + 2 * 50)


def test_a_coordinator_that_dies_while_it_waits_goes_on_with_the_same_attempt(consortium: Make, clock: Clock) -> None:
    one = patient(consortium, clock)
    one.happening = answering(ILL, "away", 1)

    def die() -> None:
        raise KilledError

    doing(one, clock, die)
    with pytest.raises(KilledError):
        join(one.phase())
    assert join(one.phase()) == ALL
    assert len({request.key for request in asked_of(one, "bank-01")}) == 1
    assert [len(set(copies)) for copies in one.fleet.sent.values()] == [1] * 6


def test_a_bank_that_missed_the_plan_is_offered_it_with_the_next_question(consortium: Make) -> None:
    one = consortium(quorum=0.5)
    one.happening = answering(ILL, "away", 1)
    phase = one.phase()
    join(phase)
    assert ask(phase, "sketch", 0, lambda _bank: Enclosed(), lambda _reply: None) == ALL
    sketch = asked_of(one, ILL)[-1]
    assert sketch.payloads == {"plan": one.plan.canonical_json()}
    assert asked_of(one, "bank-01")[-1].payloads == {}


# What the coordinator remembers of each bank's ledger.


def test_the_coordinator_tells_each_bank_the_highest_entry_of_its_ledger_that_it_has_seen(consortium: Make) -> None:
    one = consortium(rounds=2, baselines=[])
    phase = one.phase()
    run_phase(phase, ())
    last = {request.kind: request for request in asked_of(one, ILL)}["evaluate"]
    released = [entry for entry in one.ledger(ILL).entries() if entry.event == "released"]
    by_kind = {(entry.kind, entry.round): entry for entry in released}
    assert (last.seen, last.seen_hash) == (by_kind["train", 2].entry, by_kind["train", 2].hash)
    assert phase.state.seen[ILL] == (by_kind["evaluate", 2].entry, by_kind["evaluate", 2].hash)
    kept = phase.state.to_checkpoint({})
    assert State.from_checkpoint(kept)[0].seen == phase.state.seen


def test_a_bank_whose_ledger_was_restored_from_an_old_copy_is_left_out_by_name(consortium: Make) -> None:
    one = consortium(rounds=2, baselines=[])
    copy: list[bytes] = []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        path = one.folders / bank / "ledger.db"
        if (bank, request.kind) == (ILL, "train"):
            if request.round == 1:
                copy.append(path.read_bytes())
            else:
                path.write_bytes(copy[0])
        return work()

    one.happening = happening
    outcome = run_phase(one.phase(), ())
    assert [(item["bank"], item["round"]) for item in outcome["excluded"]] == [(ILL, 2), (ILL, 2)]
    assert all("restored from an older copy" in item["reason"] for item in outcome["excluded"])
