"""The model on its way to the banks: what each is sent of it, and the step to the next one."""

from __future__ import annotations

import numpy as np

from fraudfl.features.encoder import Encoder
from fraudfl.models.mlp import Layout, build_model, layout
from fraudfl.protocols import Scalar, Vector
from fraudfl.transfer.codec import decode, encode
from fraudfl.transfer.model import derived_seed, vector_digest
from pipelines.asking import Enclosed
from pipelines.world import Phase

_OTHER = -1
"""What banks hold that have the encoder, and a model that no delta leads from."""


def model_layout(phase: Phase) -> Layout:
    """Names and shapes of the model's tensors."""
    return layout(build_model(phase.plan.model, Encoder.from_bytes(phase.state.encoder).width))


def model_for(phase: Phase, bank: str) -> Enclosed:
    """The current model for a bank: nothing when it can compute it, a delta when it keeps up, else the whole.

    Where banks take turns hardly any keeps up: there the whole model goes through the down codec, the same to all.
    """
    state = phase.state
    encoder = Encoder.from_bytes(state.encoder).digest
    values: dict[str, Scalar] = {"version": state.round, "model": vector_digest(state.model), "encoder": encoder}
    if phase.plan.training.prior == "released" and state.prior is not None:
        values["prior"] = state.prior
    payloads = {}
    held = state.held.get(bank)
    if held is None:
        payloads["encoder"] = state.encoder
    if (state.round > 0 or phase.plan.given_start) and held != state.round:
        if state.whole:
            payloads["model"] = state.whole
        elif held is not None and held == state.round - 1:
            payloads["delta"] = state.delta
        else:
            payloads["model"] = encode(state.model, "float32", model_layout(phase))
    return Enclosed(values, payloads)


def publish(phase: Phase, shape: Layout) -> None:
    """Step to the next model through the down codec; what it loses is added to the step after."""
    state = phase.state
    wanted = phase.world.aggregator.finish() + state.lag
    rounding = np.random.default_rng(derived_seed(phase.plan.seed, "down", state.round + 1))
    if phase.terms.cohort is not None:
        state.whole = encode(wanted, phase.plan.codec.down, shape, rng=rounding)
        state.model = decode(state.whole, shape)
    else:
        state.delta = encode(wanted - state.model, phase.plan.codec.down, shape, rng=rounding)
        state.model = state.model + decode(state.delta, shape)
    state.lag = wanted - state.model


def publish_again(phase: Phase, model: Vector) -> None:
    """Go back to an earlier model: every bank gets it whole."""
    state = phase.state
    state.model, state.lag, state.whole = model, np.zeros_like(model), b""
    state.held = dict.fromkeys(state.held, _OTHER)
