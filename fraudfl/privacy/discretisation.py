"""What whole numbers and a modulus change in the privacy of summed noise: a bound on δ; its proof is in the docs.

Each bank rounds its noisy vector to a grid at random, and the coordinator sees the sum of the grid's numbers in a
modulus. docs/privacy-accounting.md shows that this is, up to what is bounded here, the sum of the continuous vectors
with something done to it afterwards, which costs no privacy.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from fraudfl.errors import PrivacyError
from fraudfl.privacy.mechanisms import Mechanism

MOST_BANKS = 10_000
"""The bound holds for every sum over up to so many banks."""
COARSEST = 3.0
"""A bank's noise must have at least so many grid steps in one standard deviation."""
FARTHEST = -NormalDist().inv_cdf(2.0**-65)
"""No draw of `NoiseSource.gaussian` is further from zero, in standard deviations."""
_CELLS = 4096


def largest_step(share_deviation: float) -> float:
    """The widest grid on which the rounding of one bank's noisy entries is accounted for.

    Args:
        share_deviation: Standard deviation of the noise that one bank adds to each entry.
    """
    return share_deviation / COARSEST


def discretisation_delta(mechanism: Mechanism, *, step: float, width: float, size: int, epsilon: float) -> float:
    """Bound what must be added to δ because sums are made of rounded numbers and the noise has an end.

    Args:
        mechanism: All that is released, its `parties` being the banks whose noise counts; for colluding banks pass
            `against_colluders()`.
        step: Width of the grid, in the entries' own units.
        width: Width of the modulus in the same units: number of residues times `step`.
        size: Entries of one released vector.
        epsilon: The ε that the mechanism is accounted with.

    Returns:
        An upper bound, > 0; a good grid makes it far smaller than any δ.

    Raises:
        PrivacyError: if the grid is coarser than `largest_step`, or no grid at all.
    """
    deviation = mechanism.share_deviation
    if not 0 < step <= largest_step(deviation) * (1 + 1e-9):
        raise PrivacyError(
            f"the grid's step is {step:.4g}, and a bank's noise has standard deviation {deviation:.4g}; expected a "
            f"step above 0 and up to {largest_step(deviation):.4g}. Take a finer grid"
        )
    entries = size * mechanism.times
    rounding = (1 + math.exp(epsilon)) * entries * rounding_distance(step, deviation, width)
    return rounding + mechanism.times * truncation_delta(mechanism, size)


def rounding_distance(step: float, share_deviation: float, width: float, banks: int = MOST_BANKS) -> float:
    """Bound the statistical distance, per entry, of a sum of rounded numbers and a rounded sum.

    It holds whatever the banks' own figures are, for any number of banks up to `banks`.

    Args:
        step: Width of the grid.
        share_deviation: Standard deviation of each bank's noise, in the same units.
        width: Width of the modulus, in the same units.
        banks: Most banks in a sum.
    """
    period = 2 * math.pi * share_deviation / step
    edges = np.linspace(0, period / 2, _CELLS + 1)
    low, high = edges[:-1], edges[1:]
    # In each cell the larger end of what rises and of what falls, so that no frequency between them is missed.
    log_aliases = math.log(2) - (period - high) ** 2 / 2 - math.log1p(-math.exp(-(period**2)))
    log_whole = np.log(np.exp(-(low**2) / 2) + np.exp(log_aliases))
    # n·b^(n-1) is largest at n = -1/log b.
    with np.errstate(divide="ignore"):
        worst = np.where(log_whole < 0, np.clip(-1 / log_whole, 2, banks), banks)
    log_difference = float(np.max(np.log(worst) + log_aliases + (worst - 1) * log_whole))
    return min(1.0, math.exp(min(0.0, log_difference + math.log(width / step / 2))))


def truncation_delta(mechanism: Mechanism, size: int) -> float:
    """Bound what one release's δ grows by because each bank's noise ends at `FARTHEST` standard deviations.

    One unit's part of the sum, at most `norm` long, is as good as spread over the noise of all parties. The mass of
    the noise that it moves past the ends is all that the ends can give away; over all vectors of that length it is
    largest for one that mixes a long entry with many short ones, and no larger than the two together.
    """
    shift = mechanism.norm / (mechanism.parties * mechanism.share_deviation)
    if shift > FARTHEST - 1:
        return 1.0
    many_short = math.exp(-(FARTHEST**2) / 2) / math.sqrt(2 * math.pi) * shift * (math.sqrt(size) - 1)
    return mechanism.parties * (many_short + _beyond(FARTHEST - shift) - _beyond(FARTHEST))


def _beyond(value: float) -> float:
    return math.erfc(value / math.sqrt(2)) / 2
