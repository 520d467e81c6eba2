"""Fixed-point numbers against fractions, and the modulus against the normal distribution's tail."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_ndtr

from fraudfl.privacy.noise import NoiseSource
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.fixed_point import FixedPoint

STEPS = st.sampled_from([2.0**-20, 0.001, 0.1, 1.0, 3.7])
REALS = st.floats(-1e4, 1e4, allow_subnormal=False)
UNIFORMS = st.floats(0, 1, exclude_max=True)


@given(STEPS, st.integers(45, 63), st.lists(st.tuples(REALS, UNIFORMS), max_size=8))
def test_each_value_goes_to_a_neighbour_on_the_grid_as_its_uniform_says(
    step: float, bits: int, entries: list[tuple[float, float]]
) -> None:
    values, uniforms = (
        (np.array(column, dtype=np.float64) for column in zip(*entries, strict=True))
        if entries
        else (np.zeros(0), np.zeros(0))
    )
    residues = FixedPoint(step, bits).encode(values, uniforms)
    for value, uniform, residue in zip(values, uniforms, residues.tolist(), strict=True):
        position = Fraction(float(value / step))
        low = math.floor(position)
        # float64 holds the distance from below, but for numbers just under zero.
        up = Fraction(float(uniform)) < Fraction(float(position - low))
        assert residue == (low + up) % 2**bits


@given(STEPS, st.integers(1, 63), st.data())
def test_sums_decode_to_the_number_nearest_to_zero(step: float, bits: int, data: st.DataObject) -> None:
    most = 2 ** (bits - 1)
    total = data.draw(st.integers(-most, most - 1))
    parts = data.draw(st.lists(st.integers(-(2**62), 2**62), max_size=5))
    shares = [*parts, total - sum(parts)]
    residue = sum(share % 2**bits for share in shares) % 2**bits
    assert FixedPoint(step, bits).decode(np.array([residue], np.uint64)).tolist() == [float(total) * step]


@given(st.lists(st.lists(st.integers(-(10**6), 10**6), min_size=3, max_size=3), min_size=1, max_size=6))
def test_whole_numbers_are_summed_exactly(vectors: list[list[int]]) -> None:
    grid = FixedPoint.counts(6 * 10**6)
    total = sum((grid.encode(np.array(vector, np.float64)) for vector in vectors), np.zeros(3, np.uint64))
    opened = grid.decode(total & np.uint64(2**grid.bits - 1))
    assert opened.tolist() == [float(sum(column)) for column in zip(*vectors, strict=True)]


def test_counts_take_the_fewest_bits_that_hold_both_signs() -> None:
    assert [FixedPoint.counts(most).bits for most in (0, 1, 2, 3, 4, 127, 128, 2**61)] == [1, 2, 3, 3, 4, 8, 9, 63]
    for most in (0, 1, 127, 128):
        grid = FixedPoint.counts(most)
        ends = np.array([-most, most], np.float64)
        assert grid.decode(grid.encode(ends)).tolist() == ends.tolist()
    with pytest.raises(SecureAggregationError, match="found a largest sum of -1"):
        FixedPoint.counts(-1)
    with pytest.raises(SecureAggregationError, match="64 bits"):
        FixedPoint.counts(2**62)


def test_rounding_is_unbiased() -> None:
    source, grid = NoiseSource.for_tests(3), FixedPoint(0.5, 20)
    value, draws = 1.1, 40_000
    opened = grid.decode(grid.encode(np.full(draws, value), source.uniform(draws)))
    assert set(opened.tolist()) == {1.0, 1.5}
    # 1.1 is a fifth of the way from 1.0 to 1.5; five standard errors of a coin with probability 1/5.
    assert abs(np.mean(opened == 1.5) - 0.2) < 5 * math.sqrt(0.16 / draws)


def wraps(bits: int, bound: float, parties: int, deviation: float, entries: int, step: float) -> float:
    """log2 of the bound on the wrap probability, from SciPy's tail of the normal distribution."""
    room = (2 ** (bits - 1) - 1) * Fraction(step) - parties * (Fraction(bound) + Fraction(step))
    if room < 0:
        return math.inf
    if deviation == 0:
        return -math.inf
    return math.log2(entries) + 1 + float(log_ndtr(-float(room) / deviation)) / math.log(2)


