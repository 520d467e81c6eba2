"""The gate: no reply of any kind is made without passing it, and what it refuses is written down."""

from __future__ import annotations

import ast
import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from memory_fleet import MADE_UP, PRIVATE, asking, draft_of, make_bank, plan_of, plan_with, set_policy

import bank_nodes
from bank_nodes.gate.checks import MAX_REPLY_BYTES, Draft
from bank_nodes.gate.release import Gate
from fraudfl.errors import PlanError, PrivacyError, ReleaseRefused, TrustError
from fraudfl.folder import BankFolder
from fraudfl.introduction import Introduction
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.protocols import Kind, Request
from fraudfl.transfer.frame import frame

OPEN, CLOSED = plan_of(), plan_of(**PRIVATE)


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


def never(_plan: Plan) -> Draft:
    raise AssertionError("the gate let work begin")


def update(plan: Plan) -> Draft:
    return draft_of(plan, "train")


def offering(kind: Kind, plan: Plan | None = None) -> Request:
    plan = plan or plan_with(kind)
    return asking(plan, kind, payloads={"plan": plan.canonical_json()})


def refused(folder: BankFolder, request: Request) -> list[str]:
    """Reasons that the ledger gives for refusing a request, after checking that nothing of it exists to be sent."""
    entries = [entry for entry in ledger_of(folder).entries() if entry.key == request.key]
    assert {entry.event for entry in entries} <= {"reserved", "refused"}
    with closing(sqlite3.connect(folder.path / "ledger.db")) as connection:
        assert connection.execute("SELECT key FROM replies WHERE key = ?", (request.key,)).fetchall() == []
    return [entry.note for entry in entries if entry.event == "refused"]


def forbid(folder: BankFolder, event: str) -> None:
    """Let the ledger's file refuse entries of one kind, as a full disk does."""
    ledger_of(folder)
    with closing(sqlite3.connect(folder.path / "ledger.db")) as connection, connection:
        connection.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON entries WHEN NEW.event = '{event}' "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )


# Every kind of request: a reply exists only behind the gate.


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_reply_of_any_kind_is_reserved_before_the_work_and_kept_before_it_leaves(
    folder: BankFolder, kind: Kind
) -> None:
    request, seen = offering(kind), []

    def work(plan: Plan) -> Draft:
        seen.extend(entry.event for entry in ledger_of(folder).entries() if entry.key == request.key)
        return draft_of(plan, kind)

    reply = Gate(folder).answer(request, work)
    reserved, released = (entry for entry in ledger_of(folder).entries() if entry.key == request.key)
    assert seen == ["reserved"]
    assert (reserved.event, released.event, released.entry) == ("reserved", "released", reply.entry)
    assert ledger_of(folder).kept(request.key) == frame(reply)
    assert released.digest == hashlib.sha256(frame(reply)).hexdigest()
    assert dict(reply.payloads) == dict(draft_of(plan_with(kind), kind).payloads)


def raising(_plan: Plan) -> Draft:
    raise KeyError("Jane Roe 4929-1111")


WRONG_WORK: dict[str, tuple[Callable[[Kind], Callable[[Plan], Draft]], type[Exception]]] = {
    "raises": (lambda kind: raising, KeyError),
    "holds more than the plan lets out": (
        lambda kind: lambda plan: replace(draft_of(plan, kind), payloads={"rows": b"Jane Roe"}),
        ReleaseRefused,
    ),
    "tells a value of its own": (
        lambda kind: lambda plan: replace(draft_of(plan, kind), values={"accounts": 7}),
        ReleaseRefused,
    ),
}


