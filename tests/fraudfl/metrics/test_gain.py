"""The consortium's gain: drawn in pairs on the same rows, with each bank's own thresholds, and shared how evenly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from fraudfl.errors import DataError
from fraudfl.metrics.bootstrap import Bootstrap, difference_interval, figure_intervals
from fraudfl.metrics.gain import Judged, draw_together, fairness
from fraudfl.protocols import Scored

SETTINGS = Bootstrap(replicates=60, budget=0.05)
BANKS = {"north": slice(0, 900), "south": slice(900, 1500)}


def scored(seed: int, strength: float, noise: float = 1.0) -> Scored:
    """Rows of 300 accounts; `seed` changes the scores, never the rows."""
    rows = np.random.default_rng(1)
    clusters = np.repeat(np.arange(300), 5)
    labels = (rows.random(300) < 0.12)[clusters].astype(np.int8)
    hard = rows.normal(0, 1, 300)[clusters]
    own = np.random.default_rng(seed).normal(0, noise, labels.size)
    return Scored(
        logits=(strength * labels + hard + own).astype(np.float32), labels=labels, clusters=clusters, banks=BANKS
    )


def judged(test: Scored, **thresholds: float) -> Judged:
    return Judged(test, dict.fromkeys(BANKS, 0.0) | thresholds)


def gain_intervals(first: Judged, second: Judged, settings: Bootstrap):
    drawn = draw_together({"first": first, "second": second}, settings)
    return drawn["first"].less(drawn["second"])


def test_the_interval_of_ranked_figures_is_that_of_the_paired_difference():
    first, second = scored(2, 2.0), scored(3, 1.5)
    found = gain_intervals(judged(first), judged(second), SETTINGS)
    pair = (first.logits, second.logits)
    for figure in ("auprc", "auroc", "recall_at_budget"):
        assert found[figure] == difference_interval(pair, first.labels, first.clusters, SETTINGS, figure)
    expected = difference_interval(pair, first.labels, first.clusters, SETTINGS, "balanced_accuracy")
    assert found["balanced_accuracy"] == pytest.approx(expected)


def test_what_is_drawn_together_has_the_intervals_that_it_has_by_itself():
    tests = [scored(2, 2.0), scored(3, 1.5), scored(4, 1.0)]
    drawn = draw_together({str(place): judged(test) for place, test in enumerate(tests)}, SETTINGS)
    for place, test in enumerate(tests):
        alone = figure_intervals(test.logits, test.labels, test.clusters, SETTINGS)
        assert drawn[str(place)].intervals() == {name: pytest.approx(interval) for name, interval in alone.items()}


def test_pairing_makes_the_interval_narrower_than_two_apart():
    first, second = scored(2, 2.0, noise=0.3), scored(3, 1.8, noise=0.3)
    low, high = gain_intervals(judged(first), judged(second), SETTINGS)["auprc"]
    apart = [figure_intervals(one.logits, one.labels, one.clusters, SETTINGS)["auprc"] for one in (first, second)]
    assert high - low < 0.5 * np.hypot(*(end - start for start, end in apart))
    gain = average_precision_score(first.labels, first.logits) - average_precision_score(second.labels, second.logits)
    assert low < gain < high


def test_balanced_accuracy_is_judged_at_each_banks_own_threshold():
    test = scored(2, 2.0)
    one, other = judged(test, north=1.0, south=2.0), judged(test, north=-3.0, south=4.0)
    low, high = gain_intervals(one, other, SETTINGS)["balanced_accuracy"]
    own = np.concatenate([np.full(900, 1.0), np.full(600, 2.0)])
    poor = np.concatenate([np.full(900, -3.0), np.full(600, 4.0)])
    gain = balanced_accuracy_score(test.labels, test.logits >= own) - balanced_accuracy_score(
        test.labels, test.logits >= poor
    )
    assert low < gain < high
    assert gain_intervals(one, other, SETTINGS)["auprc"] == (0.0, 0.0)


def test_a_model_gains_nothing_over_itself():
    test = judged(scored(2, 2.0), north=1.0)
    assert set(gain_intervals(test, test, SETTINGS).values()) == {(0.0, 0.0)}


@pytest.mark.parametrize("change", [{"labels": np.ones(1500, np.int8)}, {"banks": {"north": slice(0, 1500)}}])
def test_other_rows_are_no_pair(change):
    with pytest.raises(DataError, match="same rows in the same order"):
        gain_intervals(
            judged(scored(2, 2.0)), Judged(replace(scored(3, 1.0), **change), {"north": 0, "south": 0}), SETTINGS
        )


def test_fairness_is_the_worst_banks_share_of_the_mean():
    test = scored(2, 2.0)
    weak = test.logits.copy()
    weak[BANKS["south"]] = np.random.default_rng(9).normal(size=600)
    uneven = replace(test, logits=weak)
    own = [average_precision_score(uneven.labels[rows], uneven.logits[rows]) for rows in BANKS.values()]
    value, (low, high) = fairness(uneven, ["auprc"], SETTINGS)["auprc"]
    assert value == pytest.approx(min(own) / np.mean(own))
    assert 0 <= low <= value <= high <= 1
    assert fairness(test, ["auprc", "recall_at_budget"], SETTINGS)["auprc"][0] > value


def test_a_bank_without_a_fraud_or_without_rows_has_no_part_in_fairness_and_without_any_there_is_none():
    test = scored(2, 2.0)
    labels = test.labels.copy()
    labels[BANKS["south"]] = 0
    quiet = replace(test, labels=labels, banks=BANKS | {"empty": slice(1500, 1500)})
    assert fairness(quiet, ["auprc"], SETTINGS) == {"auprc": (1.0, (1.0, 1.0))}
    assert fairness(replace(test, labels=np.zeros(1500, np.int8)), ["auprc"], SETTINGS) == {}