@given(
    st.floats(0, 100),
    st.integers(1, 300),
    st.one_of(st.just(0.0), st.floats(1e-3, 1e4)),
    st.integers(1, 10**9),
    st.sampled_from([2.0**-16, 2.0**-6, 0.25, 1.0]),
)
def test_the_modulus_is_the_least_whose_wrap_probability_is_low_enough(
    bound: float, parties: int, deviation: float, entries: int, step: float
) -> None:
    bits = FixedPoint.for_sums(bound, parties, deviation, entries, step).bits
    assert wraps(bits, bound, parties, deviation, entries, step) < -40 + 1e-6
    if bits > 1:
        assert wraps(bits - 1, bound, parties, deviation, entries, step) >= -40 - 1e-6


def test_without_noise_the_largest_sums_still_decode() -> None:
    for bound, parties, step in [(1.0, 10, 2.0**-8), (0.3, 7, 0.1), (5.0, 3, 1.0)]:
        grid = FixedPoint.for_sums(bound, parties, 0.0, 10, step)
        uniforms = np.array([0.0, np.nextafter(1, 0)])
        residues = grid.encode(np.array([bound, -bound]), uniforms)
        opened = grid.decode((residues * np.uint64(parties)) & np.uint64(2**grid.bits - 1))
        assert np.abs(opened - parties * np.array([bound, -bound])).max() <= parties * step


def test_one_bit_less_would_wrap_where_noise_is_drawn() -> None:
    source = NoiseSource.for_tests(8)
    grid = FixedPoint.for_sums(0.0, 1, 1.0, 1, 1 / 256)
    assert grid.bits == 12
    noise = source.gaussian(100_000)
    for bits, expected in ((12, 0), (10, 100_000 * math.erfc(2 / math.sqrt(2)))):
        smaller = FixedPoint(grid.step, bits)
        wrapped = np.abs(smaller.decode(smaller.encode(noise, source.uniform(100_000))) - noise) > 1
        assert abs(int(wrapped.sum()) - expected) <= 5 * math.sqrt(expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((-1.0, 2, 1.0, 10, 0.1), "bound: found -1.0"),
        ((math.inf, 2, 1.0, 10, 0.1), "bound: found inf"),
        ((1.0, 0, 1.0, 10, 0.1), "parties: found 0"),
        ((1.0, 2, -0.1, 10, 0.1), "deviation: found -0.1"),
        ((1.0, 2, math.nan, 10, 0.1), "deviation: found nan"),
        ((1.0, 2, 1.0, 0, 0.1), "entries: found 0"),
        ((1.0, 2, 1.0, 10, 0.0), "found step 0.0"),
        ((1e9, 200, 1.0, 10, 1e-12), "more than 63 bits in steps of 1e-12; take a coarser step"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: tuple[float, int, float, int, float], said: str) -> None:
    with pytest.raises(SecureAggregationError, match=said):
        FixedPoint.for_sums(*arguments)


@pytest.mark.parametrize(("step", "bits"), [(0.0, 8), (-1.0, 8), (math.inf, 8), (math.nan, 8), (1.0, 0), (1.0, 64)])
def test_a_grid_out_of_range_is_refused(step: float, bits: int) -> None:
    with pytest.raises(SecureAggregationError, match="expected a step above 0 and 1 to 63 bits"):
        FixedPoint(step, bits)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**62, -(2.0**62)])
def test_a_value_that_has_no_residue_is_refused(value: float) -> None:
    with pytest.raises(SecureAggregationError, match="not finite, or too large"):
        FixedPoint(1.0, 32).encode(np.array([0.0, value]), np.zeros(2))


def test_a_value_off_the_grid_needs_uniforms() -> None:
    with pytest.raises(SecureAggregationError, match=r"no multiple of 1\.0; expected uniforms"):
        FixedPoint(1.0, 8).encode(np.array([1.0, 1.5]))


def test_residues_above_the_modulus_are_refused() -> None:
    with pytest.raises(SecureAggregationError, match=r"fixed point: found 256; expected numbers below 2\^8"):
        FixedPoint(1.0, 8).decode(np.array([256], np.uint64))
