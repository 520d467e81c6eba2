"""What a bank's releases touched, and from where a model is trained again."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fraudfl.protocols import KINDS
from fraudfl.unlearning import PUBLIC, Past, PastPhase, Point, Trace, last_clean_round, reach_of


def traces(**first: int) -> dict[str, Trace]:
    """Kind to the round of its first release."""
    return {kind: Trace(kind=kind, first=number, rounds=1, at="2026-01-01") for kind, number in first.items()}


def phase(name: str, **facts: Any) -> PastPhase:
    return PastPhase(**({"name": name, "instance": name, "began": "2026-01-01", "trains": True} | facts))


FULL = traces(sketch=0, train=1, evaluate=9)


def test_every_kind_of_request_is_known_to_hold_data_or_not() -> None:
    without = {kind for kind in KINDS if reach_of(kind) is None}
    assert without == {"join", "peers", "confirm", "reveal", "readiness"} & set(KINDS)
    kinds = ("sketch", "train", "look", "evaluate", "gain")
    assert [last_clean_round(kind, 5) for kind in kinds] == [-1, 4, 4, None, None]
    assert (reach_of("sketch"), reach_of("train"), reach_of("evaluate")) == ("encoder", "weights", "thresholds")
    # A kind that nobody thought of yet counts as one that holds data.
    assert reach_of("newfangled") == "figures"


def test_a_bank_in_the_encoder_takes_the_phase_back_to_its_public_start() -> None:
    pilot = phase("pilot", traces=FULL, checkpoints=(0, 8, 9), versions=(1,))
    past = Past([pilot])
    assert past.clean_before(pilot) == PUBLIC
    assert (past.touched, past.versions) == ((pilot,), (1,))


def test_a_bank_that_joined_late_takes_it_back_to_the_checkpoint_before_and_keeps_the_encoder() -> None:
    pilot = phase("pilot", traces=traces(train=5), checkpoints=(4, 8, 9))
    past = Past([pilot])
    assert past.clean_before(pilot) == Point(phase="pilot", round=4)
    assert [past.holds(Point(phase="pilot", round=number)) for number in (0, 4, 5, 9)] == [False, False, True, True]


def test_a_bank_that_was_not_in_the_encoder_but_in_round_1_leaves_the_encoder_as_it_is() -> None:
    pilot = phase("pilot", traces=traces(train=1), checkpoints=(0, 8, 9))
    assert Past([pilot]).clean_before(pilot) == Point(phase="pilot", round=0)


def test_a_checkpoint_that_is_gone_is_passed_over_for_one_before_it() -> None:
    some, none = (phase("pilot", traces=traces(train=5), checkpoints=there) for there in ((2, 8, 9), (8, 9)))
    assert Past([some]).clean_before(some) == Point(phase="pilot", round=2)
    assert Past([none]).clean_before(none) == PUBLIC


def test_a_bank_that_only_evaluated_leaves_the_weights_and_takes_the_thresholds() -> None:
    pilot = phase("pilot", traces=traces(evaluate=9), checkpoints=(8, 9), versions=(1,))
    past = Past([pilot])
    assert past.versions == (1,)
    assert past.clean_before(pilot) == Point(phase="pilot", round=9)


def test_a_look_counts_like_a_round_of_training_for_it_decides_which_model_is_kept() -> None:
    pilot = phase("pilot", traces=traces(look=4, train=6), checkpoints=(3, 5, 9))
    assert Past([pilot]).clean_before(pilot) == Point(phase="pilot", round=3)


def test_figures_alone_touch_no_model() -> None:
    pilot = phase("pilot", traces=traces(profile=0, alone=9), versions=(1,))
    past = Past([pilot])
    assert (past.touched, past.versions) == ((), ())


def test_a_phase_that_only_looks_is_not_trained_again() -> None:
    watching = phase("watch", trains=False, traces=FULL)
    past = Past([watching])
    assert (past.touched, past.newest) == ((), None)


def test_what_went_on_from_a_touched_version_is_touched_and_the_way_back_leads_past_it() -> None:
    pilot = phase("pilot", traces=traces(train=5), checkpoints=(4, 9), versions=(1,))
    wave = phase("rollout-1", origin=Point(version=1), versions=(2,), checkpoints=(3,))
    last = phase("rollout-2", origin=Point(version=2), versions=(3,), checkpoints=(3,))
    past = Past([pilot, wave, last])
    assert past.versions == (1, 2, 3)
    assert past.newest is last
    assert past.clean_before(last) == Point(phase="pilot", round=4)
    assert past.way_to(last) == (pilot, wave, last)


def test_a_phase_that_made_nothing_yet_is_no_reason_to_leave_a_touched_model_as_it_is() -> None:
    pilot = phase("pilot", traces=FULL, versions=(1,))
    assert Past([pilot, phase("begun")]).newest is pilot
    clean = phase("clean", versions=(2,))
    assert Past([pilot, clean]).newest is clean


def test_only_what_led_to_the_newest_model_is_run_again() -> None:
    pilot = phase("pilot", traces=FULL, versions=(1,))
    aside = phase("aside", origin=Point(version=1), versions=(2,))
    last = phase("rollout", origin=Point(version=1), versions=(3,))
    past = Past([pilot, aside, last])
    assert past.touched == (pilot, aside, last)
    assert past.way_to(last) == (pilot, last)


def test_a_phase_that_began_at_a_clean_version_goes_back_to_that_version() -> None:
    pilot = phase("pilot", versions=(1,), checkpoints=(9,))
    rollout = phase("rollout", origin=Point(version=1), traces=traces(train=1), checkpoints=(0, 3), versions=(2,))
    late = phase("later", origin=Point(version=1), traces=traces(train=3), checkpoints=(2, 3), versions=(3,))
    past = Past([pilot, rollout, late])
    assert past.versions == (2, 3)
    assert past.clean_before(rollout) == Point(version=1)
    assert past.way_to(rollout) == (rollout,)
    assert past.clean_before(late) == Point(phase="later", round=2)


def test_a_version_that_no_phase_here_made_is_taken_for_touched() -> None:
    rollout = phase("rollout", origin=Point(version=7), versions=(8,))
    past = Past([rollout])
    assert past.versions == (8,)
    assert past.clean_before(rollout) == PUBLIC


def test_a_second_bank_that_leaves_is_sought_on_the_way_of_the_first_retraining() -> None:
    pilot = phase("pilot", traces=traces(train=3), checkpoints=(2, 4, 9), versions=(1,))
    again = phase("without-x", origin=Point(phase="pilot", round=4), traces=traces(train=5), checkpoints=(9,))
    past = Past([pilot, again])
    assert past.touched == (pilot, again)
    assert past.clean_before(again) == Point(phase="pilot", round=2)
    # What went on inside of the pilot is the rest of it, and not a phase after it.
    assert past.way_to(again) == (again,)


@pytest.mark.parametrize("facts", [{"phase": "pilot"}, {"round": 3}, {"version": 1, "phase": "pilot", "round": 3}])
def test_a_point_is_one_of_three_things(facts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected nothing, a version, or a phase with a round"):
        Point(**facts)


def test_points_are_spelled_for_people() -> None:
    assert str(PUBLIC) == "the public start"
    assert str(Point(version=3)) == "version 3"
    assert str(Point(phase="pilot", round=4)) == "pilot after round 4"
