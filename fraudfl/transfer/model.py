"""How the model travels: a public start that never does, then deltas, each pinned by the digest of the result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from fraudfl.plan import Plan
from fraudfl.protocols import Scalar, Vector


def start_vector(plan: Plan, width: int, values: Mapping[str, Scalar]) -> Vector:
    """The public start, float32, shape (size,): both sides compute it from the plan.

    Args:
        values: A request's values; `prior` among them when the plan takes it from a release.
    """
    # torch: digests and seeds do without.
    from fraudfl.models.mlp import initial_vector

    prior = float(values["prior"]) if plan.training.prior == "released" else float(plan.training.prior)
    return initial_vector(plan.model, width, prior=prior, seed=plan.seed)


def vector_digest(vector: Vector) -> str:
    """SHA-256 (hex) of a float32 vector's little-endian bytes."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f4").tobytes()).hexdigest()


def derived_seed(*parts: object) -> int:
    """One 63-bit seed from what it is for; equal parts, equal seed."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