@pytest.mark.parametrize("kind", MADE_UP)
@pytest.mark.parametrize("wrong", sorted(WRONG_WORK))
def test_work_of_any_kind_that_goes_wrong_makes_no_reply(folder: BankFolder, kind: Kind, wrong: str) -> None:
    (work, error), request = WRONG_WORK[wrong], offering(kind)
    with pytest.raises(error):
        Gate(folder).answer(request, work(kind))
    (reason,) = refused(folder, request)
    assert reason.startswith(error.__name__)
    assert "Jane Roe" not in "\n".join(ledger_of(folder).export_lines())


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_ledger_that_cannot_reserve_lets_no_work_of_any_kind_begin(folder: BankFolder, kind: Kind) -> None:
    forbid(folder, "reserved")
    with pytest.raises(PrivacyError, match="disk full"):
        Gate(folder).answer(offering(kind), never)
    assert len(refused(folder, offering(kind))) == 1


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_ledger_that_cannot_write_a_release_down_lets_no_reply_of_any_kind_exist(
    folder: BankFolder, kind: Kind
) -> None:
    forbid(folder, "released")
    with pytest.raises(PrivacyError, match="disk full"):
        Gate(folder).answer(offering(kind), lambda plan: draft_of(plan, kind))
    assert len(refused(folder, offering(kind))) == 1


@pytest.mark.parametrize("kind", MADE_UP)
@pytest.mark.parametrize("spoil", ["ledger.db", "approvals.jsonl"])
def test_a_record_that_cannot_be_read_lets_no_work_of_any_kind_begin(
    folder: BankFolder, kind: Kind, spoil: str
) -> None:
    (folder.path / spoil).write_bytes(b"not what was written\n" * 100)
    with pytest.raises((PrivacyError, TrustError)):
        Gate(folder).answer(offering(kind), never)


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_refusal_that_cannot_be_written_down_is_still_the_refusal(folder: BankFolder, kind: Kind) -> None:
    forbid(folder, "refused")
    with pytest.raises(ReleaseRefused, match="outside the plan's"):
        Gate(folder).answer(replace(offering(kind), attempt=9), never)


def test_nothing_in_the_banks_code_makes_a_reply_but_the_gate() -> None:
    makers: dict[str, set[str]] = {}
    for path in Path(bank_nodes.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                makers.setdefault(name, set()).add(path.name)
    assert makers["Reply"] == {"release.py"}
    # Openings read what was kept, to compare it with what is asked, and give nothing of it away.
    assert makers["unframe"] == {"release.py", "openings.py"}
    assert makers["reply_to_record"] == {"answering.py"}


# What the plan does not contain.


def test_a_plan_that_was_never_offered_is_refused(folder: BankFolder) -> None:
    with pytest.raises(ReleaseRefused, match="never offered here; join it first"):
        Gate(folder).answer(asking(OPEN), never)


def test_a_plan_under_anothers_hash_is_refused(folder: BankFolder) -> None:
    request = asking(OPEN, "join", payloads={"plan": CLOSED.canonical_json()})
    with pytest.raises(PlanError, match=f"hash is {CLOSED.hash[:12]}, the request says {OPEN.hash[:12]}"):
        Gate(folder).join(request)
    assert not (folder.path / "plans").exists()


def test_a_bank_says_which_release_it_runs_and_when_it_works(folder: BankFolder) -> None:
    set_policy(folder.path, hours={"zone": "Europe/Berlin", "windows": ["mon-fri 22:00-06:00"]})
    said = Introduction.from_values(Gate(folder).join(asking(OPEN, "join")).values)
    assert said == Introduction(software=version("fraudfl"), hours="mon-fri 22:00-06:00 (Europe/Berlin)")


def test_a_bank_that_keeps_its_hours_to_itself_does_not_tell_them(folder: BankFolder) -> None:
    set_policy(folder.path, hours={"windows": ["mon-fri 22:00-06:00"], "told": False})
    assert Introduction.from_values(Gate(folder).join(asking(OPEN, "join")).values).hours == ""


def test_a_request_to_join_without_a_plan_is_refused(folder: BankFolder) -> None:
    request = asking(OPEN, "join", payloads={})
    with pytest.raises(PlanError, match="brings no plan"):
        Gate(folder).join(request)
    assert refused(folder, request) == ["PlanError: the request to join brings no plan"]


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"version": 1}', b'{"version": 99}', b"\xff"])
def test_a_plan_that_cannot_be_read_is_refused(folder: BankFolder, text: bytes) -> None:
    with pytest.raises(PlanError):
        Gate(folder).join(asking(OPEN, "join", payloads={"plan": text}))
    assert not (folder.path / "plans").exists()


