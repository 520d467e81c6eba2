"""The gate: what it refuses, and that it refuses before any work is done."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_fleet import INSTANCE, PRIVATE, tiny_config

from bank_nodes.release import MAX_REPLY_BYTES, Draft, Gate
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.errors import PlanError, PrivacyError, ReleaseRefused, WireError
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan, make_plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.protocols import Kind, Request
from fraudfl.transfer.frame import frame

COHORT = hashlib.sha256(b"all").hexdigest()


def plan_of(**phase: Any) -> Plan:
    config = tiny_config(phase)
    return make_plan(config, config.phases[0], GENERATED_CONTRACT)


OPEN, CLOSED = plan_of(), plan_of(**PRIVATE)


@pytest.fixture
def folder(tmp_path: Path) -> BankFolder:
    config = tiny_config().data.generator
    rows = generate(config.model_copy(update={"transactions": 1000}), 1)
    return BankFolder.create(tmp_path / "bank-01", "bank-01", rows, GENERATED_CONTRACT)


def asking(plan: Plan, kind: Kind = "train", **facts: Any) -> Request:
    usual = {"instance": INSTANCE, "round": 0 if kind == "join" else 1, "attempt": 1, "cohort": COHORT}
    return Request(kind=kind, plan_hash=plan.hash, **(usual | facts))


def join(gate: Gate, plan: Plan) -> None:
    gate.join(asking(plan, "join", payloads={"plan": plan.canonical_json()}))


def never(_plan: Plan) -> Draft:
    raise AssertionError("the gate let work begin")


def update(size: int = 5) -> Draft:
    return Draft(payloads={"update": b"\x01" * size})


def private_update(plan: Plan = CLOSED) -> Draft:
    return replace(update(), mechanism=plan.round_mechanism)


@pytest.fixture
def gate(folder: BankFolder) -> Gate:
    gate = Gate(folder)
    for plan in (OPEN, CLOSED):
        join(gate, plan)
    return gate


def test_a_plan_that_was_never_accepted_is_refused(folder: BankFolder) -> None:
    with pytest.raises(ReleaseRefused, match="never accepted here"):
        Gate(folder).answer(asking(OPEN), never)


def test_a_plan_under_anothers_hash_is_refused(folder: BankFolder) -> None:
    request = asking(OPEN, "join", payloads={"plan": CLOSED.canonical_json()})
    with pytest.raises(PlanError, match=f"hash is {CLOSED.hash[:12]}, the request says {OPEN.hash[:12]}"):
        Gate(folder).join(request)
    assert not (folder.path / "plans").exists()


def test_a_request_to_join_without_a_plan_is_refused(folder: BankFolder) -> None:
    with pytest.raises(PlanError, match="brings no plan"):
        Gate(folder).join(asking(OPEN, "join"))


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"version": 1}', b'{"version": 99}', b"\xff"])
def test_a_plan_that_cannot_be_read_is_refused(folder: BankFolder, text: bytes) -> None:
    with pytest.raises(PlanError):
        Gate(folder).join(asking(OPEN, "join", payloads={"plan": text}))


def test_a_plan_for_another_contract_is_refused(folder: BankFolder) -> None:
    other = OPEN.model_copy(update={"contract": OPEN.contract.model_copy(update={"currency": False})})
    with pytest.raises(PlanError, match="contract"):
        join(Gate(folder), other)


def test_a_kept_plan_that_was_changed_on_disk_is_refused(gate: Gate, folder: BankFolder) -> None:
    path = folder.path / "plans" / f"{CLOSED.hash}.json"
    path.write_bytes(CLOSED.model_copy(update={"noise_multiplier": 0.01}).canonical_json())
    with pytest.raises(ReleaseRefused, match="was changed"):
        gate.answer(asking(CLOSED), never)


def test_a_kind_that_the_plan_does_not_contain_is_refused(gate: Gate) -> None:
    with pytest.raises(ReleaseRefused, match="does not contain 'alone'"):
        gate.answer(asking(CLOSED, "alone"), never)


@pytest.mark.parametrize(("round_number", "attempt"), [(4, 1), (1, 0), (1, 4), (-1, 1)])
def test_rounds_and_attempts_outside_the_plan_are_refused(gate: Gate, round_number: int, attempt: int) -> None:
    with pytest.raises(ReleaseRefused, match="outside the plan's 3 rounds of 3 attempts"):
        gate.answer(asking(OPEN, round=round_number, attempt=attempt), never)


@pytest.mark.parametrize("instance", ["", "..", "../other", "a/b", "a" * 65, "a\n"])
def test_an_instance_that_could_leave_the_banks_folder_is_refused(gate: Gate, instance: str) -> None:
    with pytest.raises(ReleaseRefused, match="cannot be a folder's name"):
        gate.answer(asking(OPEN, instance=instance), never)


@pytest.mark.parametrize("draft", [Draft(payloads={"update": b"x", "rows": b"y"}), replace(update(), values={"n": 1})])
def test_what_the_kind_does_not_list_stays_at_the_bank(gate: Gate, draft: Draft) -> None:
    with pytest.raises(ReleaseRefused, match="may not hold"):
        gate.answer(asking(OPEN), lambda _plan: draft)


@pytest.mark.parametrize(
    "extra", [{"values": {"loss": 0.5}}, {"values": {"examples": 9}}, {"payloads": {"update": b"x", "scores": b"y"}}]
)
def test_loss_counts_and_scores_pass_in_the_open_and_not_under_privacy(gate: Gate, extra: dict[str, Any]) -> None:
    gate.answer(asking(OPEN), lambda _plan: replace(update(), **extra))
    with pytest.raises(ReleaseRefused, match="may not hold"):
        gate.answer(asking(CLOSED), lambda _plan: replace(private_update(), **extra))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_stays_at_the_bank(gate: Gate, folder: BankFolder, value: float) -> None:
    before = len(Ledger(folder.path / "ledger.db").entries())
    with pytest.raises(ReleaseRefused, match="'loss' is not finite"):
        gate.answer(asking(OPEN), lambda _plan: replace(update(), values={"loss": value}))
    assert len(Ledger(folder.path / "ledger.db").entries()) == before


def test_an_update_without_its_payload_is_refused(gate: Gate) -> None:
    with pytest.raises(WireError, match="needs"):
        gate.answer(asking(OPEN), lambda _plan: Draft())


def test_a_reply_that_is_too_large_is_refused(gate: Gate) -> None:
    with pytest.raises(ReleaseRefused, match="may leave at once"):
        gate.answer(asking(OPEN), lambda _plan: update(MAX_REPLY_BYTES + 1))


def test_a_private_update_by_another_mechanism_than_the_plans_is_refused(gate: Gate) -> None:
    mechanism = CLOSED.round_mechanism
    assert mechanism is not None
    for wrong in (None, replace(mechanism, noise_multiplier=mechanism.noise_multiplier / 2)):
        with pytest.raises(ReleaseRefused, match="plan's mechanism"):
            gate.answer(asking(CLOSED), lambda _plan, wrong=wrong: replace(update(), mechanism=wrong))


def test_what_would_pass_the_budget_is_refused_before_training(gate: Gate, folder: BankFolder) -> None:
    for number in (1, 2, 3):
        gate.answer(asking(CLOSED, round=number), lambda _plan: private_update())
    with pytest.raises(PrivacyError, match=r"would bring ε to 4\.\d+ of 4 .*nothing was trained"):
        gate.answer(asking(CLOSED, round=3, attempt=2), never)
    assert len(Ledger(folder.path / "ledger.db").mechanisms()) == 3


def test_another_phase_instance_of_the_same_plan_is_no_new_budget(gate: Gate) -> None:
    for number in (1, 2, 3):
        gate.answer(asking(CLOSED, round=number), lambda _plan: private_update())
    with pytest.raises(PrivacyError, match="would bring"):
        gate.answer(asking(CLOSED, instance="another"), never)


def test_a_redelivered_request_gets_the_same_bytes_and_costs_nothing(gate: Gate, folder: BankFolder) -> None:
    first = gate.answer(asking(CLOSED), lambda _plan: private_update())
    again = Gate(BankFolder(folder.path)).answer(asking(CLOSED), never)
    assert frame(first) == frame(again)
    assert len(Ledger(folder.path / "ledger.db").mechanisms()) == 1


def test_another_attempt_and_another_cohort_are_new_releases(gate: Gate, folder: BankFolder) -> None:
    other = hashlib.sha256(b"fewer").hexdigest()
    for facts in ({}, {"attempt": 2}, {"cohort": other}):
        gate.answer(asking(CLOSED, **facts), lambda _plan: private_update())
    assert len(Ledger(folder.path / "ledger.db").mechanisms()) == 3


def test_two_deliveries_at_once_are_one_release(gate: Gate, folder: BankFolder) -> None:
    works = []
    started = threading.Event()

    def slow(_plan: Plan) -> Draft:
        works.append(1)
        started.set()
        threading.Event().wait(0.3)
        return Draft(payloads={"update": np.random.default_rng(len(works)).bytes(16)}, mechanism=_plan.round_mechanism)

    replies = []
    answer: Callable[[], None] = lambda: replies.append(Gate(folder).answer(asking(CLOSED), slow))  # noqa: E731
    threads = [threading.Thread(target=answer) for _ in range(2)]
    threads[0].start()
    started.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert len(works) == 1
    assert frame(replies[0]) == frame(replies[1])


def test_a_kept_reply_that_was_changed_on_disk_is_not_sent(gate: Gate, folder: BankFolder) -> None:
    gate.answer(asking(OPEN), lambda _plan: update())
    connection = sqlite3.connect(folder.path / "ledger.db")
    with connection:
        connection.execute("UPDATE releases SET reply = X'00' WHERE kind = 'train'")
    connection.close()
    with pytest.raises(ReleaseRefused, match="was changed on disk"):
        gate.answer(asking(OPEN), never)


def test_a_reply_that_was_acknowledged_is_not_made_again(gate: Gate) -> None:
    gate.answer(asking(CLOSED), lambda _plan: private_update())
    gate.answer(asking(CLOSED, round=2, acknowledged=1), lambda _plan: private_update())
    with pytest.raises(ReleaseRefused, match="its bytes are gone"):
        gate.answer(asking(CLOSED), never)


def test_a_release_that_the_ledger_cannot_record_does_not_leave(gate: Gate, folder: BankFolder) -> None:
    connection = sqlite3.connect(folder.path / "ledger.db")
    with connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON releases BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    connection.close()
    with pytest.raises(sqlite3.Error, match="disk full"):
        gate.answer(asking(OPEN), lambda _plan: update())


def test_the_ledger_keeps_the_mechanism_so_that_others_can_compute_epsilon(gate: Gate, folder: BankFolder) -> None:
    gate.answer(asking(CLOSED), lambda _plan: private_update())
    (facts,) = Ledger(folder.path / "ledger.db").mechanisms()
    assert DpSgd.from_dict(facts) == CLOSED.round_mechanism
