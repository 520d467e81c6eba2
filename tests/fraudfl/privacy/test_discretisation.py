"""Rounded sums against rounded continuous sums: exact laws of small cases, by quadrature, as the oracle."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from fraudfl.errors import PrivacyError
from fraudfl.privacy.discretisation import (
    FARTHEST,
    discretisation_delta,
    largest_step,
    rounding_distance,
    truncation_delta,
)
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum
from fraudfl.privacy.noise import NoiseSource

SUM = DpSgd(sampling_rate=0.05, noise_multiplier=1.5, clip_norm=1.0, steps=3000, expected_batch=1.0, parties=10)
REACH = 40


def rounded(mean: float, deviation: float) -> NDArray[np.float64]:
    """The law on whole numbers of a normal variable that is rounded at random: P(k) = E max(0, 1 - |y - k|)."""

    def hinge(edge: float) -> float:
        away = (mean - edge) / deviation
        return float(deviation * norm.pdf(away) + (mean - edge) * norm.cdf(away))

    edges = np.array([hinge(k) for k in range(-REACH - 1, REACH + 2)])
    return edges[2:] - 2 * edges[1:-1] + edges[:-2]


def cubic(x: float) -> float:
    """Density of the sum of two triangular variables on [-1, 1]."""
    x = abs(x)
    if x >= 2:
        return 0.0
    return 2 / 3 - x**2 + x**3 / 2 if x <= 1 else (2 - x) ** 3 / 6


def rounded_sum(mean: float, deviation: float) -> NDArray[np.float64]:
    """The law on whole numbers of a normal variable plus one triangular variable, rounded at random."""

    def at(k: int) -> float:
        def part(x: float) -> float:
            return float(norm.pdf(k - x, mean, deviation)) * cubic(x)

        return sum(quad(part, a, a + 1, epsabs=1e-14, epsrel=1e-12)[0] for a in (-2, -1, 0, 1))

    return np.array([at(k) for k in range(-REACH, REACH + 1)])


@pytest.mark.parametrize("ratio", [0.5, 0.75, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("means", [(0.0, 0.0), (0.25, 0.25), (0.5, 0.0), (0.3, -2.9)])
def test_two_banks_rounded_sum_is_as_close_to_the_rounded_continuous_sum_as_the_bound_says(
    ratio: float, means: tuple[float, float]
) -> None:
    banks = np.convolve(rounded(means[0], ratio), rounded(means[1], ratio))
    ours = banks[REACH : 3 * REACH + 1]
    ideal = rounded_sum(sum(means), ratio * math.sqrt(2))
    assert ideal.sum() == pytest.approx(1, abs=1e-9)
    apart = np.abs(ours - ideal).sum() / 2
    bound = rounding_distance(1.0, ratio, 2 * REACH + 1, banks=2)
    assert apart <= bound + 1e-11
    if ratio <= 1 and means in ((0.0, 0.0), (0.3, -2.9)):
        # The bound is no empty one: the laws do differ.
        assert apart > bound / 10_000 > 0


def test_the_bound_holds_for_the_worst_number_of_banks() -> None:
    each = [rounding_distance(1.0, 1.2, 100, banks=n) for n in (2, 3, 10, 100, 10_000)]
    assert each == sorted(each)
    assert rounding_distance(1.0, 3.0, 2**30) < 1e-28
    assert rounding_distance(1.0, 0.1, 100) == 1.0


def test_a_finer_grid_costs_less_and_a_wider_modulus_more() -> None:
    coarse, fine = rounding_distance(1.0, 2.0, 1000), rounding_distance(0.5, 2.0, 1000)
    assert fine < coarse * 1e-20
    assert rounding_distance(1.0, 2.0, 4000) == pytest.approx(4 * coarse)


def test_a_usual_plan_pays_next_to_nothing_for_whole_numbers() -> None:
    step = largest_step(SUM.share_deviation)
    paid = discretisation_delta(SUM, step=step, width=step * 2**20, size=1000, epsilon=3.0)
    assert 0 < paid < 1e-8
    finer = discretisation_delta(SUM, step=step / 4, width=step * 2**20, size=1000, epsilon=3.0)
    assert finer <= paid
    twice = replace(SUM, steps=6000)
    assert discretisation_delta(twice, step=step, width=step * 2**20, size=1000, epsilon=3.0) == pytest.approx(2 * paid)


def test_colluding_banks_take_their_noise_with_them_and_the_bound_grows() -> None:
    colluding = replace(SUM, colluding=5).against_colluders()
    assert colluding.share_deviation == pytest.approx(SUM.share_deviation)
    assert truncation_delta(colluding, 1000) > truncation_delta(SUM, 1000)


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan, 0.34])
def test_a_grid_too_coarse_to_be_vouched_for_is_refused(step: float) -> None:
    histogram = GaussianSum(noise_multiplier=1.0, sensitivity=1.0)
    with pytest.raises(PrivacyError, match="Take a finer grid"):
        discretisation_delta(histogram, step=step, width=1000, size=10, epsilon=1.0)


def test_the_ends_of_the_noise_give_away_what_one_unit_moves_past_them() -> None:
    """One bank, one entry: exactly the mass of the normal between the end and the end less the shift."""
    histogram = GaussianSum(noise_multiplier=2.0, sensitivity=3.0)
    exact = norm.sf(FARTHEST - 0.5) - norm.sf(FARTHEST)
    assert truncation_delta(histogram, 1) == pytest.approx(exact, rel=1e-6)
    assert truncation_delta(replace(histogram, noise_multiplier=0.1), 1) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.5, 20), st.integers(1, 12))
def test_no_direction_of_one_units_part_gives_more_away_at_the_ends_than_the_bound(
    direction: list[float], noise: float, parties: int
) -> None:
    """Oracle: the mass past the end, entry by entry and party by party, for a vector of the full length."""
    event = GaussianSum(noise_multiplier=noise, sensitivity=2.0, parties=parties)
    length = math.hypot(*direction)
    assume(length > 1e-3)
    moved = [2.0 * part / length / parties / event.share_deviation for part in direction]
    exact = parties * sum(norm.sf(FARTHEST - part) - norm.sf(FARTHEST) for part in moved)
    assert exact <= truncation_delta(event, len(direction)) * (1 + 1e-6)


class _Extreme(NoiseSource):
    """A stream of zeros: the first quantile of all."""

    def random_bytes(self, count: int) -> bytearray:
        return bytearray(count)


def test_the_noise_source_ends_where_the_accounting_says() -> None:
    assert abs(_Extreme().gaussian(1)[0]) == pytest.approx(FARTHEST, rel=1e-9)
