"""Groups of bins: about equally full, in order, none too small, missing values apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.monitoring.coarse import category_groups, ordered_groups


def test_groups_are_about_equally_full():
    counts = np.random.default_rng(0).multinomial(100_000, np.full(1000, 1e-3))
    groups = ordered_groups(counts, 10, 50, last_apart=False)
    assert groups.count == 10
    assert groups.sum(counts) == pytest.approx(np.full(10, 10_000), rel=0.02)


@given(
    counts=st.lists(st.integers(0, 500), min_size=2, max_size=60),
    wanted=st.integers(2, 20),
    least=st.integers(5, 200),
    apart=st.booleans(),
)
def test_groups_are_neighbours_without_gaps_and_none_of_several_is_too_small(counts, wanted, least, apart):
    values = np.array(counts)
    groups = ordered_groups(values, wanted, least, last_apart=apart)
    assert groups.of_bin[0] == 0
    assert set(np.diff(groups.of_bin)) <= {0, 1}
    assert groups.count <= wanted + 1
    assert groups.sum(values).sum() == values.sum()
    assert groups.sizes.sum() == values.size
    neighbours = groups.of_bin[:-1] if apart and counts[-1] >= least else groups.of_bin
    if neighbours.max() > 0:
        assert (np.bincount(neighbours, weights=values[: neighbours.size]) >= least).all()


def test_missing_values_are_a_group_of_their_own_when_there_are_enough():
    counts = np.array([500, 500, 500, 80])
    assert list(ordered_groups(counts, 3, 50, last_apart=True).of_bin) == [0, 1, 2, 3]
    assert list(ordered_groups(counts, 3, 100, last_apart=True).of_bin) == [0, 1, 2, 2]


def test_noise_in_empty_bins_does_not_move_the_groups():
    rng = np.random.default_rng(1)
    counts = np.zeros(1000, np.int64)
    counts[480:520] = 2500
    clean = ordered_groups(counts, 10, 50, last_apart=False)
    noisy = ordered_groups(counts + np.rint(rng.normal(0, 10, 1000)).astype(np.int64), 10, 50, last_apart=False)
    assert np.abs(noisy.sum(counts) - clean.sum(counts)).max() <= 2500


def test_rare_categories_share_the_last_group():
    assert list(category_groups(np.array([900, 3, 400, 0, 7]), 50).of_bin) == [0, 2, 1, 2, 2]
    assert list(category_groups(np.array([900, 60]), 50).of_bin) == [0, 1]
