import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm

from fraudfl.errors import PrivacyError
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.audit.bounds import (
    ErrorRates,
    gaussian_epsilon,
    gaussian_mu,
    lower_rate,
    mechanism_epsilon,
    plain_epsilon,
    upper_rate,
)
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum

DELTA = 1e-6


def sampled(noise: float, rate: float = 0.2, steps: int = 4) -> DpSgd:
    return DpSgd(sampling_rate=rate, noise_multiplier=noise, clip_norm=1, steps=steps, expected_batch=1)


@pytest.mark.parametrize(("count", "trials"), [(0, 20), (3, 50), (49, 50), (700, 1000)])
def test_a_rate_bound_is_where_so_few_events_become_too_improbable(count: int, trials: int) -> None:
    bound = float(upper_rate(count, trials, 0.999))
    assert binom.cdf(count, trials, bound) == pytest.approx(0.001, rel=1e-6)
    below = float(lower_rate(trials - count, trials, 0.999))
    assert binom.sf(trials - count - 1, trials, below) == pytest.approx(0.001, rel=1e-6)


def test_a_rate_bound_is_one_when_it_always_happened() -> None:
    assert float(upper_rate(30, 30, 0.999)) == 1.0


def test_a_rate_bound_needs_trials() -> None:
    with pytest.raises(PrivacyError, match="0 trials at confidence"):
        upper_rate(0, 0, 0.999)


def test_rate_bounds_hold_as_often_as_they_say() -> None:
    counts = np.random.default_rng(1).binomial(40, 0.2, size=20_000)
    held = float((upper_rate(counts, 40, 0.9) >= 0.2).mean())
    assert held >= 0.9


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_gaussian_epsilon_is_that_of_the_accountant(mu: float) -> None:
    accounted = epsilon([GaussianSum(noise_multiplier=1 / mu, sensitivity=1)], DELTA)
    assert gaussian_epsilon(mu, DELTA) == pytest.approx(accounted, rel=1e-3)
    assert gaussian_epsilon(mu, DELTA) <= accounted


def test_gaussian_epsilon_solves_the_equation_of_balle_and_wang() -> None:
    found = gaussian_epsilon(1.0, 1e-5)

    def delta(value: float) -> float:
        return float(norm.cdf(0.5 - value) - math.exp(value) * norm.cdf(-0.5 - value))

    assert delta(found) == pytest.approx(1e-5, rel=1e-5)
    assert found == pytest.approx(float(brentq(lambda value: delta(value) - 1e-5, 0, 10)), abs=1e-6)


def test_the_best_observer_of_a_gaussian_shows_its_whole_mu() -> None:
    for threshold in (-0.3, 0.2, 1.7):
        rates = ErrorRates(float(norm.sf(threshold)), float(norm.cdf(threshold - 1.3)))
        assert gaussian_mu(rates) == pytest.approx(1.3)


def test_an_observer_who_guesses_shows_nothing() -> None:
    rates = ErrorRates(0.5, 0.5)
    assert plain_epsilon(rates, DELTA) == 0
    assert mechanism_epsilon(sampled(1.0), rates, DELTA) == 0


def test_the_plain_bound_is_randomised_response_for_a_mechanism_without_delta() -> None:
    lie = 1 / (1 + math.exp(2.0))
    assert plain_epsilon(ErrorRates(lie, lie), 0.0) == pytest.approx(2.0)


@pytest.mark.parametrize("threshold", [0.0, 3.0])
def test_the_bound_of_a_sampled_mechanism_stays_below_the_truth_and_near_it(threshold: float) -> None:
    # One step seen through noise of 0.7: the exact error rates of a threshold, from the mixture's own distribution.
    truth = sampled(0.7, rate=0.4, steps=1)
    border = 0.5 + 0.49 * math.log((math.exp(threshold) + 1 - 0.4) / 0.4)
    alarms = float(norm.sf(border / 0.7))
    misses = float(0.6 * norm.cdf(border / 0.7) + 0.4 * norm.cdf((border - 1) / 0.7))
    bound = mechanism_epsilon(truth, ErrorRates(alarms, misses), DELTA)
    accounted = epsilon([truth], DELTA)
    assert bound <= accounted
    # Judged as a mechanism of more noise, the same rates still name the noise that there is.
    assert mechanism_epsilon(sampled(1.0, rate=0.4, steps=1), ErrorRates(alarms, misses), DELTA) > 0.85 * accounted


def test_rates_that_only_half_the_noise_allows_refute_the_claim() -> None:
    claimed = sampled(1.0)
    rates = ErrorRates(0.02, 0.8)
    assert mechanism_epsilon(claimed, rates, DELTA) > epsilon([claimed], DELTA)
    honest = sampled(0.5)
    assert mechanism_epsilon(honest, rates, DELTA) <= epsilon([honest], DELTA)
