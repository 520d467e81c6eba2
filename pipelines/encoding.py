"""Before the first round: banks take the plan, release sketches, and get one encoder fitted from their sum."""

from __future__ import annotations

import numpy as np

from fraudfl.errors import WireError
from fraudfl.features.encoder import fit_encoder
from fraudfl.features.sketch import Sketch, sketch_size
from fraudfl.folder import write_bytes
from fraudfl.protocols import Reply, Scalar
from fraudfl.transfer.model import start_vector
from fraudfl.transfer.pack import unpack_counts
from pipelines.asking import Enclosed, ask, payload
from pipelines.world import Phase


def join(phase: Phase) -> None:
    """Every bank takes the plan, or says why not."""
    plan = Enclosed(payloads={"plan": phase.plan.canonical_json()})
    ask(phase, "join", 0, lambda _bank: plan, lambda _reply: None)


def fit_shared_encoder(phase: Phase) -> None:
    """Sum the banks' sketches, fit the encoder, and set the model to the public start."""
    spec = phase.plan.encoder
    size = sketch_size(spec)
    total = np.zeros(size, dtype=np.int64)

    def forget() -> None:
        total[:] = 0

    def add(reply: Reply) -> None:
        counts = unpack_counts(payload(reply, "sketch"), size)
        if (counts < 0).any() or counts.sum() > 2**52:
            raise WireError("the sketch holds counts that cannot be")
        total[:] += counts

    ask(phase, "sketch", 0, lambda _bank: Enclosed(), add, forget)
    summed = Sketch.from_vector(spec, total)
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
