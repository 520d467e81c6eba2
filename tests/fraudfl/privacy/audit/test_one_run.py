import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from fraudfl.errors import PrivacyError
from fraudfl.privacy.audit.one_run import Guesses, audit_one_run, guess, guessed_epsilon, p_value
from fraudfl.privacy.mechanisms import GaussianSum


def by_the_paper(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Theorem 5.2 of Steinke et al. 2023, summand by summand."""
    accuracy = math.exp(epsilon) / (1 + math.exp(epsilon))
    tail = sum(binom.pmf(count, guesses.made, accuracy) for count in range(guesses.right, guesses.made + 1))
    largest = 0.0
    for i in range(1, guesses.right + 1):
        between = sum(binom.pmf(count, guesses.made, accuracy) for count in range(guesses.right - i, guesses.right))
        largest = max(largest, between / i)
    return min(1.0, tail + 2 * guesses.canaries * delta * largest)


@settings(max_examples=60, deadline=None)
@given(
    made=st.integers(1, 40),
    left=st.integers(0, 40),
    right=st.integers(0, 40),
    level=st.floats(0, 5),
    delta=st.sampled_from([0.0, 1e-6, 1e-3, 0.1]),
)
def test_p_values_are_those_of_the_theorem(made: int, left: int, right: int, level: float, delta: float) -> None:
    guesses = Guesses(made + left, made, min(right, made))
    assert p_value(guesses, level, delta) == pytest.approx(by_the_paper(guesses, level, delta), abs=1e-12)


def test_the_bound_is_where_the_p_value_meets_the_error() -> None:
    guesses = Guesses(1_000, 100, 95)
    bound = guessed_epsilon(guesses, 1e-5, 0.999)
    assert p_value(guesses, bound, 1e-5) == pytest.approx(0.001, rel=1e-3)
    assert guessed_epsilon(guesses, 0.0, 0.999) > bound


def test_guesses_no_better_than_coins_bound_nothing() -> None:
    assert guessed_epsilon(Guesses(1_000, 500, 255), 1e-5, 0.999) == 0


def test_more_right_guesses_than_guesses_are_refused() -> None:
    with pytest.raises(PrivacyError, match="5 of 4 guesses"):
        Guesses(10, 4, 5)


def test_randomised_response_is_never_refuted_at_its_own_epsilon() -> None:
    # Each canary's coin is told right with probability e/(1+e): exactly ε = 1, and the worst such mechanism.
    claimed = GaussianSum(noise_multiplier=1, sensitivity=1).calibrate(1.0, 1e-9)
    generator = np.random.default_rng(8)
    bounds = []
    for _ in range(100):
        included = generator.random(2_000) < 0.5
        told = np.where(generator.random(2_000) < math.e / (1 + math.e), included, ~included)
        scores = told + 0.01 * generator.random(2_000)
        bounds.append(audit_one_run("response", scores, included, claimed, 1e-9).lower_bound)
    assert max(bounds) <= 1.0
    assert np.median(bounds) > 0.6


def test_the_observer_says_nothing_about_the_canaries_in_the_middle() -> None:
    included = np.array([False, True, True, False, False, True])
    scores = np.array([-3.0, -2.0, 0.1, 0.2, 2.0, 3.0])
    assert guess(scores, included, 2) == Guesses(6, 2, 2)
    assert guess(scores, included, 4) == Guesses(6, 4, 2)


def test_canaries_that_show_plainly_refute_a_small_claim() -> None:
    included = np.random.default_rng(2).random(1_000) < 0.5
    claimed = GaussianSum(noise_multiplier=1, sensitivity=1).calibrate(3.0, 1e-6)
    result = audit_one_run("open", included.astype(float), included, claimed, 1e-6)
    assert result.verdict == "violated"
    assert result.lower_bound > 4
    assert "500 of 500 guesses right" in result.detail


def test_scores_without_their_coins_are_refused() -> None:
    claimed = GaussianSum(noise_multiplier=1, sensitivity=1)
    with pytest.raises(PrivacyError, match="one of each per canary"):
        audit_one_run("x", np.zeros(3), np.zeros(4, dtype=bool), claimed, 1e-6)