def test_a_plan_for_another_contract_is_refused(folder: BankFolder) -> None:
    other = OPEN.model_copy(update={"contract": OPEN.contract.model_copy(update={"currency": False})})
    with pytest.raises(PlanError, match="contract"):
        Gate(folder).join(asking(other, "join"))


def test_a_kept_plan_that_was_changed_on_disk_is_refused(gate: Gate, folder: BankFolder) -> None:
    path = folder.path / "plans" / f"{CLOSED.hash}.json"
    path.write_bytes(CLOSED.model_copy(update={"noise_multiplier": 0.01}).canonical_json())
    with pytest.raises(ReleaseRefused, match="was changed"):
        gate.answer(asking(CLOSED), never)


def test_a_plan_that_the_coordinator_changes_after_the_approval_is_another_plan(folder: BankFolder) -> None:
    changed = CLOSED.model_copy(update={"noise_multiplier": 0.01})
    Gate(folder).join(asking(CLOSED, "join"))
    with pytest.raises(PlanError, match="the plan's hash is"):
        Gate(folder).answer(replace(offering("train", changed), plan_hash=OPEN.hash), never)
    # Under the approved plan's hash, what comes along now is not looked at: the kept plan stands.
    reply = Gate(folder).answer(replace(offering("train", changed), plan_hash=CLOSED.hash), update)
    assert reply.key.startswith(CLOSED.hash)
    assert DpSgd.from_dict(ledger_of(folder).mechanisms()[0]) == CLOSED.round_mechanism


def test_a_kind_that_the_plan_does_not_contain_is_refused(gate: Gate, folder: BankFolder) -> None:
    with pytest.raises(ReleaseRefused, match="does not contain 'alone'"):
        gate.answer(asking(CLOSED, "alone"), never)
    assert len(refused(folder, asking(CLOSED, "alone"))) == 1


@pytest.mark.parametrize(("round_number", "attempt"), [(4, 1), (1, 0), (1, 4), (-1, 1), (0, 1)])
def test_rounds_and_attempts_outside_the_plan_are_refused(gate: Gate, round_number: int, attempt: int) -> None:
    with pytest.raises(ReleaseRefused, match="outside the plan's 3 rounds of 3 attempts"):
        gate.answer(asking(OPEN, round=round_number, attempt=attempt), never)


@pytest.mark.parametrize("instance", ["", "..", "../other", "../bank-02", "a/b", "a" * 65, "a\n", "\ud800"])
def test_an_instance_that_could_reach_another_banks_folder_is_refused(
    gate: Gate, folder: BankFolder, instance: str
) -> None:
    before = {path.name for path in folder.path.parent.rglob("*")}
    with pytest.raises(ReleaseRefused, match="cannot be a folder's name"):
        gate.answer(asking(OPEN, instance=instance), never)
    assert {path.name for path in folder.path.parent.rglob("*")} == before


def test_a_reply_that_is_too_large_is_refused(gate: Gate, folder: BankFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_REPLY_BYTES == 64 * 2**20
    monkeypatch.setattr("bank_nodes.gate.release.MAX_REPLY_BYTES", 200)
    with pytest.raises(ReleaseRefused, match=r"the reply has \d+ bytes; at most 200 may leave at once"):
        gate.answer(asking(OPEN), update)
    assert len(refused(folder, asking(OPEN))) == 1


def test_a_refusal_in_the_ledger_says_who_asked_for_what_and_charges_nothing(gate: Gate, folder: BankFolder) -> None:
    request = asking(CLOSED, round=9, attempt=2)
    with pytest.raises(ReleaseRefused) as caught:
        gate.answer(request, never)
    entry = ledger_of(folder).entries()[-1]
    assert (entry.event, entry.key, entry.note) == ("refused", request.key, f"ReleaseRefused: {caught.value}")
    assert (entry.plan_hash, entry.round, entry.attempt, entry.kind) == (CLOSED.hash, 9, 2, "train")
    assert ledger_of(folder).mechanisms() == []
    ledger_of(folder).verify()
