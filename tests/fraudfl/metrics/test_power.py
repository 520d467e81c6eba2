"""Power: the standard errors against simulated test windows judged by scikit-learn, and what follows from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fraudfl.errors import DataError
from fraudfl.metrics.power import Hope, Window, auprc_spread, power_of

WINDOW = Window(frauds=400, others=39_600)
HOPE = Hope(alone=0.4, gain=0.08)


def simulated(frauds, others, apart, alike, times, seed=0):
    """AUPRC of two models on `times` windows, shape (times, 2): normal scores, frauds `apart[k]` above the others."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [frauds, others])
    found = np.empty((times, 2))
    for row in found:
        shared = rng.normal(size=labels.size)
        for model in (0, 1):
            own = np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.normal(size=labels.size)
            row[model] = average_precision_score(labels, own + apart[model] * labels)
    return found


@pytest.mark.parametrize(("frauds", "others", "apart"), [(60, 3000, 2.0), (100, 900, 2.5), (80, 3000, 1.2)])
def test_the_standard_error_of_auprc_is_that_of_simulated_windows(frauds, others, apart):
    found = simulated(frauds, others, (apart, apart), 0.0, 200).ravel()
    error = auprc_spread(float(found.mean()), frauds / (frauds + others)) / np.sqrt(frauds)
    # 400 windows tell a standard deviation within about 7 % (two standard errors), and small windows are no limit.
    assert error == pytest.approx(found.std(), rel=0.12)


def test_the_standard_error_is_near_the_binomial_rule():
    for level in (0.1, 0.2, 0.4, 0.6, 0.8):
        assert auprc_spread(level, 0.01) == pytest.approx(np.sqrt(level * (1 - level)), rel=0.2)


def test_the_power_of_a_gate_is_how_often_simulated_windows_pass_it():
    found = simulated(120, 4000, (1.9, 2.3), 0.8, 250)
    alone, gain = found[:, 0].mean(), (found[:, 1] - found[:, 0]).mean()
    correlation = float(np.corrcoef(found.T)[0, 1])
    hope = Hope(alone=alone, gain=gain, asked=0.02, correlation=correlation)
    said = power_of(Window(frauds=120, others=4000), hope)
    differences = found[:, 1] - found[:, 0]
    assert said.standard_error == pytest.approx(differences.std(), rel=0.12)
    # A window passes when its 95 % interval, as wide as such intervals are, lies above what is asked.
    passed = np.mean(differences - 1.96 * differences.std() >= 0.02)
    assert said.power == pytest.approx(passed, abs=0.08)


def test_the_number_of_frauds_needed_gives_the_wanted_power():
    needed = power_of(WINDOW, HOPE).frauds_needed
    assert needed is not None
    enough = power_of(Window(frauds=needed, others=99 * needed), HOPE)
    fewer = power_of(Window(frauds=needed - 5, others=99 * (needed - 5)), HOPE)
    assert 0.8 <= enough.power < 0.802
    assert fewer.power < 0.8
    assert (enough.enough, fewer.enough) == (True, False)


def test_more_frauds_more_gain_and_likelier_pairs_give_more_power():
    base = power_of(WINDOW, HOPE).power
    assert power_of(Window(frauds=800, others=79_200), HOPE).power > base
    assert power_of(WINDOW, Hope(alone=0.4, gain=0.1)).power > base
    assert power_of(WINDOW, Hope(alone=0.4, gain=0.08, correlation=0.8)).power > base
    assert power_of(WINDOW, Hope(alone=0.4, gain=0.08, asked=0.02)).power < base


def test_accounts_with_several_frauds_count_for_less():
    one, four = power_of(WINDOW, HOPE), power_of(Window(frauds=400, others=39_600, design_effect=4), HOPE)
    assert four.standard_error == pytest.approx(2 * one.standard_error)
    assert four.frauds_needed == pytest.approx(4 * one.frauds_needed, abs=4)


def test_a_gain_no_larger_than_what_is_asked_is_never_enough():
    said = power_of(WINDOW, Hope(alone=0.4, gain=0.02, asked=0.02))
    assert said.power == pytest.approx(0.025)
    assert (said.frauds_needed, said.enough) == (None, False)
    assert "No number of frauds is enough" in said.words


def test_a_noisy_count_is_taken_at_the_fewest_frauds_it_may_stand_for():
    said = power_of(Window(frauds=400, others=39_600, noise=100), HOPE)
    assert said.power == power_of(WINDOW, HOPE).power
    assert said.power_low < said.power
    assert "where noise has made the count of frauds too high" in said.words
    assert power_of(Window(frauds=10, others=990, noise=100), HOPE).power_low == 0


def test_the_answer_is_words_and_json():
    said = power_of(WINDOW, HOPE)
    assert f"takes {said.frauds_needed:,} frauds" in said.words
    assert "With 400 frauds to test on, a gain of 0.08 over an AUPRC of 0.4" in said.words
    assert json.loads(json.dumps(said.to_dict(), allow_nan=False))["words"] == said.words


@pytest.mark.parametrize(
    ("window", "hope", "message"),
    [
        ({"frauds": 0}, {}, "no gain can be seen"),
        ({"others": 0}, {}, "no gain can be seen"),
        ({"design_effect": 0.5}, {}, "at least 1"),
        ({"noise": -1}, {}, "at least 0"),
        ({}, {"alone": 0.005}, "which scores by chance reach"),
        ({}, {"gain": 0.7}, "alone \\+ gain is an AUPRC of 1.1"),
        ({}, {"correlation": 1.0}, "correlation"),
        ({}, {"wanted": 1.0}, "wanted power"),
    ],
)
def test_what_cannot_be_is_refused(window, hope, message):
    facts = {"frauds": 400, "others": 39_600} | window
    with pytest.raises(DataError, match=message):
        power_of(Window(**facts), Hope(**({"alone": 0.4, "gain": 0.08} | hope)))
