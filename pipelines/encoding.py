"""Before the first round: banks take the plan, release sketches, and get one encoder fitted from their sum."""

from __future__ import annotations

import numpy as np

from fraudfl.features.encoder import fit_encoder
from fraudfl.features.sketch import Sketch
from fraudfl.folder import write_bytes
from fraudfl.privacy.denoise import plausible_counts
from fraudfl.protocols import Checkpoint, Scalar
from fraudfl.transfer.model import start_vector, vector_digest
from pipelines.asking import Enclosed, ask
from pipelines.counts import sum_counts
from pipelines.peers import hand_round, welcome
from pipelines.world import Phase, State


def join(phase: Phase) -> None:
    """Every bank takes the plan, or says why not; under secure aggregation they then know each other's keys."""
    plan = Enclosed(payloads={"plan": phase.plan.canonical_json()})
    ask(phase, "join", 0, lambda _bank: plan, lambda reply: welcome(phase, reply))
    if phase.plan.secure_aggregation is not None:
        hand_round(phase)


def fit_shared_encoder(phase: Phase) -> None:
    """Sum the banks' sketches, fit the encoder, and set the model to the public start."""
    spec = phase.plan.encoder
    summed = Sketch.from_vector(spec, sum_counts(phase, "sketch").vectors["sketch"].astype(np.int64))
    if phase.plan.encoder_noise is not None:
        summed = summed.each(plausible_counts)
    encoder = fit_encoder(spec, summed)
    phase.state.encoder = encoder.to_bytes()
    write_bytes(phase.world.folder / "encoder.json", phase.state.encoder)
    values: dict[str, Scalar] = {}
    if phase.plan.training.prior == "released":
        negatives, positives = summed.counts["label"]
        phase.state.prior = float((positives + 1) / (positives + negatives + 2))
        values = {"prior": phase.state.prior}
    phase.state.model = start_vector(phase.plan, encoder.width, values)
    phase.state.lag = np.zeros_like(phase.state.model)
    phase.world.progress.event("encoder", width=encoder.width, bytes=len(phase.state.encoder))


def take_start(phase: Phase) -> None:
    """Begin with a model and an encoder that are there already; no bank releases anything for it."""
    if phase.before is not None:
        _go_on_from(phase, phase.before)
        return
    assert phase.start is not None  # whoever made the phase has looked
    phase.state.encoder = phase.start.encoder.to_bytes()
    write_bytes(phase.world.folder / "encoder.json", phase.state.encoder)
    phase.state.model = np.array(phase.start.weights, dtype=np.float32)
    phase.state.lag = np.zeros_like(phase.state.model)
    phase.world.progress.event("started from", digest=vector_digest(phase.state.model))


def _go_on_from(phase: Phase, before: Checkpoint) -> None:
    """Take over what training needs of another phase's checkpoint; of its banks it knows nothing."""
    found, own = State.from_checkpoint(before)
    state = phase.state
    state.round, state.encoder, state.prior = found.round, found.encoder, found.prior
    state.model, state.lag, state.best, state.notes = found.model, found.lag, found.best, found.notes
    phase.world.aggregator.restore(own)
    write_bytes(phase.world.folder / "encoder.json", state.encoder)
    phase.world.progress.event("started from", digest=vector_digest(state.model), round=state.round)
