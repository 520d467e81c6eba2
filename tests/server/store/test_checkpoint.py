"""Checkpoints as files: whole or not at all, and a damaged one named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fraudfl.errors import CheckpointError
from fraudfl.protocols import Checkpoint
from pipelines.world import State
from server.store.checkpoint import KEPT, FileCheckpoints


def checkpoint(number: int) -> Checkpoint:
    arrays = {"model": np.full(5, number, dtype=np.float32), "delta": np.zeros(0, dtype=np.uint8)}
    return Checkpoint(round=number, arrays=arrays, facts={"held": {"bank-01": number}, "prior": 0.1 + 0.2, "x": None})


def test_what_was_saved_is_found_again_to_the_bit(tmp_path: Path) -> None:
    FileCheckpoints(tmp_path / "new").save(checkpoint(3))
    found = FileCheckpoints(tmp_path / "new").latest()
    assert found is not None
    assert (found.round, found.facts) == (3, checkpoint(3).facts)
    assert {name: array.tobytes() for name, array in found.arrays.items()} == {
        name: array.tobytes() for name, array in checkpoint(3).arrays.items()
    }


def test_a_phase_that_never_began_has_none(tmp_path: Path) -> None:
    assert FileCheckpoints(tmp_path).latest() is None


def test_the_newest_counts_and_old_ones_are_cleared_away(tmp_path: Path) -> None:
    kept = FileCheckpoints(tmp_path)
    for number in (1, 2, 9, 10, 11):
        kept.save(checkpoint(number))
    found = kept.latest()
    assert found is not None
    assert found.round == 11
    assert len(list(tmp_path.iterdir())) == KEPT


def test_a_crash_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FileCheckpoints(tmp_path)
    kept.save(checkpoint(1))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        kept.save(checkpoint(2))
    found = FileCheckpoints(tmp_path).latest()
    assert found is not None
    assert found.round == 1


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path, keep: int) -> None:
    kept = FileCheckpoints(tmp_path)
    kept.save(checkpoint(7))
    path = tmp_path / "round-00007.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"round-00007\.safetensors: this checkpoint is damaged .* delete it"):
        kept.latest()


def test_a_file_of_other_tensors_is_named_too(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1)}, tmp_path / "round-00001.safetensors")
    with pytest.raises(CheckpointError, match="round-00001"):
        FileCheckpoints(tmp_path).latest()


def test_the_attempt_under_way_is_remembered_for_its_question_only(tmp_path: Path) -> None:
    FileCheckpoints(tmp_path).note_attempt("train", 4, 2)
    kept = FileCheckpoints(tmp_path)
    assert (kept.attempt("train", 4), kept.attempt("train", 5), kept.attempt("evaluate", 4)) == (2, 1, 1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "train"}'])
def test_a_damaged_note_of_an_attempt_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "attempt.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"attempt\.json"):
        FileCheckpoints(tmp_path).attempt("train", 1)


def test_a_phases_whole_state_survives(tmp_path: Path) -> None:
    state = State(round=2, encoder=b"{}", prior=0.01, delta=os.urandom(9), held={"bank-01": 1}, joined={"bank-01"})
    state.model, state.lag = np.float32([1.5, -2]), np.float32([0.25, 0])
    state.excluded.append({"bank": "bank-02", "round": 1, "reason": "no answer"})
    state.history.append({"auprc": 0.5})
    state.took_part |= {"bank-01"}
    state.meter.add("bank-01", "up", "train", 12)
    FileCheckpoints(tmp_path).save(state.to_checkpoint({"m": np.float64([1.0])}))
    found = FileCheckpoints(tmp_path).latest()
    assert found is not None
    again, own = State.from_checkpoint(found)
    assert own["m"].tolist() == [1.0]
    for name in ("round", "encoder", "prior", "delta", "held", "joined", "excluded", "history", "took_part", "meter"):
        assert getattr(again, name) == getattr(state, name), name
    assert (again.model.tobytes(), again.lag.tobytes()) == (state.model.tobytes(), state.lag.tobytes())


def test_a_kept_one_outlives_all_that_come_after_it(tmp_path: Path) -> None:
    one = FileCheckpoints(tmp_path)
    for number in range(8):
        one.save(checkpoint(number))
        if number in (0, 3):
            one.keep(number)
    assert FileCheckpoints(tmp_path).rounds() == (0, 3, 6, 7)
    assert FileCheckpoints(tmp_path).of_round(3).facts == checkpoint(3).facts
    found = one.latest()
    assert found is not None
    assert found.round == 7


def test_what_is_not_there_cannot_be_kept_and_is_named_when_asked_for(tmp_path: Path) -> None:
    one = FileCheckpoints(tmp_path)
    one.keep(4)
    one.save(checkpoint(4))
    for number in (5, 6):
        one.save(checkpoint(number))
    assert one.rounds() == (5, 6)
    with pytest.raises(CheckpointError, match="round-00004"):
        one.of_round(4)
