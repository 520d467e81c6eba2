"""Adding up what banks count: masked and opened as one sum under secure aggregation, bank by bank without it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fraudfl.errors import WireError
from fraudfl.protocols import Kind, Reply
from fraudfl.summed import part_sizes
from pipelines.asking import Enclosed, ask, read_counts
from pipelines.summing import Summed, add_up
from pipelines.world import Phase

_MOST = 2**52
"""More than a bank can count; up to it float64 adds up whole numbers exactly."""


def sum_counts(
    phase: Phase, kind: Kind, number: int = 0, enclose: Callable[[str], Enclosed] = lambda _bank: Enclosed()
) -> Summed:
    """Ask the banks for their counts, and add them up.

    Args:
        kind: Any whose replies are counts.
        number: The round or window.
        enclose: What to send to a bank; the same for each attempt.

    Returns:
        The sums by name, whole numbers as float64, below zero only where they carry noise.

    Raises:
        QuorumError: when too few banks answer, after all attempts.
    """
    if phase.plan.secure_aggregation is not None:
        summed = add_up(phase, kind, number, enclose)
        return Summed({name: np.rint(vector) for name, vector in summed.vectors.items()}, summed.banks)
    totals = {name: np.zeros(size) for name, size in part_sizes(phase.plan, kind).items()}

    def forget() -> None:
        for total in totals.values():
            total[:] = 0

    def add(reply: Reply) -> None:
        read = {name: read_counts(phase.plan, reply, name, len(total)) for name, total in totals.items()}
        # Nothing of a reply is added before all of it was read.
        for name, counts in read.items():
            if np.abs(counts).sum() > _MOST:
                raise WireError(f"{name!r} holds counts that cannot be")
        for name, counts in read.items():
            totals[name] += counts

    return Summed(totals, frozenset(ask(phase, kind, number, enclose, add, forget)))
