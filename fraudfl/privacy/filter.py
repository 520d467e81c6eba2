"""Privacy across plans that are chosen one after another: an RDP filter at one order that the cap fixes beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fraudfl.privacy.accounting import Grouped, Spent
from fraudfl.privacy.mechanisms import gaussian_event

_ORDERS = tuple(
    sorted(
        {round(1 + number / 10, 1) for number in range(1, 100)}
        | {float(number) for number in range(11, 65)}
        | {float(round(64 * 1.1**power)) for power in range(1, 60)}
    )
)
"""Orders that a cap may fix; whole numbers above 11, which are quick to compute."""


@dataclass(frozen=True)
class RdpFilter:
    """Decides for each next release whether all releases together stay within a cap, whoever chose them and when.

    Composition theorems for mechanisms that were fixed beforehand do not hold where the next plan is chosen after
    seeing what the last one released. The sum of Rényi divergences at one order does, as long as the order is fixed
    beforehand and nothing more is released once the sum would pass the order's budget.

    Attributes:
        cap: Most ε.
        delta: At this δ.

    Source: Feldman and Zrnic 2021, theorem 4.3 (Rényi filter); the conversion to (ε, δ) is Canonne et al. 2020,
    proposition 12.
    """

    cap: float
    delta: float

    @property
    def order(self) -> float:
        """The order α, from cap and δ alone: the one at which a single Gaussian that just meets the cap is largest."""
        return _order_of(self.cap, self.delta)

    def epsilon(self, spent: Spent) -> float:
        """Return what the sum of divergences at the filter's order comes to as ε at δ; 0 when nothing was spent.

        Raises:
            PrivacyError: if the mechanisms protect different units.
        """
        grouped = spent.grouped()
        if not grouped:
            return 0.0
        divergence = sum(times * _divergences(q, noise, (self.order,))[0] for (q, noise), times in grouped)
        return float(divergence + _conversion(self.order, self.delta))

    def allows(self, spent: Spent) -> bool:
        """Whether all of this, the next release included, stays within the cap."""
        return self.epsilon(spent) <= self.cap * (1 + 1e-6)


def quick_epsilon(grouped: Grouped, delta: float) -> float:
    """Bound ε of mechanisms fixed beforehand within microseconds, by the best of many orders; a little above PLD's."""
    if not grouped:
        return 0.0
    divergence = sum(times * _divergences(q, noise, _QUICK) for (q, noise), times in grouped)
    return float(np.min(divergence + np.array([_conversion(order, delta) for order in _QUICK])))


_QUICK = tuple(order for order in _ORDERS if order in (1.5, 2.0, 2.5) or (order >= 3 and order == int(order)))


@lru_cache(maxsize=1024)
def _divergences(sampling_rate: float, noise_multiplier: float, orders: tuple[float, ...]) -> NDArray[np.float64]:
    # Imported on use: see `mechanisms.gaussian_event`.
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant(orders=list(orders))
    accountant.compose(gaussian_event(sampling_rate, noise_multiplier, 1))
    return np.asarray(accountant.rdp, dtype=np.float64)


@lru_cache(maxsize=256)
def _order_of(cap: float, delta: float) -> float:
    # A Gaussian's divergence is its order times what it has spent, so that most can be spent where this is largest.
    return max(_ORDERS, key=lambda order: (cap - _conversion(order, delta)) / order)


def _conversion(order: float, delta: float) -> float:
    return math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
