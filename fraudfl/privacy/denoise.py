"""Counts again from counts with noise: none below zero, and no more in all than there were."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def plausible_counts(noisy: ArrayLike) -> NDArray[np.int64]:
    """The nearest counts that are not negative and add up to the noisy total.

    Cutting at zero alone would leave half of the noise of all empty bins in the sum, always on the same side. It comes
    after the noise, so it costs no privacy.

    Args:
        noisy: Counts of one histogram, shape (bins,).

    Returns:
        int64, shape (bins,).

    Source: projection onto a simplex, Duchi et al. 2008.
    """
    values = np.asarray(noisy, dtype=np.float64)
    total = values.sum()
    if total <= 0 or values.size == 0:
        return np.zeros(values.shape, dtype=np.int64)
    descending = np.sort(values)[::-1]
    excess = (np.cumsum(descending) - total) / np.arange(1, values.size + 1)
    kept = int(np.count_nonzero(descending > excess))
    counts: NDArray[np.int64] = np.rint(np.maximum(values - excess[kept - 1], 0)).astype(np.int64)
    return counts
