"""How many banks gained how much: counts over public bins, so that no bank's own figure has to be known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fraudfl.errors import WireError
from fraudfl.metrics.bootstrap import Interval

GAIN_EDGES = (-0.2, -0.1, -0.05, -0.02, -0.01, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Edges of the bins; a bin holds the gains from its lower edge, inclusive, to its upper edge."""
GAIN_SIZE = len(GAIN_EDGES) + 2
"""Entries of a bank's vector: the bins, the two outer ones included, and one for a gain that is not defined."""
_TWO_SIDED = 1.959963984540054


def gain_vector(gain: float | None) -> npt.NDArray[np.int64]:
    """What one bank adds to the consortium's sum: a single 1, in the place of its gain.

    Args:
        gain: Federated minus alone on the bank's test rows; None where they hold no fraud.

    Returns:
        int64 of shape (GAIN_SIZE,). One transaction more or less may move the 1: its L2 sensitivity is √2.
    """
    vector = np.zeros(GAIN_SIZE, dtype=np.int64)
    vector[-1 if gain is None else int(np.searchsorted(GAIN_EDGES, gain, side="right"))] = 1
    return vector


@dataclass(frozen=True)
class GainBins:
    """Banks per bin of gain, summed over a consortium.

    Attributes:
        edges: Ascending.
        counts: Banks per bin, length len(edges) + 1; with noise they need not be whole, or positive.
        undefined: Banks whose test rows hold no fraud.
        noise: Standard deviation of the noise in each count; 0 where there is none.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    undefined: float
    noise: float = 0.0

    @classmethod
    def from_vector(cls, vector: npt.NDArray[Any], noise: float = 0.0) -> Self:
        """Read the sum of banks' vectors.

        Raises:
            WireError: if it has another length than a bank's vector.
        """
        if vector.shape != (GAIN_SIZE,):
            raise WireError(f"bins of gain have shape {vector.shape}; expected ({GAIN_SIZE},)")
        counts = [float(count) for count in vector]
        return cls(GAIN_EDGES, tuple(counts[:-1]), counts[-1], noise)

    @classmethod
    def of_gains(cls, gains: Iterable[float | None]) -> Self:
        """Count banks' gains where they may lie side by side: simulation."""
        return cls.from_vector(sum((gain_vector(gain) for gain in gains), np.zeros(GAIN_SIZE, dtype=np.int64)))

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(tuple(facts["edges"]), tuple(facts["counts"]), facts["undefined"], facts["noise"])

    def to_dict(self) -> dict[str, Any]:
        """As `metrics.gain_bins` of an outcome."""
        return {
            "edges": list(self.edges),
            "counts": list(self.counts),
            "undefined": self.undefined,
            "noise": self.noise,
        }

    def share_losing(self, more_than: float) -> tuple[float, Interval] | None:
        """The share of banks with a gain below `-more_than`, and its 95 % interval for the noise in the counts.

        Banks whose gain is not defined count in neither part. Without noise the interval is the share itself.

        Args:
            more_than: The negative of one of the edges.

        Returns:
            None where no bank's gain is defined.

        Raises:
            ValueError: if `-more_than` is no edge.
        """
        losing = self.edges.index(-more_than) + 1
        banks = sum(self.counts)
        if banks < 0.5:
            return None
        share = min(1.0, max(0.0, sum(self.counts[:losing]) / banks))
        # Delta method for a ratio whose upper part is contained in its lower part.
        bins = losing * (1 - share) ** 2 + (len(self.counts) - losing) * share**2
        reach = _TWO_SIDED * self.noise * math.sqrt(bins) / banks
        return share, (max(0.0, share - reach), min(1.0, share + reach))
