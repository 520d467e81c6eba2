"""The gate over time: a request is one release, whatever dies, comes twice, or is restored from an older copy."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from memory_fleet import MADE_UP, PRIVATE, asking, draft_of, make_bank, plan_of, plan_with

from bank_nodes.gate.checks import Draft
from bank_nodes.gate.release import Gate
from fraudfl.errors import ReleaseRefused, WireError, WorkFailed
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.protocols import KINDS, Kind, Reply, Request
from fraudfl.transfer.frame import frame

OPEN, CLOSED = plan_of(), plan_of(**PRIVATE)
OTHER_COHORT = hashlib.sha256(b"fewer").hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bank(tmp_path_factory.mktemp("made") / "bank-01").path


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> BankFolder:
    """A bank that has heard of no plan."""
    return BankFolder(shutil.copytree(made, tmp_path / "bank-01"))


@pytest.fixture
def gate(folder: BankFolder) -> Gate:
    """The gate of a bank that has taken both plans."""
    gate = Gate(folder)
    for plan in (OPEN, CLOSED):
        gate.join(asking(plan, "join"))
    return gate


def ledger_of(folder: BankFolder) -> Ledger:
    return Ledger(folder.path / "ledger.db")


def events_of(folder: BankFolder, request: Request) -> list[str]:
    return [entry.event for entry in ledger_of(folder).entries() if entry.key == request.key]


def never(_plan: Plan) -> Draft:
    raise AssertionError("the gate let work begin")


def raising(_plan: Plan) -> Draft:
    raise KeyError("Jane Roe 4929-1111")


def update(plan: Plan) -> Draft:
    return draft_of(plan, "train")


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_redelivered_request_of_any_kind_gets_the_same_bytes_and_costs_nothing(
    folder: BankFolder, kind: Kind
) -> None:
    plan = plan_with(kind)
    request = asking(plan, kind, payloads={"plan": plan.canonical_json()})
    first = Gate(folder).answer(request, lambda plan: draft_of(plan, kind, seed=1))
    again = Gate(BankFolder(folder.path)).answer(request, never)
    assert frame(first) == frame(again)
    assert again.entry == first.entry
    assert events_of(folder, request) == ["reserved", "released", "resent"]


def test_another_attempt_and_another_cohort_are_new_releases(gate: Gate, folder: BankFolder) -> None:
    for facts in ({}, {"attempt": 2}, {"cohort": OTHER_COHORT}):
        gate.answer(asking(CLOSED, **facts), update)
    assert len(ledger_of(folder).mechanisms()) == 3


def test_two_deliveries_at_once_are_one_release(gate: Gate, folder: BankFolder) -> None:
    works: list[int] = []
    started = threading.Event()

    def slow(plan: Plan) -> Draft:
        works.append(1)
        started.set()
        threading.Event().wait(0.3)
        return draft_of(plan, "train", seed=len(works))

    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(Gate(folder).answer(asking(CLOSED), slow))) for _ in range(2)
    ]
    threads[0].start()
    started.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert len(works) == 1
    assert frame(replies[0]) == frame(replies[1])


def die(_plan: Plan) -> Draft:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def in_a_process_that_dies(work: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_process_killed_at_its_work_is_charged_once_and_the_same_request_completes_it(
    gate: Gate, folder: BankFolder
) -> None:
    for _ in range(2):
        in_a_process_that_dies(lambda: gate.answer(asking(CLOSED), die))
        assert events_of(folder, asking(CLOSED)) == ["reserved"]
    assert len(ledger_of(folder).mechanisms()) == 1
    reply = gate.answer(asking(CLOSED), update)
    assert frame(gate.answer(asking(CLOSED), never)) == frame(reply)
    assert len(ledger_of(folder).mechanisms()) == 1
    ledger_of(folder).verify()


def test_work_that_raised_under_a_private_plan_is_charged_and_its_key_is_used_up(
    gate: Gate, folder: BankFolder
) -> None:
    """Whether it fails may depend on rows: a coordinator that could ask again would have a question for each key."""
    with pytest.raises(WorkFailed, match=r"^the work for this request failed at the bank$"):
        gate.answer(asking(CLOSED), raising)
    for _ in range(2):
        with pytest.raises(ReleaseRefused, match="ask again as another attempt"):
            gate.answer(asking(CLOSED), never)
    gate.answer(asking(CLOSED, attempt=2), update)
    assert len(ledger_of(folder).mechanisms()) == 2
    assert events_of(folder, asking(CLOSED))[:2] == ["reserved", "refused"]
    assert not any("Jane" in entry.note for entry in ledger_of(folder).entries())


def test_work_that_raised_in_the_open_may_be_done_again(gate: Gate, folder: BankFolder) -> None:
    with pytest.raises(KeyError):
        gate.answer(asking(OPEN), raising)
    with pytest.raises(WireError, match="needs"):
        gate.answer(asking(OPEN), lambda plan: replace(update(plan), payloads={}))
    gate.answer(asking(OPEN), update)
    assert events_of(folder, asking(OPEN)) == ["reserved", "refused", "refused", "released"]


def test_a_reservation_left_open_is_completed_when_the_budget_is_used_up(gate: Gate, folder: BankFolder) -> None:
    class PowerCutError(BaseException):
        """Ends the work as the death of the process does: nothing is written after it."""

    def cut(_plan: Plan) -> Draft:
        raise PowerCutError

    with pytest.raises(PowerCutError):
        gate.answer(asking(CLOSED, round=3), cut)
    for number in (1, 2):
        gate.answer(asking(CLOSED, round=number), update)
    gate.answer(asking(CLOSED, round=3), update)
    with pytest.raises(ReleaseRefused, match="allows 3 releases"):
        gate.answer(asking(CLOSED, round=3, attempt=2), never)
    assert len(ledger_of(folder).mechanisms()) == 3


def test_a_kept_reply_that_was_changed_on_disk_is_not_sent(gate: Gate, folder: BankFolder) -> None:
    gate.answer(asking(OPEN), update)
    with closing(sqlite3.connect(folder.path / "ledger.db")) as connection, connection:
        connection.execute("UPDATE replies SET reply = X'00' WHERE key LIKE '%/train/%'")
    with pytest.raises(ReleaseRefused, match="was changed on disk"):
        gate.answer(asking(OPEN), never)


def test_a_reply_that_was_acknowledged_is_not_made_again(gate: Gate, folder: BankFolder) -> None:
    gate.answer(asking(CLOSED), update)
    gate.answer(asking(CLOSED, round=2, acknowledged=1), update)
    with pytest.raises(ReleaseRefused, match="its bytes are gone"):
        gate.answer(asking(CLOSED), never)
    assert ledger_of(folder).kept(asking(CLOSED, round=2).key) is not None


def test_another_phase_instances_acknowledgement_drops_nothing_of_this_one(gate: Gate) -> None:
    reply = gate.answer(asking(OPEN), update)
    gate.answer(asking(OPEN, instance="another", acknowledged=3), update)
    assert frame(gate.answer(asking(OPEN), never)) == frame(reply)


@pytest.fixture
def forgetful(gate: Gate, folder: BankFolder) -> Reply:
    """The reply that a bank has forgotten, since its ledger was restored from a copy made before."""
    shutil.copy(folder.path / "ledger.db", folder.path / "backup.db")
    reply = gate.answer(asking(CLOSED), update)
    shutil.copy(folder.path / "backup.db", folder.path / "ledger.db")
    return reply


def seeing(reply: Reply, kind: Kind = "train", plan: Plan = OPEN, **facts: int) -> Request:
    return asking(plan, kind, seen=reply.entry, seen_hash=reply.entry_hash, **facts)


def test_a_ledger_restored_from_an_older_copy_lets_nothing_leave_however_often_it_is_asked(
    forgetful: Reply, folder: BankFolder
) -> None:
    before = ledger_of(folder).head()
    for kind in (*KINDS, *KINDS):
        with pytest.raises(ReleaseRefused, match=f"ledger lacks entry {forgetful.entry} as the coordinator has seen"):
            Gate(folder).answer(seeing(forgetful, kind), never)
    assert ledger_of(folder).head() == before


def test_a_restored_ledger_that_was_written_on_does_not_pass_for_the_one_that_was_seen(
    forgetful: Reply, folder: BankFolder
) -> None:
    while ledger_of(folder).head()[0] <= forgetful.entry:
        ledger_of(folder).note("life goes on")
    with pytest.raises(ReleaseRefused, match="ledger lacks entry"):
        Gate(folder).answer(seeing(forgetful), never)


def test_a_restored_ledger_that_was_mended_lets_things_leave_again(forgetful: Reply, folder: BankFolder) -> None:
    mechanism = CLOSED.round_mechanism
    assert mechanism is not None
    ledger_of(folder).restore(forgetful.entry, [mechanism.to_dict()], "from last night's backup", CLOSED.hash)
    reply = Gate(folder).answer(seeing(forgetful, plan=CLOSED, round=2), update)
    assert reply.entry > forgetful.entry
    assert len(ledger_of(folder).mechanisms()) == 2


def test_a_coordinator_that_has_seen_all_there_is_is_answered(gate: Gate) -> None:
    first = gate.answer(asking(CLOSED), update)
    second = gate.answer(seeing(first, plan=CLOSED, round=2), update)
    assert second.entry > first.entry
    assert second.entry_hash != first.entry_hash


def test_the_ledger_keeps_the_mechanism_so_that_others_can_compute_epsilon(gate: Gate, folder: BankFolder) -> None:
    gate.answer(asking(CLOSED), update)
    (facts,) = ledger_of(folder).mechanisms()
    assert DpSgd.from_dict(facts) == CLOSED.round_mechanism
