"""Counts with the noise that ε pays for: encoder sketches and score histograms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fraudfl.privacy.mechanisms import GaussianSum
from fraudfl.privacy.noise import NoiseSource


def noisy_counts(counts: ArrayLike, mechanism: GaussianSum, noise: NoiseSource) -> NDArray[np.float64]:
    """Add one bank's noise to a vector of counts.

    Args:
        counts: Shape (bins,); one unit moves it by at most `mechanism.sensitivity`, in L2.
        mechanism: What it costs.
        noise: Where the noise comes from.

    Returns:
        float64, shape (bins,). With several parties it is protected by a share only: it must leave the bank masked.
    """
    exact = np.asarray(counts, dtype=np.float64)
    return exact + mechanism.share_deviation * noise.gaussian(exact.shape)
