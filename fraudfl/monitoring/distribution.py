"""How the scores of a window are distributed, over few public bands of probability, beside quiet windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fraudfl.metrics.histogram import ScoreBins
from fraudfl.monitoring.coarse import Counts
from fraudfl.monitoring.observed import Observed

_BANDS = 64
_FAR = 9.0  # logits; scores beyond, of less than about 0.01 % or more than 99.99 %, are one band
_SEEN = 3.0  # standard deviations of noise; fewer rows than that many in a band may be none


@dataclass(frozen=True)
class Band:
    """Transactions whose scores lie between two probabilities.

    Attributes:
        logit_low, logit_high: The band's edges.
        rows: How many; None where they may be noise alone.
        share: Of all the window's transactions; None with `rows`.
        first, last: Whether it is the lowest band, which holds what lies below it too, or the highest.
    """

    logit_low: float
    logit_high: float
    rows: float | None
    share: float | None
    first: bool = False
    last: bool = False

    @property
    def middle(self) -> float:
        """The logit at its middle; of the outermost bands, which have no end, at the edge that they have."""
        if self.first or self.last:
            return self.logit_high if self.first else self.logit_low
        return (self.logit_low + self.logit_high) / 2

    @property
    def low(self) -> float:
        """Probability of fraud from which on a transaction is counted here; 0 in the lowest band."""
        return 0.0 if self.first else _probability(self.logit_low)

    @property
    def high(self) -> float:
        """Probability below which it is; 1 in the highest."""
        return 1.0 if self.last else _probability(self.logit_high)


def score_bands(scores: Counts, bins: ScoreBins, noise_variance: float = 0.0) -> tuple[Band, ...]:
    """Shares of transactions by score, by rising probability.

    Args:
        scores: Rows per score bin, shape (bins.size,); noise may have left some below zero.
        bins: The public bins. Bands of about half a logit are made of them, and one on each side for what lies beyond
            0.01 % and 99.99 %.
        noise_variance: Of the Gaussian noise in each count.
    """
    counts = np.asarray(scores, dtype=np.float64)
    width = max(1, bins.count // _BANDS)
    # The two outer bins, of what lies beyond the edges, go with their neighbours.
    starts = np.arange(0, bins.count, width)
    starts = starts[(starts == 0) | (np.abs(bins.edges[starts]) <= _FAR)]
    summed = np.add.reduceat(counts[1:-1], starts)
    summed[0] += counts[0]
    summed[-1] += counts[-1]
    held = np.diff(np.append(starts, bins.count)).astype(np.float64)
    held[[0, -1]] += 1
    total = max(float(counts.sum()), 1.0)
    edges = [float(edge) for edge in bins.edges[np.append(starts, bins.count)]]
    last = len(starts) - 1
    return tuple(
        Band(low, high, rows, None if rows is None else rows / total, first=place == 0, last=place == last)
        for place, (low, high) in enumerate(pairwise(edges))
        for rows in (_seen(float(summed[place]), math.sqrt(noise_variance * held[place])),)
    )


def quiet_before(observed: Sequence[Observed], window: int, quiet: int) -> tuple[Observed, ...]:
    """The quiet windows that a window's scores are compared with: the first of the same model, once there are so many.

    Scores of different models have no common scale, so that those of another model are no reference.

    Args:
        observed: All windows, by number.
        window: The number of one of them.
        quiet: How many windows make a reference.
    """
    own = next(one for one in observed if one.window == window)
    same = [one for one in observed if one.model == own.model and one.window < window][:quiet]
    return tuple(same) if len(same) == quiet else ()


def reference_bands(quiet: Sequence[Observed], bins: ScoreBins) -> tuple[Band, ...]:
    """The bands of quiet windows together; empty without any."""
    if not quiet:
        return ()
    return score_bands(np.sum([one.scores for one in quiet], axis=0), bins, sum(one.noise for one in quiet))


def known_labels(observed: Observed) -> float | None:
    """Share of a window's rows whose labels were known when they were asked for.

    None before that, and where other banks answered then, so that the rows are not the same ones.
    """
    if observed.outcome is None or {*observed.judged_by} != {*observed.counted_by}:
        return None
    rows = float(observed.scores.sum())
    return min(1.0, max(0.0, float(observed.outcome.sum()) / rows)) if rows > 0 else None


def _seen(rows: float, noise: float) -> float | None:
    """Rows that are more than noise of a standard deviation would be; None of others."""
    return None if noise and rows <= _SEEN * noise else rows


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
