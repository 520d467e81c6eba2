"""A phase with local differential privacy: what is charged, what is sent again, and what never leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from memory_fleet import PRIVATE, Consortium, KilledError

from fraudfl.errors import QuorumError
from fraudfl.features.sketch import Sketch, sketch_size
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.protocols import Reply, Request
from fraudfl.transfer.frame import unframe
from fraudfl.transfer.pack import unpack_counts
from pipelines.phase import run_phase

Make = Callable[..., Consortium]
DELTA = 1e-6


def spent(one: Consortium, bank: str) -> float:
    return epsilon([DpSgd.from_dict(facts) for facts in one.ledger(bank).mechanisms()], DELTA)


def test_every_banks_ledger_shows_no_more_than_the_plans_epsilon(consortium: Make) -> None:
    one = consortium(**PRIVATE)
    outcome = run_phase(one.phase(), ())
    assert outcome["status"] == "completed"
    figures = [spent(one, bank) for bank in one.fleet.banks()]
    assert max(figures) <= 4.0 * (1 + 1e-6)
    assert min(figures) > 3.8  # noise is no larger than it need be
    assert outcome["privacy"]["not_covered"] == [
        "encoder sketches",
        "score histograms",
        "what windows carry into other rows",
    ]


def test_no_reply_of_a_private_round_carries_loss_counts_or_scores(consortium: Make) -> None:
    one = consortium(**PRIVATE)
    run_phase(one.phase(), ())
    replies = [unframe(copies[0]) for copies in one.fleet.sent.values()]
    trained = [reply for reply in replies if reply.kind == "train"]
    assert len(trained) == 18
    assert all(dict(reply.values) == {} and set(reply.payloads) == {"update"} for reply in trained)


def test_after_a_kill_a_released_update_is_the_same_bytes_at_no_cost_and_others_draw_fresh_noise(
    consortium: Make,
) -> None:
    one = consortium(**PRIVATE)
    dead: list[bool] = []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        if (request.kind, request.round, bank) == ("train", 2, "bank-04") and not dead:
            dead.append(True)
            raise KilledError
        return work()

    one.happening = happening
    with pytest.raises(KilledError):
        run_phase(one.phase(), ())
    before = {bank: len(one.ledger(bank).mechanisms()) for bank in one.fleet.banks()}
    assert before == {f"bank-0{number}": 2 if number < 4 else 1 for number in range(1, 7)}
    run_phase(one.phase(), ())
    second = {bank: copies for (bank, key), copies in one.fleet.sent.items() if "/2/1/train/" in key}
    assert {bank: len(copies) for bank, copies in second.items()} == {
        f"bank-0{number}": 2 if number < 4 else 1 for number in range(1, 7)
    }
    assert all(len(set(copies)) == 1 for copies in second.values())
    # No two banks, and no two rounds, share an update: each has noise of its own.
    updates = [unframe(copies[0]).payloads["update"] for (_, key), copies in one.fleet.sent.items() if "/train/" in key]
    assert len(set(updates)) == len(updates) == 18
    assert {len(one.ledger(bank).mechanisms()) for bank in one.fleet.banks()} == {3}
    assert max(spent(one, bank) for bank in one.fleet.banks()) <= 4.0 * (1 + 1e-6)


def test_two_undisturbed_runs_draw_different_noise(consortium: Make) -> None:
    phases = [consortium(name, **PRIVATE).phase() for name in ("one", "two")]
    for phase in phases:
        run_phase(phase, ())
    assert phases[0].state.model.tobytes() != phases[1].state.model.tobytes()


def test_bytes_of_acknowledged_replies_are_dropped_and_the_entries_stay(consortium: Make) -> None:
    one = consortium(**PRIVATE)
    run_phase(one.phase(), ())
    ledger = one.ledger("bank-01")
    released = [entry for entry in ledger.entries() if (entry.event, entry.kind) == ("released", "train")]
    assert {entry.round: ledger.kept(entry.key) for entry in released} == {1: None, 2: None, 3: None}


def test_a_repeated_attempt_is_charged_and_a_bank_without_budget_is_left_out_not_overspent(consortium: Make) -> None:
    one = consortium(**PRIVATE)

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        late = bank in ("bank-01", "bank-02") and (request.kind, request.round, request.attempt) == ("train", 1, 1)
        reply = work()
        return None if late else reply

    one.happening = happening
    phase = one.phase()
    with pytest.raises(QuorumError, match=r"ReleaseRefused: plan [0-9a-f]{12} allows 3 releases of kind 'train'"):
        run_phase(phase, ())
    assert phase.state.round == 2
    assert max(spent(one, bank) for bank in one.fleet.banks()) <= 4.0 * (1 + 1e-6)


def test_spare_attempts_of_the_plan_pay_for_a_repeated_round(consortium: Make) -> None:
    privacy = {**PRIVATE, "privacy": {**PRIVATE["privacy"], "spare_attempts": 1}}
    one = consortium(**privacy)

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        reply = work()
        return None if bank <= "bank-03" and (request.round, request.attempt) == (1, 1) else reply

    one.happening = happening
    outcome = run_phase(one.phase(), ())
    assert outcome["status"] == "completed"
    assert {len(one.ledger(bank).mechanisms()) for bank in one.fleet.banks()} == {4}
    assert max(spent(one, bank) for bank in one.fleet.banks()) <= 4.0 * (1 + 1e-6)


@pytest.mark.parametrize("prior", [0.05, "released"])
def test_label_counts_leave_a_bank_only_when_the_plan_names_them(consortium: Make, prior: float | str) -> None:
    one = consortium(**PRIVATE, rounds=1, training={"prior": prior})
    run_phase(one.phase(), ())
    spec = one.plan.encoder
    replies = [unframe(copies[0]) for copies in one.fleet.sent.values()]
    sketches = [
        unpack_counts(reply.payloads["sketch"], sketch_size(spec)) for reply in replies if reply.kind == "sketch"
    ]
    named = "label counts" in one.plan.not_covered
    assert named is (prior == "released")
    assert len(sketches) == 6
    assert all(bool(Sketch.from_vector(spec, counts).counts["label"].any()) is named for counts in sketches)
