"""Looks at a model in training: how sure each is, what is kept, and that noise alone stops nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.config import EarlyStopConfig
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.metrics.looks import ERROR, Course, Look

RULE = EarlyStopConfig(patience=3, least_gain=0.01)
BINS = ScoreBins(count=64)


def look(number: int, auprc: float | None, noise: float = 0.0, *, sampling: float = 0.0, banks: str = "all") -> Look:
    return Look(round=number, auprc=auprc, noise=noise, sampling=sampling, banks=banks)


def course(figures: list[float | None], rule: EarlyStopConfig = RULE, noise: float = 0.0, planned: int = 0) -> Course:
    found = Course(planned=planned or len(figures))
    for number, figure in enumerate(figures, start=1):
        found = found.after(look(number, figure, noise), rule)
    return found


def stops(figures: list[float], rule: EarlyStopConfig, noise: float = 0.0) -> int | None:
    """The look at which training would stop."""
    found = Course(planned=len(figures))
    for number, figure in enumerate(figures, start=1):
        found = found.after(look(number, figure, noise), rule)
        if len(found.fruitless) >= rule.patience:
            return number
    return None


# Without noise: patience as everybody knows it.


def test_without_noise_the_best_is_kept_and_looks_without_a_gain_are_counted() -> None:
    found = course([0.3, 0.5, 0.505, 0.45, 0.2])
    assert (found.kept, found.reference, found.fruitless) == (3, 2, (3, 4, 5))
    assert found.figure(3) == 0.505
    assert found.figure(9) is None


def test_small_gains_that_add_up_are_a_gain() -> None:
    found = course([0.3, 0.304, 0.308, 0.312, 0.316])
    assert (found.reference, found.fruitless, found.kept) == (4, (5,), 5)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(1, 4), st.integers(0, 100))
def test_without_noise_it_is_the_textbook_rule(parts: list[int], patience: int, least: int) -> None:
    figures = [part / 1000 for part in parts]
    best, since, stopped = figures[0], 0, None
    for number, figure in enumerate(figures[1:], start=2):
        if figure > best and round(figure - best, 9) >= least / 1000:
            best, since = figure, 0
        else:
            since += 1
        if since == patience and stopped is None:
            stopped = number
    # A hair less, for gains that are the least gain exactly but for rounding.
    rule = EarlyStopConfig(patience=patience, least_gain=max(0.0, least / 1000 - 1e-9))
    assert stops(figures, rule) == stopped
    assert figures[course(figures, rule).kept - 1] == max(figures)


def test_a_look_without_a_fraud_counts_for_nothing() -> None:
    assert course([None, 0.5, None, 0.4, 0.4, 0.4]).fruitless == (4, 5, 6)
    assert course([None, None]).kept is None


# With noise.


@pytest.mark.parametrize("seed", range(5))
def test_a_course_that_rises_below_its_noise_is_not_stopped(seed: int) -> None:
    """Each step is a fifth of the noise: about every second look is lower than the one before."""
    rng, stopped = np.random.default_rng(seed), 0
    for _ in range(200):
        figures = 0.3 + 0.01 * np.arange(30) + rng.normal(0, 0.05, 30)
        stopped += stops(list(figures), RULE, noise=0.05) is not None
    assert stopped == 0
    # The same looks, taken at face value, would have.
    assert stops(list(figures), RULE) is not None


def test_noise_in_the_histograms_themselves_stops_no_course_that_rises() -> None:
    rng, rule = np.random.default_rng(3), EarlyStopConfig(patience=1, least_gain=0.002)
    rising = [scored(100, 3000, 1, gap) for gap in (0.2, 0.5, 0.8, 1.1, 1.4)]
    for deviation in (3.0, 12.0):
        for _ in range(15):
            found = Course(planned=len(rising))
            for number, exact in enumerate(rising, start=1):
                noisy = np.rint(exact + rng.normal(0, deviation, exact.size)).astype(np.int64)
                found = found.after(Look.at(number, noisy, BINS, deviation, "all"), rule)
            assert found.fruitless == ()


def test_a_flat_course_is_hardly_ever_stopped_by_noise_that_is_larger_than_the_least_gain() -> None:
    rng = np.random.default_rng(8)
    stopped = sum(stops(list(rng.normal(0.5, 0.05, 40)), RULE, noise=0.05) is not None for _ in range(500))
    assert stopped <= ERROR * 500


def test_a_fall_beyond_the_noise_stops_and_the_model_before_it_is_kept() -> None:
    rng = np.random.default_rng(9)
    true = np.concatenate([np.linspace(0.3, 0.6, 10), np.linspace(0.55, 0.2, 10)])
    for _ in range(50):
        figures = list(true + rng.normal(0, 0.01, 20))
        at = stops(figures, RULE, noise=0.01)
        assert at is not None
        assert 12 <= at <= 17
        kept = course(figures[:at], noise=0.01, planned=20).kept
        assert kept is not None
        assert true[kept - 1] >= 0.6 - 0.05


def test_of_looks_within_a_standard_error_of_the_best_the_newest_is_kept() -> None:
    assert course([0.50, 0.52, 0.50], noise=0.02).kept == 3
    assert course([0.50, 0.52, 0.49], noise=0.02).kept == 2
    assert course([0.50, 0.52, 0.51]).kept == 2


def test_other_banks_are_other_rows_and_the_figures_differ_by_that_too() -> None:
    first = Course(planned=4).after(look(1, 0.6, sampling=0.03), RULE)
    same = first.after(look(2, 0.55, sampling=0.03), RULE)
    other = first.after(look(2, 0.55, sampling=0.03, banks="some"), RULE)
    assert (same.fruitless, same.kept) == ((2,), 1)
    assert (other.fruitless, other.kept) == ((), 1)
    assert first.after(look(2, 0.57, sampling=0.03, banks="some"), RULE).kept == 2


def test_a_course_survives_a_checkpoint() -> None:
    found = course([0.3, None, 0.5, 0.4], noise=0.001)
    assert Course.from_facts(json.loads(json.dumps(found.to_facts()))) == found


# What a look's figure is worth.


def scored(frauds: int, others: int, seed: int, gap: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [frauds, others])
    logits = rng.normal(np.where(labels == 1, gap, -gap), 1.0)
    return ScoreHistogram.from_logits(logits, labels, BINS).to_vector()


def test_the_error_by_sampling_is_that_of_other_rows() -> None:
    figures = [Look.at(1, scored(300, 6000, seed), BINS, 0.0, "all").auprc for seed in range(150)]
    found = [Look.at(1, scored(300, 6000, seed), BINS, 0.0, "all").sampling for seed in range(10)]
    assert np.mean(found) == pytest.approx(np.std(figures), rel=0.25)


@pytest.mark.parametrize("deviation", [3.0, 12.0])
def test_the_error_by_noise_is_that_of_other_noise(deviation: float) -> None:
    exact, rng = scored(600, 12_000, 1), np.random.default_rng(2)
    noisy = [np.rint(exact + rng.normal(0, deviation, exact.size)).astype(np.int64) for _ in range(150)]
    looks = [Look.at(1, counts, BINS, deviation, "all") for counts in noisy]
    spread = float(np.std([look.auprc for look in looks]))
    assert np.mean([look.noise for look in looks]) == pytest.approx(spread, rel=0.35)
    assert Look.at(1, exact, BINS, 0.0, "all").noise == 0.0


def test_a_look_of_nothing_has_no_figure() -> None:
    empty = Look.at(1, np.zeros(2 * BINS.size, dtype=np.int64), BINS, 0.0, "all")
    assert (empty.auprc, empty.noise, empty.sampling) == (None, 0.0, 0.0)
