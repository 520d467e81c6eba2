"""Noise and Poisson draws: their distribution, their independence of seeds, and that no two sources agree."""

import copy
import os
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from fraudfl.errors import PrivacyError
from fraudfl.privacy.noise import NoiseSource


def test_two_sources_differ():
    assert NoiseSource().random_bytes(64) != NoiseSource().random_bytes(64)


def test_a_source_never_repeats_itself():
    source = NoiseSource()
    blocks = {bytes(source.random_bytes(16)) for _ in range(2000)}
    assert len(blocks) == 2000


def test_global_seeds_do_not_influence_the_noise():
    draws = []
    for _ in range(2):
        np.random.seed(0)
        torch.manual_seed(0)
        draws.append(NoiseSource().gaussian(10))
    assert not np.array_equal(*draws)


def test_drawing_noise_leaves_global_generators_alone():
    before = torch.get_rng_state()
    state = np.random.get_state()[1].copy()
    NoiseSource().gaussian(100)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_only_the_source_for_tests_repeats():
    first, second = NoiseSource.for_tests(3), NoiseSource.for_tests(3)
    np.testing.assert_array_equal(first.gaussian(1000), second.gaussian(1000))
    assert not np.array_equal(first.gaussian(1000), NoiseSource.for_tests(4).gaussian(1000))


def test_the_stream_does_not_depend_on_how_it_is_cut():
    whole = NoiseSource.for_tests(3).random_bytes(3_000_000)
    source = NoiseSource.for_tests(3)
    assert whole == source.random_bytes(1_234_567) + source.random_bytes(3_000_000 - 1_234_567)


def test_a_forked_child_draws_other_noise_than_its_parent():
    source = NoiseSource()
    source.random_bytes(8)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, source.random_bytes(32))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 32) != source.random_bytes(32)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_source_cannot_be_copied_or_pickled(copier):
    with pytest.raises(PrivacyError, match="same noise"):
        copier(NoiseSource())


def test_a_new_key_is_drawn_before_the_counter_can_wrap(monkeypatch):
    monkeypatch.setattr("fraudfl.privacy.noise._BYTES_PER_KEY", 100)
    keys = []
    monkeypatch.setattr("fraudfl.privacy.noise.os.urandom", lambda n: keys.append(n) or bytes([len(keys)]) * n)
    source = NoiseSource()
    for _ in range(10):
        source.random_bytes(60)
    assert len(keys) == 10


def test_normals_pass_a_kolmogorov_smirnov_test():
    assert stats.kstest(NoiseSource.for_tests(1).gaussian(200_000), "norm").pvalue > 1e-3


def test_normals_have_the_moments_of_a_standard_normal():
    draws = NoiseSource.for_tests(2).gaussian(1_000_000)
    assert draws.mean() == pytest.approx(0, abs=5e-3)
    assert draws.var() == pytest.approx(1, abs=1e-2)
    assert stats.skew(draws) == pytest.approx(0, abs=2e-2)
    assert stats.kurtosis(draws) == pytest.approx(0, abs=4e-2)
    beyond = 2 * stats.norm.sf(4) * 1e6
    assert (abs(draws) > 4).sum() == pytest.approx(beyond, abs=5 * np.sqrt(beyond))


def test_extreme_words_give_finite_normals_of_both_signs(monkeypatch):
    source = NoiseSource()
    words = np.array([0, 1, 2**64 - 1, 2**64 - 2, 2**63], dtype=np.uint64)
    monkeypatch.setattr(source, "_words", lambda count: words)
    draws = source.gaussian(5)
    assert np.isfinite(draws).all()
    assert draws[0] == pytest.approx(stats.norm.ppf(2.0**-65))
    assert draws[1] == -draws[0]


def test_neighbouring_normals_are_uncorrelated():
    draws = NoiseSource.for_tests(5).gaussian(200_000)
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.01


def test_a_shape_is_filled():
    assert NoiseSource().gaussian((3, 4)).shape == (3, 4)
    assert NoiseSource().gaussian(()).shape == ()
    assert NoiseSource().gaussian(0).shape == (0,)


def test_uniforms_are_uniform_and_below_one():
    draws = NoiseSource.for_tests(6).uniform(200_000)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert stats.kstest(draws, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.3, 0.999])
def test_each_row_is_drawn_with_the_asked_probability(rate):
    source, rows, draws = NoiseSource.for_tests(7), 20_000, 50
    sizes = [len(source.poisson_draw(rows, rate)) for _ in range(draws)]
    assert stats.binomtest(sum(sizes), rows * draws, rate).pvalue > 1e-3


def test_drawn_rows_are_distinct_ascending_and_spread_over_all_rows():
    drawn = NoiseSource.for_tests(8).poisson_draw(100_000, 0.05)
    assert drawn.dtype == np.int64
    assert (np.diff(drawn) > 0).all()
    assert stats.kstest(drawn / 100_000, "uniform").pvalue > 1e-3


def test_rates_finer_than_sixteen_bits_are_honoured(monkeypatch):
    source = NoiseSource()
    rate = 3.25 / 65536
    monkeypatch.setattr(source, "random_bytes", lambda count: np.array([2, 3, 3, 4], dtype=np.uint16).tobytes())
    quarter = 2**62
    monkeypatch.setattr(source, "_words", lambda count: np.array([quarter - 1, quarter], dtype=np.uint64))
    np.testing.assert_array_equal(source.poisson_draw(4, rate), [0, 1])


@pytest.mark.parametrize(("rate", "expected"), [(0, 0), (1, 1000)])
def test_rate_zero_draws_no_row_and_rate_one_draws_all(rate, expected):
    assert len(NoiseSource().poisson_draw(1000, rate)) == expected


def test_no_rows_give_an_empty_draw():
    assert NoiseSource().poisson_draw(0, 0.5).shape == (0,)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_zero_to_one_is_refused(rate):
    with pytest.raises(PrivacyError, match="sampling rate"):
        NoiseSource().poisson_draw(10, rate)
