"""Fixed-point numbers modulo 2^bits: real vectors become integers whose sum is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.streams import Residues, check_residues

Values = npt.NDArray[np.float64]

WRAP_PROBABILITY = 2.0**-40
"""The most that the probability may be that any sum of a plan wraps."""
_MOST_BITS = 63


@dataclass(frozen=True)
class FixedPoint:
    """A grid and a modulus.

    A sum decodes to what it is when it lies between -2^(bits-1) and 2^(bits-1) - 1 steps, and to another number when
    it does not: it wraps, and nobody can tell. `for_sums` and `counts` choose `bits` so that it does not.

    Attributes:
        step: Distance of neighbouring values, > 0.
        bits: Of the modulus, 1 to 63.

    Raises:
        SecureAggregationError: when one is out of range.
    """

    step: float
    bits: int

    def __post_init__(self) -> None:
        """Check both."""
        if not (self.step > 0 and math.isfinite(self.step)) or not 1 <= self.bits <= _MOST_BITS:
            raise SecureAggregationError(
                f"fixed point: found step {self.step} and {self.bits} bits; expected a step above 0 and 1 to "
                f"{_MOST_BITS} bits"
            )

    @classmethod
    def for_sums(cls, bound: float, parties: int, deviation: float, entries: int, step: float) -> FixedPoint:
        """The fewest bits with which no sum over a whole plan wraps, but for a probability below 2^-40.

        A sum is at most `parties * bound`, plus `parties * step` of rounding, plus Gaussian noise; the probability is
        the noise's two tails beyond what is left of the modulus, times the number of entries (union bound).

        Args:
            bound: The most that one bank's entry is in absolute value, before noise.
            parties: Most banks in a sum.
            deviation: Standard deviation of the noise in a sum with all `parties` in it; 0 when there is none.
            entries: Numbers opened over the whole plan: vector length times rounds and attempts.
            step: The grid.

        Raises:
            SecureAggregationError: when an argument is out of range, or more than 63 bits would be needed.
        """
        _check_sum(bound, parties, deviation, entries)
        cls(step, 1)
        largest = parties * (Fraction(bound) / Fraction(step) + 1)
        for bits in range(1, _MOST_BITS + 1):
            room = 2 ** (bits - 1) - 1 - largest
            if room >= 0 and _wraps(float(room), deviation / step, entries) < WRAP_PROBABILITY:
                return cls(step, bits)
        raise SecureAggregationError(
            f"fixed point: sums of {parties} banks' entries up to {bound} with noise of deviation {deviation} need "
            f"more than {_MOST_BITS} bits in steps of {step}; take a coarser step"
        )

    @classmethod
    def counts(cls, most: int) -> FixedPoint:
        """Whole numbers whose sum is between `-most` and `most`, exactly."""
        if most < 0:
            raise SecureAggregationError(f"fixed point: found a largest sum of {most}; expected 0 or more")
        return cls(1.0, most.bit_length() + 1)

    def encode(self, values: Values, uniforms: Values | None = None) -> Residues:
        """Round to the grid, up with the probability that keeps the mean, and reduce modulo 2^bits.

        Args:
            values: float64, shape (size,); the caller has clamped them, before any noise.
            uniforms: float64 in [0, 1), shape (size,), unpredictable. Without them every value must be on the grid.

        Returns:
            uint64, shape (size,), below 2^bits.

        Raises:
            SecureAggregationError: when a value is not finite, does not fit into 63 bits of steps, or is off the grid
                and there are no uniforms.
        """
        steps = values / self.step
        if not bool(np.all(np.abs(steps) < 2.0**62)):
            raise SecureAggregationError(f"fixed point: a value is not finite, or too large for steps of {self.step}")
        whole = np.floor(steps)
        if uniforms is None:
            if bool(np.any(whole != steps)):
                raise SecureAggregationError(f"fixed point: a value is no multiple of {self.step}; expected uniforms")
        else:
            whole += uniforms < steps - whole
        return whole.astype(np.int64).view(np.uint64) & np.uint64(2**self.bits - 1)

    def decode(self, residues: Residues) -> Values:
        """The numbers that a sum's residues stand for: those nearest to zero.

        Args:
            residues: uint64, shape (size,), below 2^bits.

        Returns:
            float64, shape (size,): multiples of the step from -2^(bits-1) to 2^(bits-1) - 1 steps.
        """
        check_residues(residues, residues.size, self.bits, "fixed point")
        unused = np.int64(64 - self.bits)
        # The highest of `bits` is moved to the sign's place, and spread on the way back.
        whole = (residues << unused.astype(np.uint64)).view(np.int64) >> unused
        return whole.astype(np.float64) * self.step


def _check_sum(bound: float, parties: int, deviation: float, entries: int) -> None:
    for name, value, least in (
        ("bound", bound, 0),
        ("parties", parties, 1),
        ("deviation", deviation, 0),
        ("entries", entries, 1),
    ):
        if not (math.isfinite(value) and value >= least):
            raise SecureAggregationError(f"fixed point: {name}: found {value}; expected {least} or more")


def _wraps(room: float, deviation: float, entries: int) -> float:
    """Bound on the probability that any entry's noise is beyond the room on either side; both are in steps."""
    if deviation == 0:
        return 0.0
    return entries * math.erfc(room / (deviation * math.sqrt(2.0)))
