"""Settling how a plan's weights travel, where its phase leaves that to a budget of bytes."""

from __future__ import annotations

from fraudfl.config_training import Codec, CodecConfig
from fraudfl.plan import Plan
from fraudfl.summed import parts_of
from fraudfl.transfer.choice import Travelling, choose_codec

_MOST_BANKS = 5000


def settle_codec(plan: Plan, asked: CodecConfig, cohort: int | None) -> Codec:
    """The codec of a plan that is complete but for it; see `choose_codec`.

    Args:
        cohort: Banks asked in one round, where not all are: masked numbers are wider, the more banks they add up.

    Raises:
        PlanError: when nothing that is allowed fits.
    """
    # The encoder is not fitted yet; more inputs than these it cannot have.
    width = plan.encoder.most_inputs
    masked = None
    if plan.secure_aggregation is not None:
        (update,) = parts_of(plan, "train", width, cohort or _MOST_BANKS)
        masked = (update.size * update.encoding.bits + 7) // 8
    layers = len(plan.model.widths(width)) - 1
    travelling = Travelling(plan.model.size(width), 2 * layers, masked)
    return choose_codec(asked, travelling, f"phase {plan.phase}")
