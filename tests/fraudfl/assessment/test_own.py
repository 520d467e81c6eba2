"""A bank's own readiness: what it lacks or writes otherwise than the others, found from their sums."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.demands import Demands
from fraudfl.assessment.negotiated import negotiate
from fraudfl.assessment.own import Remark, own_readiness
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.spec import profile_spec

SPEC = profile_spec(CONTRACT, SPLIT, LISTS)
ROWS = 400


def remarks(own: pa.Table, deviation: float = 0.0, demands: Demands | None = None, seed: int = 0) -> dict[str, Remark]:
    """What a bank hears that joins four ordinary ones; topics of which something is wrong, and others once."""
    tables = [*(bank_table(ROWS, seed=seed) for seed in range(11, 15)), own]
    total = np.sum([count_profile(table, SPEC, SPLIT) for table in tables], axis=0).astype(np.float64)
    total += deviation * np.random.default_rng(seed).normal(size=SPEC.size)
    consortium = Profile(SPEC, total, 5, deviation)
    found: dict[str, Remark] = {}
    for remark in own_readiness(own, consortium, negotiate(consortium, demands or Demands()), SPLIT):
        if remark.topic not in found or found[remark.topic].verdict == "good":
            found[remark.topic] = remark
    return found


def test_a_bank_like_the_others_hears_nothing_bad():
    found = remarks(bank_table(ROWS, seed=1, currency=["EUR"] * ROWS))
    assert {remark.verdict for remark in found.values()} == {"good"}
    assert set(found) == {
        "rows", "fraud", "label delay", "months", "column amount", "column score", "column currency", "column channel",
    }  # fmt: skip
    assert not any(remark.advice for remark in found.values())


@pytest.mark.parametrize("factor", [100.0, 1000.0, 0.001])
def test_amounts_in_another_unit_are_suspected_with_the_factor_that_mends_them(factor):
    usual = bank_table(ROWS, seed=1)["amount"].to_numpy()
    found = remarks(bank_table(ROWS, seed=1, amount=usual * factor))["column amount"]
    assert found.verdict == "bad"
    assert found.found["factor"] == pytest.approx(1 / factor)
    assert f"scale: {{amount: {1 / factor:g}}}" in found.advice


@pytest.mark.parametrize("factor", [0.4, 2.5, 4.0])
def test_a_bank_whose_customers_spend_a_little_more_or_less_is_not_suspected(factor):
    usual = bank_table(ROWS, seed=1)["amount"].to_numpy()
    assert remarks(bank_table(ROWS, seed=1, amount=usual * factor))["column amount"].verdict == "good"


def test_a_unit_is_suspected_under_noise_too_and_not_where_noise_drowns_it():
    cents = bank_table(ROWS, seed=1)["amount"].to_numpy() * 100
    assert remarks(bank_table(ROWS, seed=1, amount=cents), deviation=4.0)["column amount"].verdict == "bad"
    drowned = remarks(bank_table(ROWS, seed=1, amount=cents), deviation=500.0)
    assert drowned.get("column amount", Remark(topic="", verdict="good", text="")).verdict == "good"


def test_values_outside_the_lists_are_counted_and_a_mapping_is_offered():
    currency = ["Euro", "eur ", "USD", "BTC"] * (ROWS // 4)
    found = remarks(bank_table(ROWS, seed=1, currency=currency))["column currency"]
    assert found.verdict == "bad"
    assert "75.0%" in found.text
    assert "BTC (100)" in found.text
    assert "Euro: EUR" in found.advice
    assert "eur : EUR" in found.advice
    assert "BTC:" not in found.advice


def test_a_column_that_it_lacks_is_told_with_how_many_others_have_it():
    found = remarks(bank_table(ROWS, seed=1, score=[None] * ROWS))["column score"]
    assert (found.verdict, "4 of 4 other banks have it" in found.text) == ("warning", True)


def test_a_lacking_column_that_is_left_out_for_all_is_no_problem():
    strict = Demands(least_banks=0.9)
    found = remarks(bank_table(ROWS, seed=1, score=[None] * ROWS), demands=strict)["column score"]
    assert (found.verdict, "left out for all: 80% of the banks have it" in found.text) == ("good", True)


def test_missing_months_few_frauds_and_late_labels_are_told():
    times = [datetime(2025, 2, 1 + number % 28) for number in range(ROWS)]
    late = [datetime(2025, 3, 9)] * (ROWS // 2) + times[ROWS // 2 :]
    own = bank_table(ROWS, seed=1, time=times, label_time=late, label=[1] + [0] * (ROWS - 1))
    found = remarks(own)
    assert "January 2025" in found["months"].text
    assert found["months"].found == {"missing": "January 2025"}
    assert (found["fraud"].verdict, "too few to test" in found["fraud"].text) == ("warning", True)
    assert found["label delay"].found["too_late"] == pytest.approx(0.5)
    assert found["rows"].verdict == "bad"  # nothing to test on


def test_far_more_missing_values_than_elsewhere_are_told():
    score = [None if number % 10 else 1.0 for number in range(ROWS)]
    found = remarks(bank_table(ROWS, seed=1, score=score))["column score"]
    assert (found.verdict, found.text.startswith("90% missing; elsewhere at most 2")) == ("warning", True)
