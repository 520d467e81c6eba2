"""Counts after noise: none below zero, the total kept, and the nearest such to what came in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize

from fraudfl.privacy.denoise import plausible_counts

NOISY = hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e6, 1e6))


@given(NOISY)
def test_no_count_is_negative_and_their_total_is_the_noisy_one(noisy: np.ndarray) -> None:
    counts = plausible_counts(noisy)
    assert counts.dtype == np.int64
    assert (counts >= 0).all()
    # Each count is rounded by half at most.
    assert abs(counts.sum() - max(0.0, noisy.sum())) <= noisy.size / 2 + 1e-6


@given(hnp.arrays(np.int64, st.integers(0, 40), elements=st.integers(0, 10**9)))
def test_counts_without_noise_stay_as_they_are(counts: np.ndarray) -> None:
    assert plausible_counts(counts).tolist() == counts.tolist()


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 0)))
def test_a_total_that_is_not_positive_leaves_no_counts(noisy: np.ndarray) -> None:
    assert plausible_counts(noisy).sum() == 0


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_nearest_point_that_an_optimiser_finds_too(seed: int) -> None:
    noisy = np.random.default_rng(seed).normal(2, 40, 8) * 1000
    noisy[0] += 1e5
    total = noisy.sum()
    found = minimize(
        lambda x: ((x - noisy / 1e4) ** 2).sum(),
        np.full(8, total / 8e4),
        bounds=[(0, None)] * 8,
        constraints={"type": "eq", "fun": lambda x: x.sum() - total / 1e4},
        tol=1e-12,
    )
    np.testing.assert_allclose(plausible_counts(noisy), found.x * 1e4, rtol=0, atol=20)


def test_noise_over_many_empty_bins_adds_nothing_to_the_total_on_average() -> None:
    random = np.random.default_rng(1)
    truth = np.zeros(2000)
    truth[:5] = 400
    totals = [plausible_counts(truth + random.normal(0, 10, 2000)).sum() for _ in range(40)]
    cut = [np.maximum(truth + random.normal(0, 10, 2000), 0).sum() for _ in range(40)]
    # The noise of a total is 10·sqrt(2000) = 447; of the mean of forty, 71.
    assert np.mean(totals) == pytest.approx(2000, abs=4 * 71)
    assert np.mean(cut) > 2000 + 5000  # what cutting at zero would add: 2000 · 10 / sqrt(2π)
