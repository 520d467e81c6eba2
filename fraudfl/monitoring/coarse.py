"""Few wide groups out of many public bins, about equally full in the reference, so that a test has something to say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudfl.privacy.denoise import plausible_counts

Counts = NDArray[np.int64] | NDArray[np.float64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
    """Which group each public bin belongs to.

    Attributes:
        of_bin: Group numbers from 0, without gaps, int64 of shape (bins,).
    """

    of_bin: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.of_bin.max()) + 1

    @property
    def sizes(self) -> Floats:
        """Bins in each group: so many times one bin's noise variance is in a group's count."""
        return np.bincount(self.of_bin).astype(np.float64)

    def sum(self, counts: Counts) -> Floats:
        """Counts of the groups, float64 of shape (count,), from counts of the bins."""
        summed: Floats = np.bincount(self.of_bin, weights=counts.astype(np.float64)).astype(np.float64)
        return summed


def ordered_groups(reference: Counts, wanted: int, least: float, *, last_apart: bool) -> Groups:
    """Group neighbouring bins at the reference's quantiles.

    Args:
        reference: Counts of the reference, shape (bins,); noise in them is taken out first, as far as it shows.
        wanted: Most groups of neighbours.
        least: A group with fewer reference rows joins the one before it (the first one, the one after).
        last_apart: Whether the last bin, of missing values, is a group of its own however full it is; where it is
            empty it joins its neighbour.
    """
    counts = plausible_counts(reference).astype(np.float64)
    apart = last_apart and counts[-1] >= least
    ranked = counts[:-1] if apart else counts
    middle = (np.cumsum(ranked) - ranked / 2) / max(float(ranked.sum()), 1.0)
    quantile = np.minimum((middle * wanted).astype(np.int64), wanted - 1)
    of_bin = _merged(quantile, ranked, least)
    return Groups(np.append(of_bin, of_bin.max() + 1) if apart else of_bin)


def category_groups(reference: Counts, least: float) -> Groups:
    """Keep each value with at least `least` reference rows apart, and put all others into one last group."""
    frequent = reference >= least
    of_bin = np.where(frequent, np.cumsum(frequent) - 1, int(frequent.sum()))
    return Groups(np.unique(of_bin, return_inverse=True)[1].astype(np.int64))


def _merged(group: NDArray[np.int64], counts: Floats, least: float) -> NDArray[np.int64]:
    """Number groups anew, from 0, after each that is too small has joined a neighbour."""
    names, of_bin = np.unique(group, return_inverse=True)
    full = np.bincount(of_bin, weights=counts, minlength=names.size)
    number = np.empty(names.size, np.int64)
    current, held = 0, 0.0
    for position, rows in enumerate(full):
        if held >= least and full[position:].sum() >= least:
            current, held = current + 1, 0.0
        number[position] = current
        held += rows
    return number[of_bin]
