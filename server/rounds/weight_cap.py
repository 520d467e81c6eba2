"""A cap on one bank's share of the weights, so that a bank far larger than the rest does not decide alone."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

from fraudfl.protocols import Vector


class Heaviest:
    """Keeps the heaviest updates of a round back until all weights are known.

    A cap of `share` can bind fewer than 1 / share banks, so that so many updates are all that is kept, however many
    banks there are.
    """

    def __init__(self, share: float) -> None:
        """Begin a round; `share` is the largest that one bank may have of the weights."""
        self._share = share
        self._room = math.ceil(1 / share)
        self._kept: list[tuple[float, str, Vector]] = []

    def push(self, bank: str, update: Vector, weight: float) -> tuple[Vector, float] | None:
        """Take one bank's update; returns the one that no cap can bind any more, once there are enough heavier ones."""
        heapq.heappush(self._kept, (weight, bank, update))
        if len(self._kept) <= self._room:
            return None
        light, _, freed = heapq.heappop(self._kept)
        return freed, light

    def capped(self, rest: float) -> Iterator[tuple[Vector, float]]:
        """The updates kept back, each with the weight that it counts with; `rest` is the weight of all others."""
        heaviest = sorted(self._kept, key=lambda kept: kept[:2], reverse=True)
        weights = capped_weights([weight for weight, _, _ in heaviest], rest, self._share)
        return zip((update for _, _, update in heaviest), weights, strict=True)


def capped_weights(heaviest: Sequence[float], rest: float, share: float) -> list[float]:
    """Lower the heaviest weights to one height, so that none of them is above `share` of the new total.

    Args:
        heaviest: The heaviest weights, > 0, falling: at least ceil(1 / share) of them, or all.
        rest: The sum of all other weights.
        share: The cap, above 0 and below 1.

    Returns:
        The new weights, in the same order; all equal where there are too few banks for the cap to be kept.
    """
    others = rest + math.fsum(heaviest)
    for capped, weight in enumerate(heaviest):
        # With so many at the cap c, c = share * (others + capped * c).
        cap = share * others / (1 - capped * share)
        if weight <= cap:
            return [min(one, cap) for one in heaviest]
        others = rest + math.fsum(heaviest[capped + 1 :])
    return [heaviest[-1]] * len(heaviest) if heaviest else []
