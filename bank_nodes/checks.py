"""What a reply may hold under a plan: names, sizes, shapes, finite numbers, bounded norms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fraudfl.errors import ReleaseRefused, WireError
from fraudfl.features.sketch import sketch_size
from fraudfl.models.mlp import Layout
from fraudfl.plan import Plan
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.protocols import Kind, Scalar
from fraudfl.transfer.codec import decode
from fraudfl.transfer.pack import unpack_counts

# What each kind of reply may hold. Under differential privacy the second set stays at the bank.
_PAYLOADS: dict[Kind, tuple[frozenset[str], frozenset[str]]] = {
    "join": (frozenset(), frozenset()),
    "sketch": (frozenset({"sketch"}), frozenset()),
    "train": (frozenset({"update"}), frozenset({"scores"})),
    "evaluate": (frozenset({"validation", "test"}), frozenset()),
    "alone": (frozenset({"validation", "test"}), frozenset()),
}
_VALUES: dict[Kind, frozenset[str]] = {"train": frozenset({"loss", "examples"})}
MAX_REPLY_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a task would like to release.

    Attributes:
        mechanism: What it costs in privacy; required for updates of a private plan.
        layout: The model's tensors, for an update.
    """

    values: Mapping[str, Scalar] = field(default_factory=dict)
    payloads: Mapping[str, bytes] = field(default_factory=dict)
    mechanism: DpSgd | None = None
    layout: Layout = ()


def check_draft(plan: Plan, kind: Kind, draft: Draft) -> None:
    """Refuse a draft that is not exactly what the plan lets out.

    Raises:
        ReleaseRefused: something is there that may not leave.
        WireError: something that belongs into the reply is missing, or has another shape than the plan says.
    """
    _check_names(plan, kind, draft)
    for name, value in draft.values.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ReleaseRefused(f"value {name!r} is no number")
        if not math.isfinite(value):
            raise ReleaseRefused(f"value {name!r} is not finite")
    if plan.private and kind == "train" and draft.mechanism != plan.round_mechanism:
        raise ReleaseRefused("the update was not made by the plan's mechanism")
    for name, data in draft.payloads.items():
        if name == "update":
            _check_update(plan, draft, data)
        else:
            size = sketch_size(plan.encoder) if name == "sketch" else 2 * plan.score_bins.size
            _check_counts(name, data, size)


def _check_names(plan: Plan, kind: Kind, draft: Draft) -> None:
    always, in_the_open = _PAYLOADS[kind]
    allowed = always if plan.private else always | in_the_open
    values = frozenset() if plan.private else _VALUES.get(kind, frozenset())
    extra = sorted((set(draft.payloads) - allowed) | (set(draft.values) - values))
    if extra:
        raise ReleaseRefused(f"a reply to {kind!r} under this plan may not hold {extra}")
    if not always <= set(draft.payloads):
        raise WireError(f"a reply to {kind!r} needs {sorted(always)}")


def _check_update(plan: Plan, draft: Draft, data: bytes) -> None:
    update = decode(data, draft.layout, expected=plan.codec.up)
    if not np.isfinite(update).all():
        raise ReleaseRefused("the update holds numbers that are not finite")
    norm = float(np.linalg.norm(update.astype(np.float64)))
    if norm > plan.max_update_norm:
        raise ReleaseRefused(
            f"the update's L2 norm is above the plan's bound of {plan.max_update_norm:g}; lower the learning rate, or "
            "raise `max_update_norm` in the phase"
        )


def _check_counts(name: str, data: bytes, size: int) -> None:
    if (unpack_counts(data, size) < 0).any():
        raise ReleaseRefused(f"{name!r} holds counts below zero")
