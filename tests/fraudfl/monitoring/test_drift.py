"""PSI and the two-sample test: equal to SciPy's without noise, and at their nominal level with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fraudfl.monitoring.coarse import Groups
from fraudfl.monitoring.drift import (
    INDEPENDENT,
    Drift,
    Inflation,
    Sample,
    compare,
    holm,
    population_stability,
    share_covariance,
)

SHARES = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
SINGLE = Groups(np.arange(6))
WIDE = Groups(np.repeat(np.arange(6), [1, 40, 3, 3, 10, 200]))


def p_values(draw, groups, repeats, inflation=INDEPENDENT):
    """p-values of comparisons in which nothing changed."""
    return np.array([compare("x", groups, *draw(), inflation).p_value for _ in range(repeats)])


@given(
    reference=st.lists(st.integers(5, 500), min_size=6, max_size=6),
    current=st.lists(st.integers(5, 500), min_size=6, max_size=6),
)
def test_without_noise_the_test_is_scipys_chi_square(reference, current):
    found = compare("x", SINGLE, Sample(np.array(reference, float)), Sample(np.array(current, float)), INDEPENDENT)
    expected = stats.chi2_contingency([reference, current], correction=False)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-6, abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-5, abs=1e-12)
    assert found.freedom == expected.dof


def test_psi_is_its_textbook_sum_where_counts_are_large():
    reference, current = np.array([300_000, 500_000, 200_000]), np.array([200_000, 500_000, 300_000])
    a, b = reference / 1e6, current / 1e6
    assert population_stability(reference, current) == pytest.approx(((b - a) * np.log(b / a)).sum(), rel=1e-4)


def test_an_empty_group_makes_a_finite_psi_and_a_tiny_window_a_moderate_one():
    assert np.isfinite(population_stability(np.array([1000, 1000, 0]), np.array([0, 10, 5])))
    assert population_stability(np.array([400, 400, 200]), np.zeros(3)) < 0.5


def test_psi_by_chance_is_what_psi_is_on_average_when_nothing_changed():
    rng = np.random.default_rng(2)
    drifts = [
        compare("x", SINGLE, *(Sample(rng.multinomial(n, SHARES).astype(float)) for n in (4000, 2000)), INDEPENDENT)
        for _ in range(300)
    ]
    assert np.mean([d.psi for d in drifts]) == pytest.approx(np.mean([d.psi_by_chance for d in drifts]), rel=0.1)


def test_false_alarms_stay_at_their_level_without_noise():
    rng = np.random.default_rng(3)

    def draw():
        return (
            Sample(rng.multinomial(8000, SHARES).astype(float)),
            Sample(rng.multinomial(1500, SHARES).astype(float)),
        )

    values = p_values(draw, SINGLE, 1500)
    assert (values < 0.05).mean() == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("deviation", [5.0, 30.0])
def test_false_alarms_stay_at_their_level_with_noise_of_known_variance(deviation):
    rng = np.random.default_rng(4)

    def noisy(rows):
        noise = rng.normal(0, deviation * np.sqrt(WIDE.sizes))
        return Sample(rng.multinomial(rows, SHARES) + noise, deviation**2)

    values = p_values(lambda: (noisy(40_000), noisy(10_000)), WIDE, 1500)
    assert (values < 0.05).mean() == pytest.approx(0.05, abs=0.02)
    assert (values < 0.5).mean() == pytest.approx(0.5, abs=0.05)


def test_noise_that_nobody_tells_of_would_raise_false_alarms():
    rng = np.random.default_rng(4)

    def untold(rows):
        return Sample(rng.multinomial(rows, SHARES) + rng.normal(0, 30 * np.sqrt(WIDE.sizes)))

    assert (p_values(lambda: (untold(40_000), untold(10_000)), WIDE, 200) < 0.05).mean() > 0.5


def test_the_covariance_of_shares_is_that_of_simulated_shares():
    rng = np.random.default_rng(5)
    reference, current = (Sample(n * SHARES, 400.0) for n in (9000, 5000))

    def shares(sample):
        counts = rng.multinomial(round(sample.counts.sum()), SHARES) + rng.normal(0, 20 * np.sqrt(WIDE.sizes))
        return counts / counts.sum()

    differences = np.array([shares(current) - shares(reference) for _ in range(8000)])
    expected = share_covariance(WIDE, reference, current, 1.0)
    assert np.abs(np.cov(differences.T) - expected).max() < 0.06 * np.abs(expected).max()


def test_a_real_change_is_found_through_noise():
    changed = np.array([0.2, 0.25, 0.2, 0.1, 0.1, 0.15])
    found = compare("x", SINGLE, Sample(40_000 * SHARES, 900.0), Sample(10_000 * changed, 900.0), INDEPENDENT)
    assert found.p_value < 1e-6
    assert found.psi == pytest.approx(((changed - SHARES) * np.log(changed / SHARES)).sum(), rel=0.01)


def test_inflation_divides_the_statistic_and_an_estimated_one_is_judged_by_f():
    samples = Sample(np.array([500.0, 500.0])), Sample(np.array([450.0, 550.0]))
    two = Groups(np.arange(2))
    plain = compare("x", two, *samples, INDEPENDENT)
    inflated = compare("x", two, *samples, Inflation(2.0, 1.0, windows=5))
    assert inflated.statistic == pytest.approx(plain.statistic / 2)
    assert inflated.p_value == pytest.approx(stats.f.sf(plain.statistic / 2, 1, 4))


def test_a_feature_with_one_group_never_changes():
    one = Groups(np.zeros(3, np.int64))
    found = compare("x", one, Sample(np.array([900.0])), Sample(np.array([4.0])), INDEPENDENT)
    assert (found.p_value, found.psi) == (1.0, 0.0)


@pytest.mark.parametrize("rows", [0, 3, 25])
def test_of_a_window_with_hardly_a_row_nothing_is_said(rows):
    found = compare("x", SINGLE, Sample(8000 * SHARES), Sample(np.array([0, 0, 0, 0, 0, rows], float)), INDEPENDENT)
    assert found.p_value == 1.0


def test_holm_is_the_textbook_adjustment_and_keeps_the_order_of_features():
    plain = [0.01, 0.04, 0.03, 0.005, 0.9]
    drifts = [Drift(str(i), 0, 0, 0, 1, p, p, 1, 2) for i, p in enumerate(plain)]
    assert [d.name for d in holm(drifts)] == ["0", "1", "2", "3", "4"]
    assert [d.p_adjusted for d in holm(drifts)] == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.9])
