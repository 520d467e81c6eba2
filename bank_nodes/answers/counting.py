"""Counts as they may leave a bank: with its noise where ε pays for them, and for a sum where one is made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bank_nodes.gate.checks import Draft
from fraudfl.plan import Plan
from fraudfl.privacy.mechanisms import GaussianSum
from fraudfl.privacy.noise import NoiseSource
from fraudfl.privacy.noisy_counts import noisy_counts
from fraudfl.protocols import Kind
from fraudfl.summed import MOST_COUNT
from fraudfl.transfer.pack import pack_counts, pack_signed


def counted(plan: Plan, kind: Kind, counts: Mapping[str, NDArray[np.int64]], noise: NoiseSource) -> Draft:
    """The draft of a reply that holds counts.

    Args:
        counts: Each vector of the reply, by name; exact.
        noise: Where the bank's noise comes from.
    """
    mechanism = plan.mechanism(kind)
    vectors = {part: np.minimum(found, MOST_COUNT).astype(np.float64) for part, found in counts.items()}
    if isinstance(mechanism, GaussianSum):
        vectors = {part: noisy_counts(vector, mechanism, noise) for part, vector in vectors.items()}
    if plan.secure_aggregation is not None:
        return Draft(mechanism=mechanism, vectors=vectors)
    if mechanism is None:
        return Draft(payloads={part: pack_counts(found) for part, found in counts.items()})
    payloads = {part: pack_signed(np.rint(vector).astype(np.int64)) for part, vector in vectors.items()}
    return Draft(mechanism=mechanism, payloads=payloads)
