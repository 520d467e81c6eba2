"""The control chart: what quiet windows differ by is estimated, and no test alarms for it."""

from __future__ import annotations

import numpy as np
import pytest

from fraudfl.monitoring.coarse import Groups
from fraudfl.monitoring.control import estimate_inflation
from fraudfl.monitoring.drift import INDEPENDENT, Sample, compare

SHARES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
GROUPS = Groups(np.arange(5))


def accounts_of(rng, rows, per_account):
    """Counts of rows that come in accounts, all of an account's rows in one group: inflation is `per_account`."""
    return Sample(per_account * rng.multinomial(rows // per_account, SHARES).astype(float))


def one_sided(rng, rows, spread):
    """Counts that vary in one direction more than in the others, as weekends do."""
    shares = SHARES + spread * rng.normal() * np.array([1, -1, 0, 0, 0])
    return Sample(rng.multinomial(rows, shares).astype(float))


def false_alarms(draw, windows, repeats=400, level=0.05):
    alarms = 0
    for _ in range(repeats):
        quiet = [draw() for _ in range(windows)]
        reference = Sample(np.sum([sample.counts for sample in quiet], axis=0))
        alarms += compare("x", GROUPS, reference, draw(), estimate_inflation(GROUPS, quiet)).p_value < level
    return alarms / repeats


@pytest.mark.parametrize("per_account", [1, 4, 20])
def test_the_inflation_of_clustered_rows_is_their_number_per_account(per_account):
    rng = np.random.default_rng(0)
    found = [estimate_inflation(GROUPS, [accounts_of(rng, 20_000, per_account) for _ in range(30)]) for _ in range(20)]
    assert np.mean([one.factor for one in found]) == pytest.approx(per_account, rel=0.08)
    assert np.mean([one.freedom for one in found]) > 3.3


def test_known_noise_is_no_inflation():
    rng = np.random.default_rng(1)
    groups = Groups(np.repeat(np.arange(5), [1, 30, 5, 5, 100]))
    quiet = [
        Sample(rng.multinomial(20_000, SHARES) + rng.normal(0, 25 * np.sqrt(groups.sizes)), 625.0) for _ in range(40)
    ]
    assert estimate_inflation(groups, quiet).factor == pytest.approx(1.0, abs=0.25)


def test_windows_that_differ_in_one_direction_are_seen_to():
    rng = np.random.default_rng(2)
    found = estimate_inflation(GROUPS, [one_sided(rng, 50_000, 0.03) for _ in range(40)])
    assert found.factor > 10
    assert found.freedom < 1.5


@pytest.mark.parametrize("windows", [3, 4, 8])
def test_clustered_rows_raise_no_more_false_alarms_than_the_level(windows):
    rng = np.random.default_rng(3)
    assert false_alarms(lambda: accounts_of(rng, 20_000, 5), windows) <= 0.09


@pytest.mark.parametrize("windows", [4, 8])
def test_windows_that_differ_in_one_direction_raise_few_false_alarms(windows):
    rng = np.random.default_rng(4)
    assert false_alarms(lambda: one_sided(rng, 20_000, 0.02), windows) <= 0.12


def test_without_the_chart_clustered_rows_alarm_nearly_always():
    rng = np.random.default_rng(5)
    draws = [compare("x", GROUPS, *(accounts_of(rng, 20_000, 20) for _ in "ab"), INDEPENDENT) for _ in range(100)]
    assert np.mean([drift.p_value < 0.05 for drift in draws]) > 0.9


def test_fewer_than_three_windows_say_nothing():
    rng = np.random.default_rng(6)
    assert estimate_inflation(GROUPS, [accounts_of(rng, 1000, 5) for _ in range(2)]) == INDEPENDENT
