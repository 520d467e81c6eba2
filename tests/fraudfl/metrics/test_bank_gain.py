"""What one bank gained: counted by hand, drawn by account, in its own money."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.errors import DataError, NonFiniteError
from fraudfl.metrics.bank_gain import BankRows, bank_gain
from fraudfl.metrics.bootstrap import Bootstrap
from fraudfl.metrics.exact import figures

SETTINGS = Bootstrap(replicates=80, budget=0.2)
LABELS = np.array([1, 0, 1, 0, 0, 0, 0, 0, 1, 0], dtype=np.int8)
AMOUNTS = np.array([100, 7, 50, 7, 7, 7, 7, 7, 20, 7.0])
FALLING = np.linspace(3, -3, 10)
RISING = FALLING[::-1].copy()


def rows(**facts):
    return BankRows(**({"labels": LABELS, "amounts": AMOUNTS, "clusters": None} | facts))


def test_frauds_and_money_are_counted_at_the_banks_own_budget():
    found = bank_gain({"alone": RISING, "federated": FALLING}, rows(), 3.0, SETTINGS)
    assert (found.transactions, found.frauds, found.alerts) == (10, 3, 2.0)
    # Two alerts: alone sees rows 9 and 8, federated rows 0 and 1.
    alone, federated, gain = found.takings["alone"], found.takings["federated"], found.gains["federated"]
    assert (alone.frauds_caught.value, alone.money_saved.value) == (1, 20 - 6)
    assert (federated.frauds_caught.value, federated.money_saved.value) == (1, 100 - 6)
    assert (gain.frauds_caught.value, gain.money_saved.value) == (0, 80)
    assert set(found.gains) == {"federated"}


def test_a_tie_at_the_budgets_end_counts_in_proportion():
    flat = np.zeros(10)
    found = bank_gain({"alone": flat, "federated": FALLING}, rows(), 1.0, SETTINGS).takings["alone"]
    assert found.frauds_caught.value == pytest.approx(0.2 * 3)
    assert found.money_saved.value == pytest.approx(0.2 * 170 - 2)


logits = st.lists(st.integers(-3, 3), min_size=10, max_size=10).map(lambda drawn: np.array(drawn, dtype=float))


@given(logits, st.sampled_from([0.05, 0.1, 0.25, 0.5, 1.0]))
def test_the_share_of_frauds_caught_is_recall_at_budget(scores, budget):
    settings = Bootstrap(replicates=1, budget=budget)
    found = bank_gain({"alone": scores}, rows(), 0.0, settings).takings["alone"]
    expected = figures(scores, LABELS, threshold=0.0, budget=budget).recall_at_budget
    assert found.frauds_caught.value / 3 == pytest.approx(expected)


def many(accounts: int, seed: int) -> tuple[BankRows, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(accounts), 4)
    labels = (rng.random(accounts) < 0.1)[clusters].astype(np.int8)
    hard = rng.normal(0, 1, accounts)[clusters]
    scores = {
        name: hard + strength * labels for name, strength in (("alone", 0.5), ("federated", 1.5), ("personalised", 1.6))
    }
    return BankRows(labels, np.full(labels.size, 40.0), clusters), scores


def test_intervals_cover_the_gain_and_accounts_make_them_wider_than_rows():
    sample, scores = many(400, 2)
    found = bank_gain(scores, sample, 2.0, SETTINGS).gains
    assert set(found) == {"federated", "personalised"}
    low, high = found["federated"].frauds_caught.interval
    assert 0 < low < found["federated"].frauds_caught.value < high
    singly = bank_gain(scores, BankRows(sample.labels, sample.amounts, None), 2.0, SETTINGS).gains["federated"]
    narrow = singly.frauds_caught.interval
    # Four rows of an account that are all alike say as much as one: twice the width.
    assert (high - low) / (narrow[1] - narrow[0]) == pytest.approx(2.0, rel=0.35)


def test_the_interval_holds_the_true_gain_about_as_often_as_it_says():
    settings = Bootstrap(replicates=60, budget=0.1)
    truth = bank_gain(many(40_000, 1)[1], many(40_000, 1)[0], 0.0, Bootstrap(replicates=1, budget=0.1))
    per_account = truth.gains["federated"].frauds_caught.value / 40_000
    hits = 0
    for seed in range(100, 200):
        sample, scores = many(150, seed)
        low, high = bank_gain(scores, sample, 0.0, settings).gains["federated"].frauds_caught.interval
        hits += low <= per_account * 150 <= high
    assert 85 <= hits <= 100


def test_a_bank_with_no_fraud_at_all_pays_for_alerts_and_gains_nothing():
    quiet = rows(labels=np.zeros(10, np.int8))
    found = bank_gain({"alone": RISING, "federated": FALLING}, quiet, 3.0, SETTINGS)
    assert found.frauds == 0
    assert found.takings["federated"].money_saved.value == pytest.approx(-6.0)
    assert (found.gains["federated"].money_saved.value, found.gains["federated"].money_saved.interval) == (
        0.0,
        (0.0, 0.0),
    )


def test_what_a_bank_gained_can_be_kept_as_json():
    found = bank_gain({"alone": RISING, "federated": FALLING}, rows(), 3.0, SETTINGS).to_dict()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["gains"]["federated"]["money_saved"]["value"] == 80
    assert len(again["takings"]["alone"]["frauds_caught"]["interval"]) == 2


@pytest.mark.parametrize(
    ("scores", "wrong", "cost", "message"),
    [
        ({"federated": FALLING}, {}, 1.0, "expected `alone`"),
        ({"alone": FALLING[:9]}, {}, 1.0, "shape"),
        ({"alone": FALLING}, {"amounts": AMOUNTS[:9]}, 1.0, "one finite amount per row"),
        ({"alone": FALLING}, {"amounts": np.full(10, np.nan)}, 1.0, "one finite amount per row"),
        ({"alone": FALLING}, {}, float("inf"), "cost per alert"),
        ({"alone": FALLING[:0]}, {"labels": LABELS[:0], "amounts": AMOUNTS[:0]}, 1.0, "no test rows"),
    ],
)
def test_what_nothing_can_be_said_of_is_refused(scores, wrong, cost, message):
    with pytest.raises(DataError, match=message):
        bank_gain(scores, rows(**wrong), cost, SETTINGS)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(NonFiniteError):
        bank_gain({"alone": np.full(10, np.nan)}, rows(), 1.0, SETTINGS)
