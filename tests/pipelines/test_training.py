"""The round loop: a late update is counted and dropped, or stands for the one that its bank does not send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from memory_fleet import Consortium

from fraudfl.protocols import Answer, Reply, Request
from fraudfl.transfer.codec import decode, encode
from fraudfl.transfer.frame import unframe
from pipelines.phase import run_phase
from pipelines.training import model_layout
from pipelines.world import Phase, State

Make = Callable[..., Consortium]
ILL = "bank-02"


class Late:
    """One bank's answers to some questions come while a later round is under way."""

    def __init__(
        self,
        one: Consortium,
        attempts: tuple[int, ...] = (1,),
        *,
        arrives: int = 2,
        silent: int = 0,
        change: Callable[[Reply], Reply] = lambda reply: reply,
    ) -> None:
        """Be late with these attempts of round 1, and say nothing at all in round `silent`."""
        self._one, self._attempts, self._arrives, self._silent = one, attempts, arrives, silent
        self._change = change
        self.updates: list[bytes] = []
        self._coming: list[tuple[Request, Answer]] = []
        one.happening = self.happening

    def happening(self, bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        if (request.kind, request.round) == ("train", self._arrives):
            self._one.fleet.overdue += self._coming
            self._coming = []
        if (bank, request.kind, request.round) == (ILL, "train", self._silent):
            return None
        reply = work()
        if (bank, request.kind, request.round) != (ILL, "train", 1) or request.attempt not in self._attempts:
            return reply
        self.updates.append(reply.payloads["update"])
        self._coming.append((request, Answer(bank=bank, reply=self._change(reply), bytes_up=11)))
        return None


def excluded(phase: Phase) -> list[tuple[str, int]]:
    return [(item["bank"], item["round"]) for item in phase.state.excluded]


def without(make: Make, name: str, silent_in: set[int], **phase: Any) -> Phase:
    """The same phase, where the bank says nothing at all in these rounds."""
    other = make(name, **phase)

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        silent = (bank, request.kind) == (ILL, "train") and request.round in silent_in
        return None if silent else work()

    other.happening = happening
    run = other.phase()
    run_phase(run, ())
    return run


def test_a_late_reply_is_counted_and_told_and_dropped(consortium: Make) -> None:
    one = consortium(baselines=[])
    Late(one, silent=2)
    phase = one.phase()
    run_phase(phase, ())
    plain = without(consortium, "plain", {1, 2}, baselines=[])
    assert phase.state.late == 1
    assert one.events("late") == [{"bank": ILL, "kind": "train", "round": 1}]
    assert (one.events("folded"), excluded(phase)) == ([], [(ILL, 1), (ILL, 2)])
    assert phase.state.model.tobytes() == plain.state.model.tobytes()
    assert phase.state.meter.bytes_up == plain.state.meter.bytes_up + 11
    assert State.from_checkpoint(phase.state.to_checkpoint({}))[0].late == 1


def test_a_late_reply_is_folded_into_the_next_round_where_the_banks_own_is_missing(consortium: Make) -> None:
    terms = {"baselines": [], "stragglers": "fold", "rounds": 2, "strategy": {"weighting": "equal"}}
    one = consortium(**terms)
    late = Late(one, silent=2)
    phase = one.phase()
    before: list[np.ndarray[Any, Any]] = []
    save = one.checkpoints.save
    one.checkpoints.save = lambda checkpoint: (before.append(checkpoint.arrays["model"].copy()), save(checkpoint))[1]
    run_phase(phase, ())
    assert one.events("folded") == [{"bank": ILL, "round": 1, "into": 2}]
    assert excluded(phase) == [(ILL, 1), (ILL, 2)]
    # By hand: the mean of six updates, of which one was made in the round before.
    shape = model_layout(phase)
    updates = [decode(reply, shape).astype(np.float64) for reply in [*late.updates, *updates_of(one, 2)]]
    assert len(updates) == 6
    expected = before[1] + np.mean(updates, axis=0)
    np.testing.assert_allclose(phase.state.model, expected, rtol=0, atol=1e-6)


def updates_of(one: Consortium, round_number: int) -> list[bytes]:
    replies = [unframe(copies[0]) for (_, key), copies in one.fleet.sent.items() if f"/{round_number}/1/train/" in key]
    return [reply.payloads["update"] for reply in replies]


def test_a_late_reply_is_not_folded_where_the_banks_own_came(consortium: Make) -> None:
    terms = {"baselines": [], "stragglers": "fold"}
    one = consortium(**terms)
    Late(one)
    phase = one.phase()
    run_phase(phase, ())
    assert one.events("folded") == []
    assert phase.state.late == 1
    assert phase.state.model.tobytes() == without(consortium, "plain", {1}, **terms).state.model.tobytes()


def test_a_reply_that_is_two_rounds_late_is_not_folded(consortium: Make) -> None:
    terms = {"baselines": [], "stragglers": "fold"}
    one = consortium(**terms)
    Late(one, arrives=3, silent=3)
    phase = one.phase()
    run_phase(phase, ())
    assert (one.events("folded"), phase.state.late) == ([], 1)
    assert phase.state.model.tobytes() == without(consortium, "plain", {1, 3}, **terms).state.model.tobytes()


def test_two_late_attempts_of_one_round_are_folded_as_one_update(consortium: Make) -> None:
    terms = {"baselines": [], "stragglers": "fold", "rounds": 2, "quorum": 0.8}
    one = consortium(**terms)
    late = Late(one, (1, 2), silent=2)
    slow = late.happening

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        short = bank == "bank-06" and (request.kind, request.round, request.attempt) == ("train", 1, 1)
        return None if short else slow(bank, request, work)

    one.happening = happening
    phase = one.phase()
    run_phase(phase, ())
    assert phase.state.late == 2
    assert one.events("folded") == [{"bank": ILL, "round": 1, "into": 2}]


def test_late_refusals_and_replies_to_other_questions_are_metered_and_otherwise_ignored(consortium: Make) -> None:
    one = consortium(baselines=[], stragglers="fold")
    Late(one, change=lambda reply: replace(reply, bank="bank-01"))
    refusal = Answer(bank=ILL, reply=None, reason="PrivacyError", code="refused", bytes_up=5)
    phase = one.phase()
    late = one.fleet.late

    def with_refusal() -> list[tuple[Request, Answer]]:
        found = late()
        return [*found, *((request, refusal) for request, _ in found)]

    one.fleet.late = with_refusal  # type: ignore[method-assign]
    run_phase(phase, ())
    assert (phase.state.late, one.events("late"), one.events("folded")) == (0, [], [])
    plain = without(consortium, "plain", {1}, baselines=[], stragglers="fold")
    assert phase.state.meter.bytes_up == plain.state.meter.bytes_up + 11 + 5


SPOILS: dict[str, Callable[[Reply], Reply]] = {
    "garbage": lambda reply: replace(reply, payloads={"update": b"\x00\xff" * 40}),
    "empty": lambda reply: replace(reply, payloads={}),
    "another size": lambda reply: replace(
        reply, payloads={"update": encode(np.ones(5, np.float32), "float32", (("w", (5,)),))}
    ),
    "negative weight": lambda reply: replace(reply, values={"examples": -1}),
}


@pytest.mark.parametrize("spoil", sorted(SPOILS))
def test_a_late_reply_that_is_wrong_is_dropped_with_its_reason_and_the_phase_goes_on(
    consortium: Make, spoil: str
) -> None:
    terms = {"baselines": [], "stragglers": "fold", "rounds": 2}
    one = consortium(**terms)
    Late(one, silent=2, change=SPOILS[spoil])
    phase = one.phase()
    outcome = run_phase(phase, ())
    assert outcome["status"] == "completed"
    (dropped,) = one.events("dropped")
    assert (dropped["bank"], dropped["round"]) == (ILL, 1)
    assert dropped["reason"]
    assert phase.state.model.tobytes() == without(consortium, "plain", {1, 2}, **terms).state.model.tobytes()


def test_events_of_rounds_tell_what_each_bank_has_moved_and_the_weights_are_counted_as_packed(
    consortium: Make,
) -> None:
    one = consortium(codec={"up": "int8", "down": "float32"})
    run = one.phase()
    run_phase(run, ())
    rounds = one.events("round")
    assert len(rounds) == run.plan.rounds
    for facts in rounds:
        # Every bank takes part in every round.
        assert {*facts["by_bank"]} == {*one.fleet.banks()}
        for place, way in enumerate(("bytes_up", "bytes_down")):
            assert sum(pair[place] for pair in facts["by_bank"].values()) == facts[way]
    up, down, size = run.state.weights["up"], run.state.weights["down"], run.state.model.size
    assert up.vectors == len(one.fleet.banks()) * run.plan.rounds
    # A byte for each weight, a scale for each tensor and two bytes before them; nothing here squeezes further.
    assert up.vectors * size < up.bytes < up.vectors * (size + 64)
    assert up.saved(size) == pytest.approx(0.75, abs=0.05)
    # Plain floats squeeze a little.
    assert 0 <= down.saved(size) < 0.3


def test_a_phase_that_goes_on_tells_of_every_bank_anew_and_counts_weights_on(consortium: Make) -> None:
    run = consortium().phase()
    run_phase(run, ())
    again, _ = State.from_checkpoint(run.state.to_checkpoint({}))
    assert again.weights == run.state.weights
    assert run.state.newly_moved()["by_bank"].keys() <= again.newly_moved()["by_bank"].keys()
    assert again.newly_moved()["by_bank"] == {}
