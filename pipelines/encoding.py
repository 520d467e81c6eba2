"""Before the first round: banks take the plan, release sketches, and get one encoder fitted from their sum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import WireError
from fraudfl.features.encoder import fit_encoder
from fraudfl.features.sketch import Sketch, sketch_size
from fraudfl.folder import write_bytes
from fraudfl.privacy.denoise import plausible_counts
from fraudfl.protocols import Reply, Scalar
from fraudfl.transfer.model import start_vector
from pipelines.asking import Enclosed, ask, read_counts
from pipelines.peers import hand_round, keep_key
from pipelines.summing import add_up
from pipelines.world import Phase


def join(phase: Phase) -> None:
    """Every bank takes the plan, or says why not; under secure aggregation they then know each other's keys."""
    plan = Enclosed(payloads={"plan": phase.plan.canonical_json()})
    if phase.plan.secure_aggregation is None:
        ask(phase, "join", 0, lambda _bank: plan, lambda _reply: None)
        return
    ask(phase, "join", 0, lambda _bank: plan, lambda reply: keep_key(phase, reply))
    hand_round(phase)


def fit_shared_encoder(phase: Phase) -> None:
    """Sum the banks' sketches, fit the encoder, and set the model to the public start."""
    spec = phase.plan.encoder
    summed = Sketch.from_vector(spec, _summed_sketches(phase))
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


def _summed_sketches(phase: Phase) -> NDArray[np.int64]:
    if phase.plan.secure_aggregation is not None:
        summed = add_up(phase, "sketch", 0, lambda _bank: Enclosed())
        return np.rint(summed.vectors["sketch"]).astype(np.int64)
    total = np.zeros(sketch_size(phase.plan.encoder), dtype=np.int64)

    def forget() -> None:
        total[:] = 0

    def add(reply: Reply) -> None:
        counts = read_counts(phase.plan, reply, "sketch", len(total))
        if np.abs(counts).sum() > 2**52:
            raise WireError("the sketch holds counts that cannot be")
        total[:] += counts

    ask(phase, "sketch", 0, lambda _bank: Enclosed(), add, forget)
    return total
