"""Differences of two models: their intervals against what repeated samples really do, figured with scikit-learn."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fraudfl.errors import DataError
from fraudfl.metrics.bootstrap import Bootstrap
from fraudfl.metrics.compare import Comparison, Difference, histogram_difference, paired_difference
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.privacy.denoise import plausible_counts

BINS = ScoreBins(low=-6, high=9, count=96)
SETTINGS = Bootstrap(replicates=200)
ROWS, FRAUDS = 4000, 250


def two_models(seed, agreement=0.0, good=2.4, bad=1.6):
    """Labels, and scores of a worse and a better model that err together as far as `agreement` says."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [FRAUDS, ROWS - FRAUDS])
    common = rng.normal(size=ROWS) * np.sqrt(agreement)
    own = [rng.normal(size=ROWS) * np.sqrt(1 - agreement) for _ in range(2)]
    return labels, bad * labels + common + own[0], good * labels + common + own[1]


def histograms(labels, *models):
    return [ScoreHistogram.from_logits(logits, labels, BINS) for logits in models]


def true_difference(labels, worse, better):
    return average_precision_score(labels, better) - average_precision_score(labels, worse)


def width(difference):
    return difference.interval[1] - difference.interval[0]


def normal_width(differences):
    """How wide a 95 % interval should be, if differences vary like these."""
    return 2 * 1.96 * np.std(differences)


def test_the_two_values_are_scikit_learns_and_the_difference_is_challenger_minus_champion():
    labels, worse, better = two_models(1)
    found = paired_difference(worse, better, labels, None, SETTINGS)
    assert found.champion == pytest.approx(average_precision_score(labels, worse), abs=1e-12)
    assert found.challenger == pytest.approx(average_precision_score(labels, better), abs=1e-12)
    assert found.value == pytest.approx(true_difference(labels, worse, better), abs=1e-12)
    assert found.interval[0] < found.value < found.interval[1]
    assert (found.source, found.rows, found.frauds) == ("rows", ROWS, FRAUDS)


@pytest.mark.parametrize("agreement", [0.0, 0.8])
def test_a_paired_interval_is_as_wide_as_differences_over_fresh_samples_vary(agreement):
    fresh = [true_difference(*two_models(seed, agreement)) for seed in range(100, 300)]
    labels, worse, better = two_models(2, agreement)
    assert width(paired_difference(worse, better, labels, None, SETTINGS)) == pytest.approx(
        normal_width(fresh), rel=0.25
    )


def test_sums_give_the_interval_of_models_that_err_apart():
    fresh = [true_difference(*two_models(seed)) for seed in range(100, 300)]
    labels, worse, better = two_models(3)
    found = histogram_difference(*histograms(labels, worse, better), SETTINGS, inflation=1)
    assert found.source == "histograms"
    assert found.value == pytest.approx(true_difference(labels, worse, better), abs=0.005)
    assert width(found) == pytest.approx(normal_width(fresh), rel=0.25)


def test_sums_never_say_more_than_rows_about_models_that_err_together():
    labels, worse, better = two_models(4, agreement=0.8)
    by_rows = paired_difference(worse, better, labels, None, SETTINGS)
    by_sums = histogram_difference(*histograms(labels, worse, better), SETTINGS, inflation=1)
    assert width(by_sums) > 1.3 * width(by_rows)
    assert by_sums.interval[0] < by_rows.interval[0]


def test_noise_in_the_counts_widens_the_interval_as_it_widens_the_differences():
    noise, rng = 6.0, np.random.default_rng(0)

    def noisy(histogram):
        halves = (histogram.positive, histogram.negative)
        return ScoreHistogram(BINS, *(plausible_counts(half + rng.normal(0, noise, half.size)) for half in halves))

    def difference(seed):
        worse, better = (noisy(one).auprc() for one in histograms(*two_models(seed)))
        return better - worse

    released = [noisy(one) for one in histograms(*two_models(5))]
    found = histogram_difference(*released, SETTINGS, inflation=1, noise=noise)
    assert width(found) == pytest.approx(normal_width([difference(seed) for seed in range(100, 300)]), rel=0.3)
    assert width(found) > 1.1 * width(histogram_difference(*histograms(*two_models(5)), SETTINGS, inflation=1))


def test_a_design_effect_of_four_doubles_the_interval():
    both = histograms(*two_models(6))
    plain, inflated = (histogram_difference(*both, SETTINGS, inflation=effect) for effect in (1.0, 4.0))
    assert width(inflated) / width(plain) == pytest.approx(2.0, rel=0.2)


def test_rows_that_come_in_accounts_are_drawn_by_account():
    labels, worse, better = (np.repeat(column[::8], 8) for column in two_models(7))
    accounts = np.repeat(np.arange(labels.size // 8), 8)
    by_row, by_account = (paired_difference(worse, better, labels, one, SETTINGS) for one in (None, accounts))
    assert width(by_account) > 1.8 * width(by_row)


def test_two_equal_models_differ_by_nothing_row_by_row():
    labels, scores, _ = two_models(8)
    assert paired_difference(scores, scores, labels, None, SETTINGS).interval == (0.0, 0.0)


def test_what_is_not_defined_or_not_on_the_same_rows_is_refused():
    labels, worse, better = two_models(9)
    with pytest.raises(DataError, match="not defined on these 4,000 rows with 0 frauds"):
        paired_difference(worse, better, labels * 0, None, SETTINGS)
    with pytest.raises(DataError, match="not defined on these 0 rows"):
        paired_difference(worse[:0], better[:0], labels[:0], None, SETTINGS)
    (first,), (second,) = histograms(labels, worse), histograms(labels[1:], better[1:])
    with pytest.raises(DataError, match="250 frauds and 3750 others, the challenger 249 and 3750"):
        histogram_difference(first, second, SETTINGS, inflation=1)
    with pytest.raises(DataError, match="different bins"):
        histogram_difference(first, ScoreHistogram.empty(ScoreBins()), SETTINGS, inflation=1)
    with pytest.raises(DataError, match="expected at least 0 and at least 1"):
        histogram_difference(first, first, SETTINGS, inflation=0.5)


def test_a_comparison_reads_back_as_it_was_written():
    facts = {"figure": "auprc", "champion": 0.5, "challenger": 0.6, "interval": (0.05, 0.15), "level": 0.95}
    difference = Difference(**facts, source="rows", rows=10, frauds=2)
    window = date(2025, 2, 12), date(2025, 3, 1)
    comparison = Comparison(champion=1, challenger=2, window=window, banks=3, difference=difference)
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison
    assert difference.in_words() == (
        "auprc 0.600 against 0.500, +0.100 (95% interval +0.050 to +0.150) on 10 rows, 2 frauds"
    )


def test_a_few_labels_that_came_between_two_countings_are_no_other_rows():
    labels, worse, better = two_models(9)
    (first,), (second,) = histograms(labels, worse), histograms(labels[5:], better[5:])
    found = histogram_difference(first, second, SETTINGS, inflation=1.0, late=0.05)
    assert found.interval[0] > 0
    (other,) = histograms(labels[::2], better[::2])
    with pytest.raises(DataError, match="expected the same rows"):
        histogram_difference(first, other, SETTINGS, inflation=1.0, late=0.05)
