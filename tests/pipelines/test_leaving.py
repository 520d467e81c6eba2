"""A bank that leaves: what is kept so that a model can be trained again without it, and that this forgets all of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from memory_fleet import SECURE, Consortium, Happening, KilledError

from fraudfl.models.bundle import Bundle
from fraudfl.protocols import Answer, Checkpoint, Reply, Request
from pipelines.phase import run_phase
from pipelines.world import State
from server.store.checkpoint import FileCheckpoints

Make = Callable[..., Consortium]
LEAVES = "bank-06"
ROUNDS = {"rounds": 4, "baselines": [], "strategy": {"name": "fedadam"}, "codec": {"down": "int8"}}


def late(first: int, then: Happening = lambda _bank, _request, work: work()) -> Happening:
    """The bank that leaves is not there before some round."""

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | Answer | None:
        away = request.kind in ("join", "peers", "sketch") or (request.kind == "train" and request.round < first)
        return None if bank == LEAVES and away else then(bank, request, work)

    return happening


def without(one: Consortium) -> Consortium:
    """A consortium in which that bank never was."""
    shutil.rmtree(one.folders / LEAVES)
    return one


def of_round(one: Consortium, number: int) -> Checkpoint:
    return next(kept for kept in one.checkpoints.kept if kept.round == number)


def forgetful(checkpoint: Checkpoint) -> Checkpoint:
    """What training needs of a checkpoint, and nothing that it says of banks."""
    state, own = State.from_checkpoint(checkpoint)
    kept = State(round=state.round, encoder=state.encoder, prior=state.prior, model=state.model, lag=state.lag)
    return kept.to_checkpoint(own)


def test_a_retraining_from_the_checkpoint_before_a_late_bank_is_the_run_in_which_it_never_was(consortium: Make) -> None:
    one, never = consortium("one", **ROUNDS), without(consortium("never", **ROUNDS))
    one.happening = late(3)
    for run in (one, never):
        run_phase(run.phase(), ())
    assert LEAVES in State.from_checkpoint(one.checkpoints.kept[-1])[0].released
    mixed, clean = (Bundle.load(run.place / "bundle") for run in (one, never))
    assert mixed.weights.tobytes() != clean.weights.tobytes()

    again = without(consortium("again", **ROUNDS, start="1"))
    phase = again.phase()
    phase.before = forgetful(of_round(one, 2))
    outcome = run_phase(phase, ())
    made = Bundle.load(again.place / "bundle")
    assert made.weights.tobytes() == clean.weights.tobytes()
    assert (made.encoder.to_bytes(), made.thresholds) == (clean.encoder.to_bytes(), clean.thresholds)
    # Only the rounds after it were run, and nobody was asked for a sketch.
    assert {(request.kind, request.round) for request in again.fleet.asked} == {
        ("join", 0),
        ("train", 3),
        ("train", 4),
        ("evaluate", 4),
    }
    assert (outcome["rounds"], outcome["banks"]) == (4, 5)
    assert LEAVES not in again.fleet.asked_of


def test_from_the_last_checkpoint_only_thresholds_are_fitted_again(consortium: Make) -> None:
    one = consortium("one", rounds=2, baselines=[])
    run_phase(one.phase(), ())
    again = without(consortium("again", rounds=2, baselines=[], start="1"))
    phase = again.phase()
    phase.before = forgetful(of_round(one, 2))
    run_phase(phase, ())
    first, made = (Bundle.load(run.place / "bundle") for run in (one, again))
    assert made.weights.tobytes() == first.weights.tobytes()
    assert made.thresholds != first.thresholds
    assert {request.kind for request in again.fleet.asked} == {"join", "evaluate"}


def test_under_secure_aggregation_a_phase_goes_on_from_anothers_checkpoint_with_new_keys(consortium: Make) -> None:
    one, never = (consortium(name, **SECURE, rounds=2) for name in ("one", "never"))
    one.happening = late(2)
    for run in (one, without(never)):
        run_phase(run.phase(), ())
    again = without(consortium("again", **SECURE, rounds=2, start="1"))
    phase = again.phase()
    phase.before = forgetful(of_round(one, 1))
    run_phase(phase, ())
    made, clean = (Bundle.load(run.place / "bundle") for run in (again, never))
    # Whole numbers are rounded at random; beyond that the two are the same.
    assert np.allclose(made.weights, clean.weights, atol=1e-4)
    assert LEAVES not in phase.state.circle.keys


@pytest.mark.parametrize("place", ["while it is asked", "after it was heard"])
def test_the_checkpoint_before_a_banks_first_release_outlives_the_coordinators_death(
    consortium: Make, tmp_path: Path, place: str
) -> None:
    one = consortium("one", **(ROUNDS | {"rounds": 6}))
    one.checkpoints = FileCheckpoints(tmp_path / "checkpoints")
    deaths = iter([KilledError("the power went")])

    def dies(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        reply = work()
        # bank-06 is asked last: what comes after it is the next round's first question.
        then = (LEAVES, 3) if place == "while it is asked" else ("bank-01", 4)
        if (bank, request.round) == then and request.kind == "train":
            for death in deaths:
                raise death
        return reply

    one.happening = late(3, dies)
    with pytest.raises(KilledError):
        run_phase(one.phase(), ())
    run_phase(one.phase(), ())
    assert one.checkpoints.rounds() == (2, 5, 6)
    state = State.from_checkpoint(one.checkpoints.of_round(2))[0]
    assert LEAVES not in state.released | state.took_part
    assert LEAVES in State.from_checkpoint(one.checkpoints.of_round(6))[0].released


def test_a_late_reply_to_another_phases_question_is_not_used(consortium: Make) -> None:
    one, calm = (consortium(name, rounds=2, baselines=[], stragglers="fold") for name in ("one", "calm"))
    kept: list[tuple[Request, Reply]] = []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        reply = work()
        if (bank, request.kind, request.round) != (LEAVES, "train", 1):
            return reply
        kept.append((request, reply))
        return None

    for run in (one, calm):
        run.happening = happening
    run_phase(calm.phase(), ())
    # The same reply, as one to a question of an earlier phase.
    request, reply = kept[0]
    old = replace(request, instance="f" * 16)
    one.fleet.overdue.append((old, Answer(bank=LEAVES, reply=replace(reply, key=old.key), bytes_up=10)))
    run_phase(one.phase(), ())
    assert one.events("late") == []
    assert one.events("folded") == []
    bundles = [Bundle.load(run.place / "bundle").weights.tobytes() for run in (one, calm)]
    assert bundles[0] == bundles[1]
