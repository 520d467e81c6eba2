"""A phase that goes on from another phase's checkpoint: what it takes along, and what it must not."""

from __future__ import annotations

from fraudfl.errors import BundleError
from fraudfl.protocols import Checkpoint
from fraudfl.transfer.model import vector_digest
from fraudfl.unlearning import Point
from pipelines.world import State
from server.models.departures import departures
from server.phases.past import START_FILE, past_of
from server.store.checkpoint import FileCheckpoints
from server.store.workspace import PhaseFolder, Workspace, read_json, write_json

_BEFORE = "start"
"""Folder of the checkpoint that a phase goes on from."""


def before_of(folder: PhaseFolder) -> Checkpoint | None:
    """The checkpoint of another phase that a phase goes on from; None where it does not."""
    facts = read_json(folder.path / START_FILE)
    return None if facts is None or "phase" not in facts else FileCheckpoints(folder.path / _BEFORE).latest()


def copy_checkpoint(workspace: Workspace, phase: str, start: Point) -> None:
    """Copy into a phase's folder what its training needs of another's checkpoint; of banks nothing is taken along.

    Args:
        phase: The phase that is to go on.
        start: Another phase, and the round of its checkpoint.

    Raises:
        BundleError: when it holds what a bank released that left.
        CheckpointError: when it is not there.
    """
    assert start.phase is not None  # the caller has looked
    assert start.round is not None
    folder, source = workspace.phase(phase), workspace.phase(start.phase)
    _refuse_held(workspace, start)
    state, own = State.from_checkpoint(FileCheckpoints(source.checkpoints).of_round(start.round))
    kept = State(round=state.round, encoder=state.encoder, prior=state.prior, model=state.model, lag=state.lag)
    kept.best, kept.notes = state.best, state.notes
    FileCheckpoints(folder.path / _BEFORE).save(kept.to_checkpoint(own))
    facts = {"phase": start.phase, "instance": source.instance(), "round": start.round}
    write_json(folder.path / START_FILE, facts | {"digest": vector_digest(state.model)})


def _refuse_held(workspace: Workspace, start: Point) -> None:
    """Refuse a checkpoint that holds what a bank released that left since the phase was added."""
    from server.models.registered import registered

    versions = registered(workspace)
    for bank in sorted({one.bank for one in departures(workspace)}):
        if past_of(workspace, bank, versions).holds(start):
            raise BundleError(
                f"the model of {start} holds what bank {bank} released, which left and is to be unlearned; it is not "
                "gone on from"
            )
