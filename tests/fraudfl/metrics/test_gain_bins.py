"""Bins of gain: one bank is a single 1, sums are counts, and noise in them is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.errors import WireError
from fraudfl.metrics.gain_bins import GAIN_EDGES, GAIN_SIZE, GainBins, gain_vector

gains = st.lists(st.none() | st.floats(-1, 1), min_size=1, max_size=30)


@given(gains, st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.2]))
def test_the_sum_of_banks_vectors_gives_the_share_that_loses(drawn, loss):
    summed = np.sum([gain_vector(gain) for gain in drawn], axis=0)
    bins = GainBins.from_vector(summed)
    defined = [gain for gain in drawn if gain is not None]
    assert (sum(bins.counts), bins.undefined) == (len(defined), len(drawn) - len(defined))
    found = bins.share_losing(loss)
    if not defined:
        assert found is None
        return
    share = np.mean([gain < -loss for gain in defined])
    assert found == (pytest.approx(share), (pytest.approx(share), pytest.approx(share)))
    assert GainBins.of_gains(drawn) == bins


@pytest.mark.parametrize("gain", [None, -1.0, *GAIN_EDGES, 1.0])
def test_a_bank_is_a_single_one_whatever_it_gained(gain):
    vector = gain_vector(gain)
    assert (vector.dtype, vector.shape, vector.sum(), vector.max()) == (np.int64, (GAIN_SIZE,), 1, 1)
    if gain in GAIN_EDGES:
        assert vector[GAIN_EDGES.index(gain) + 1] == 1


def test_the_interval_holds_the_true_share_under_noise_as_often_as_it_says():
    rng = np.random.default_rng(5)
    truth = np.array([20, 20, 20, 20, 20, 20, 20, 20, 20, 10, 10, 2], dtype=float)
    share, hits = truth[:5].sum() / truth[:-1].sum(), 0
    for _ in range(1000):
        noisy = truth + rng.normal(0, 2.0, truth.size)
        _, (low, high) = GainBins.from_vector(noisy, noise=2.0).share_losing(0.01)
        hits += low <= share <= high
    # Binomial: 0.95 give or take 3.5 standard errors of 0.007.
    assert 0.925 < hits / 1000 < 0.975


def test_more_noise_makes_a_wider_interval_that_stays_a_share():
    bins = [GainBins.from_vector(np.array([1.0] * 12), noise) for noise in (0.0, 1.0, 9.0)]
    widths = [high - low for _, (low, high) in (one.share_losing(0.01) for one in bins)]
    assert widths[0] == 0 < widths[1] < widths[2] <= 1


def test_bins_are_kept_in_an_outcome_and_read_again():
    bins = GainBins.from_vector(np.arange(12) + 0.5, noise=1.5)
    assert GainBins.from_dict(json.loads(json.dumps(bins.to_dict()))) == bins


def test_a_sum_of_another_length_is_refused():
    with pytest.raises(WireError, match=r"shape \(11,\); expected \(12,\)"):
        GainBins.from_vector(np.zeros(11))
