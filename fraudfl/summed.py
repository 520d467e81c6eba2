"""What is added up over banks under secure aggregation: which vectors a kind of reply has, and how each is encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fraudfl.errors import PlanError, WireError
from fraudfl.features.sketch import sketch_size
from fraudfl.metrics.gain_bins import GAIN_SIZE
from fraudfl.plan import Plan
from fraudfl.privacy.discretisation import largest_step
from fraudfl.protocols import Kind, Scalar
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.fixed_point import FixedPoint
from fraudfl.trust.keys import canonical

Spec = TypeVar("Spec")
ENTRIES = 2**40
"""More entries than any plan sends, over which no sum wraps but with a probability below 2^-40."""
MOST_COUNT = 2**28
"""Most that one bank counts in one bin."""
PINNED = ("encoder", "model", "version", "prior")
"""Values of a request that say what the banks work on."""
UPDATE_STEP = 2.0**-20
"""Grid of model updates that carry no noise of their own kind."""


@dataclass(frozen=True)
class Part:
    """One vector of a reply that is added up.

    Attributes:
        bound: No entry of a bank's own vector is larger, noise apart.
    """

    name: str
    size: int
    bound: float
    encoding: FixedPoint


def parts_of(plan: Plan, kind: Kind, width: int, parties: int) -> tuple[Part, ...]:
    """The vectors of a kind's reply.

    Args:
        width: Inputs of the model; used for `train` only.
        parties: Banks in the cohort.
    """
    bound = entry_bound(plan, kind)
    encoding = _encoding(plan, kind, bound, parties)
    return tuple(Part(name, size, bound, encoding) for name, size in part_sizes(plan, kind, width).items())


PARTS: Mapping[Kind, tuple[str, ...]] = {
    "profile": ("profile",),
    "sketch": ("sketch",),
    "train": ("update",),
    "look": ("validation",),
    "evaluate": ("validation", "test"),
    "alone": ("validation", "test"),
    "gain": ("gain",),
    "watch": ("features", "scores"),
    "outcome": ("scores",),
}
"""What the vectors of a kind's reply are called."""


def part_sizes(plan: Plan, kind: Kind, width: int = 0) -> dict[str, int]:
    """Entries of each vector of a kind's reply; `width` as in `parts_of`.

    Raises:
        PlanError: when the plan does not say what is counted.
    """
    return {name: _size(plan, kind, name, width) for name in PARTS[kind]}


def _size(plan: Plan, kind: Kind, name: str, width: int) -> int:
    if name == "update":
        return plan.model.size(width)
    if name == "sketch":
        return sketch_size(plan.encoder)
    if name == "gain":
        return GAIN_SIZE
    if name == "profile":
        return _said(plan.profile, kind).size
    if name == "features":
        return _said(plan.watch, kind).size
    if kind == "look":
        return 2 * plan.look_bins.size
    # Rows by score; by their label too, where labels are known.
    return plan.score_bins.size if kind == "watch" else 2 * plan.score_bins.size


def _said(spec: Spec | None, kind: Kind) -> Spec:
    if spec is None:
        raise PlanError(f"the plan does not say what is counted for {kind!r}")
    return spec


def entry_bound(plan: Plan, kind: Kind) -> float:
    """What a bank clamps each entry to, before noise: a projection, so that it changes no sensitivity."""
    if kind != "train":
        return float(MOST_COUNT)
    if plan.privacy.mode == "distributed":
        return plan.privacy.sum_bound * plan.privacy.clip_norm
    return plan.max_update_norm


def _encoding(plan: Plan, kind: Kind, bound: float, parties: int) -> FixedPoint:
    mechanism = plan.mechanism(kind)
    if mechanism is None or (kind == "train" and plan.privacy.mode != "distributed"):
        # Updates of mode `local` have their noise in many steps, and none of it fits a grid.
        return _sums(bound, parties, 0.0, UPDATE_STEP if kind == "train" else 1.0)
    return _sums(bound, parties, mechanism.share_deviation, largest_step(mechanism.share_deviation))


def _sums(bound: float, parties: int, share: float, step: float) -> FixedPoint:
    return FixedPoint.for_sums(bound=bound, parties=parties, deviation=share * parties**0.5, entries=ENTRIES, step=step)


def spell_members(members: Sequence[str], banks: Sequence[str]) -> str:
    """Which of the banks, in their order, are meant: one bit each, as hexadecimal digits."""
    bits = np.isin(np.array(banks), np.array(members))
    return np.packbits(bits).tobytes().hex()


def read_members(text: str, banks: Sequence[str]) -> tuple[str, ...]:
    """Read what `spell_members` wrote; raises WireError when it cannot be about these banks."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise WireError(f"members {text[:80]!r} are not hexadecimal digits") from error
    if len(data) != (len(banks) + 7) // 8:
        raise WireError(f"members take {len(data)} bytes, expected one bit for each of {len(banks)} banks")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).astype(bool)
    if bits[len(banks) :].any():
        raise WireError(f"members name more than the {len(banks)} banks that there are")
    return tuple(bank for bank, meant in zip(banks, bits, strict=False) if meant)


def asked_digest(values: Mapping[str, Scalar]) -> str:
    """SHA-256 (hex) over what a request pins of what its banks work on: encoder, model, version, prior.

    Args:
        values: A request's values; each digest among them is checked against what it is about by whoever loads that.
    """
    pinned = {name: values[name] for name in PINNED if name in values}
    return hashlib.sha256(b"fraudfl/asked/1\0" + canonical(pinned)).hexdigest()


def attempt_of(
    plan: Plan,
    instance: str,
    kind: Kind,
    where: tuple[int, int],
    cohort: tuple[str, ...],
    peers: str,
    asked: str | None = None,
) -> Attempt:
    """The attempt that a request belongs to; its digest is what requests name as the cohort.

    Args:
        where: Round and attempt.
        cohort: The banks asked together, sorted.
        peers: Digest of the phase keys.
        asked: See `asked_digest`; of nothing by default.
    """
    number, attempt = where
    return Attempt(
        plan_hash=plan.hash,
        instance=instance,
        kind=kind,
        round=number,
        attempt=attempt,
        cohort=cohort,
        peers=peers,
        asked=asked_digest({}) if asked is None else asked,
    )
