"""What a reply may hold under a plan: names, sizes, shapes, finite numbers, bounded norms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudfl import introduction
from fraudfl.errors import ReleaseRefused, WireError
from fraudfl.models.mlp import Layout
from fraudfl.plan import Plan
from fraudfl.privacy.mechanisms import Mechanism
from fraudfl.protocols import SUMMED, Kind, Scalar
from fraudfl.summed import PARTS, entry_bound, part_sizes, parts_of
from fraudfl.transfer.codec import decode
from fraudfl.transfer.pack import unpack_counts, unpack_signed

# What each kind of reply may hold. Under differential privacy the second set stays at the bank.
_PAYLOADS: dict[Kind, tuple[frozenset[str], frozenset[str]]] = {
    "join": (frozenset(), frozenset()),
    "peers": (frozenset(), frozenset()),
    "confirm": (frozenset({"confirmation"}), frozenset()),
    "reveal": (frozenset({"reveal"}), frozenset()),
    "readiness": (frozenset(), frozenset()),
    **{kind: (frozenset(names), frozenset({"scores"} if kind == "train" else ())) for kind, names in PARTS.items()},
}
_VALUES: dict[Kind, frozenset[str]] = {"train": frozenset({"loss", "examples"})}
_TEXTS: dict[Kind, frozenset[str]] = {
    "join": introduction.NAMES,
    "confirm": frozenset({"survivors"}),
    "reveal": frozenset({"survivors"}),
}
MAX_REPLY_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a task would like to release.

    Attributes:
        mechanism: What it costs in privacy; required for what the plan's ε pays for.
        layout: The model's tensors, for an update.
        vectors: Under secure aggregation, in place of payloads: what is to be added up over banks, float64, noise
            included. The gate encodes and masks it.
        width: Inputs of the model, where a vector is an update.
    """

    values: Mapping[str, Scalar] = field(default_factory=dict)
    payloads: Mapping[str, bytes] = field(default_factory=dict)
    mechanism: Mechanism | None = None
    layout: Layout = ()
    vectors: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    width: int = 0


def check_draft(plan: Plan, kind: Kind, draft: Draft) -> None:
    """Refuse a draft that is not exactly what the plan lets out.

    Raises:
        ReleaseRefused: something is there that may not leave.
        WireError: something that belongs into the reply is missing, or has another shape than the plan says.
    """
    if draft.mechanism != plan.mechanism(kind):
        raise ReleaseRefused(f"what answers {kind!r} was not made by the plan's mechanism")
    if plan.secure_aggregation is not None and kind in SUMMED:
        _check_vectors(plan, kind, draft)
        return
    _check_names(plan, kind, draft)
    for name, value in draft.values.items():
        # What is no number names what was asked.
        if isinstance(value, str) and name in _TEXTS.get(kind, frozenset()):
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ReleaseRefused(f"value {name!r} is no number")
        if not math.isfinite(value):
            raise ReleaseRefused(f"value {name!r} is not finite")
    for name, data in draft.payloads.items():
        if name == "update":
            _check_update(plan, draft, data)
        elif kind in SUMMED:
            size = 2 * plan.score_bins.size if kind == "train" else part_sizes(plan, kind)[name]
            _check_bin(plan, kind, _checked_counts(name, data, size, noisy=plan.mechanism(kind) is not None))


def _check_vectors(plan: Plan, kind: Kind, draft: Draft) -> None:
    """What is added up leaves masked, and nothing leaves beside it."""
    beside = sorted({*draft.payloads, *draft.values})
    if beside:
        raise ReleaseRefused(f"a reply to {kind!r} under this plan may not hold {beside} outside of the sum")
    sizes = {part.name: part.size for part in parts_of(plan, kind, draft.width, plan.min_cohort)}
    if set(draft.vectors) != set(sizes):
        raise WireError(f"a reply to {kind!r} needs {sorted(sizes)}; found {sorted(draft.vectors)}")
    mechanism = plan.mechanism(kind)
    # An update that a bank trained by itself holds its noise already, and is bounded as a whole.
    whole = kind == "train" and plan.privacy.mode != "distributed"
    # Normals of the noise source end below 10 standard deviations.
    most = entry_bound(plan, kind) + (0.0 if whole or mechanism is None else 10 * mechanism.share_deviation)
    for name, vector in draft.vectors.items():
        if vector.dtype != np.float64 or vector.shape != (sizes[name],):
            raise ReleaseRefused(
                f"{name!r} is {vector.dtype} of shape {vector.shape}, expected float64 of shape ({sizes[name]},)"
            )
        if not np.isfinite(vector).all():
            raise ReleaseRefused(f"{name!r} holds numbers that are not finite")
        if np.abs(vector).max(initial=0.0) > most:
            raise ReleaseRefused(f"{name!r} holds a number above the plan's bound of {most:g}")
        _check_bin(plan, kind, vector)
    if whole:
        _check_norm(plan, draft.vectors["update"])


def _check_names(plan: Plan, kind: Kind, draft: Draft) -> None:
    always, in_the_open = _PAYLOADS[kind]
    if kind == "join" and plan.secure_aggregation is not None:
        always = frozenset({"phase-key"})
    allowed = always if plan.private else always | in_the_open
    values = (frozenset() if plan.private else _VALUES.get(kind, frozenset())) | _TEXTS.get(kind, frozenset())
    extra = sorted((set(draft.payloads) - allowed) | (set(draft.values) - values))
    if extra:
        raise ReleaseRefused(f"a reply to {kind!r} under this plan may not hold {extra}")
    if not always <= set(draft.payloads):
        raise WireError(f"a reply to {kind!r} needs {sorted(always)}")


def _check_update(plan: Plan, draft: Draft, data: bytes) -> None:
    update = decode(data, draft.layout, expected=plan.codec.up)
    if not np.isfinite(update).all():
        raise ReleaseRefused("the update holds numbers that are not finite")
    _check_norm(plan, update.astype(np.float64))


def _check_norm(plan: Plan, update: NDArray[np.float64]) -> None:
    norm = float(np.linalg.norm(update))
    if norm > plan.max_update_norm:
        raise ReleaseRefused(
            f"the update's L2 norm is above the plan's bound of {plan.max_update_norm:g}; lower the learning rate, or "
            "raise `max_update_norm` in the phase"
        )


def _checked_counts(name: str, data: bytes, size: int, *, noisy: bool) -> NDArray[np.int64]:
    if noisy:
        return unpack_signed(data, size)
    counts = unpack_counts(data, size)
    if (counts < 0).any():
        raise ReleaseRefused(f"{name!r} holds counts below zero")
    return counts


def _check_bin(plan: Plan, kind: Kind, vector: NDArray[Any]) -> None:
    """A bank is in one bin of gain, and its gain says no more; noise hides from the gate, too, which one it is."""
    if kind != "gain" or plan.mechanism(kind) is not None:
        return
    if vector.sum() != 1 or np.count_nonzero(vector) != 1:
        raise ReleaseRefused("a bank's bin of gain is a single 1; this holds something else, which may not leave")
