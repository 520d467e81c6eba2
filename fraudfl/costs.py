"""What one release of each kind costs under a plan: the mechanism, for a noise multiplier."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fraudfl.privacy.mechanisms import DpSgd, GaussianSum

if TYPE_CHECKING:
    from fraudfl.plan import Plan


def training(plan: Plan, noise_multiplier: float, steps: int) -> DpSgd:
    """So many steps of DP-SGD."""
    privacy = plan.privacy
    return DpSgd(
        sampling_rate=privacy.sampling_rate,
        noise_multiplier=noise_multiplier,
        clip_norm=privacy.clip_norm,
        steps=steps,
        expected_batch=privacy.sampling_rate * (privacy.expected_units or privacy.units),
        unit=privacy.unit,
        parties=plan.parties,
        colluding=_colluding(plan),
    )


def counting(plan: Plan, kind: str, noise_multiplier: float) -> GaussianSum:
    """One release of counts of a kind."""
    return GaussianSum(
        noise_multiplier=noise_multiplier,
        sensitivity=_sensitivity(plan, kind),
        unit=plan.privacy.unit,
        parties=plan.parties,
        colluding=_colluding(plan),
    )


def _sensitivity(plan: Plan, kind: str) -> float:
    """L2 bound of what one unit adds to, or moves in, a bank's counts of a kind."""
    by_account = plan.privacy.unit == "account"
    if kind == "sketch":
        # One transaction counts once in each column's histogram, and among the labels where these are released.
        columns = len(plan.encoder.numeric) + len(plan.encoder.categorical) + (plan.training.prior == "released")
        return math.sqrt(columns) * plan.unit_rows
    if kind == "evaluate":
        # One transaction is in one of the two histograms; an account's may be in both, up to its bound in each.
        return (math.sqrt(2) if by_account else 1.0) * plan.unit_rows
    if kind == "gain":
        # Whatever changes at a bank, its single 1 moves from one bin to another.
        return math.sqrt(2)
    if kind == "profile" and plan.profile is not None:
        return plan.profile.sensitivity(plan.account_rows)
    if kind == "watch" and plan.watch is not None:
        features = len(plan.watch.features.numeric) + len(plan.watch.features.categorical)
        return math.sqrt(features + 1) * plan.unit_rows
    if kind in ("look", "outcome"):
        return float(plan.unit_rows)
    raise ValueError(f"replies to {kind!r} are no counts")


def _colluding(plan: Plan) -> int:
    secure = plan.secure_aggregation
    return secure.colluding if secure is not None and plan.privacy.mode == "distributed" else 0
