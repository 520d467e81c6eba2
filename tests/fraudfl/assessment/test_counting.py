"""What one bank counts: every block against a count made another way, and the sensitivity that noise relies on."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.spec import profile_spec

SPEC = profile_spec(CONTRACT, SPLIT, LISTS)


def block(vector: np.ndarray, name: str) -> list[int]:
    return vector[SPEC.blocks[name]].tolist()


def test_each_block_counts_what_pandas_counts():
    table = bank_table()
    frame, vector = table.to_pandas(), count_profile(table, SPEC, SPLIT)
    assert block(vector, "category: currency") == [
        (frame.currency == "EUR").sum(), (frame.currency == "USD").sum(), (frame.currency == "CHF").sum(), 0,
    ]  # fmt: skip
    assert block(vector, "category: channel") == [
        (frame.channel == "web").sum(), (frame.channel == "shop").sum(), 0, frame.channel.isna().sum(),
    ]  # fmt: skip
    # January, February and March 2025; none before or after.
    assert block(vector, "months") == [*frame.groupby(frame.time.dt.month).size(), 0, 0]
    delay = (frame.label_time - frame.time) / pd.Timedelta(days=1)
    edges = [-1, 1 / 24, 1, 3, 7, 14, 30, 60, 90, 180, 1e9]
    assert block(vector, "label delay") == pd.cut(delay, edges, right=False).value_counts(sort=False).tolist()
    scores = block(vector, "value: score")
    assert scores[-1] == frame.score.isna().sum()
    half = (len(scores) - 2) // 2
    assert sum(scores[:half]) == (frame.score <= -1e-3).sum()
    assert block(vector, "banks: columns") == [1, 1, 1]


def test_classes_are_those_of_the_windows_that_a_plan_would_use():
    table = bank_table()
    frame = table.to_pandas()
    day = (frame.time - datetime(2025, 1, 1)) / pd.Timedelta(days=1)
    train = (day < 59) & (frame.label_time <= datetime(2025, 3, 8))
    test = (day >= 66) & (day < 90)
    expected = [
        int(((frame.label == label) & part).sum()) for part in (train, test, ~train & ~test) for label in (0, 1)
    ]
    assert block(count_profile(table, SPEC, SPLIT), "classes") == expected
    assert sum(expected) == len(frame)


@pytest.mark.parametrize(("frauds", "place"), [(0, 0), (1, 1), (9, 1), (10, 2), (99, 2), (100, 3)])
def test_a_bank_says_only_in_which_bin_its_frauds_are(frauds, place):
    table = bank_table(300, time=[datetime(2025, 1, 2)] * 300, label_time=[datetime(2025, 1, 3)] * 300)
    table = table.set_column(
        table.column_names.index("label"), "label", pa.array((np.arange(300) < frauds).astype(np.int8))
    )
    assert block(count_profile(table, SPEC, SPLIT), "banks: frauds") == [int(bin_ == place) for bin_ in range(6)]


def test_a_bank_says_how_many_training_months_it_covers():
    # The training window is January and February.
    february = bank_table(50, time=[datetime(2025, 2, 3)] * 50, label_time=[datetime(2025, 2, 4)] * 50)
    assert block(count_profile(february, SPEC, SPLIT), "banks: months") == [0, 1, 0]
    assert block(count_profile(bank_table(), SPEC, SPLIT), "banks: months") == [0, 0, 1]


def test_a_column_without_any_value_is_one_that_the_bank_lacks():
    table = bank_table(60, score=[None] * 60, channel=[None] * 60)
    vector = count_profile(table, SPEC, SPLIT)
    assert block(vector, "banks: columns") == [0, 1, 0]  # score, currency, channel
    assert block(vector, "value: score")[-1] == 60


def test_an_account_counts_at_most_so_often_in_each_block():
    table = bank_table(200, account=[7] * 200)
    vector = count_profile(table, SPEC, SPLIT, account_rows=5)
    assert sum(block(vector, "category: currency")) == 5
    train0, train1, test0, test1, unused0, unused1 = block(vector, "classes")
    assert (train0 + train1, test0 + test1, unused0 + unused1) == (5, 5, 5)
    assert sum(block(vector, "banks: frauds")[2:]) == 1  # all 200 rows speak for the bank as a whole


@pytest.mark.parametrize("account_rows", [None, 3])
def test_leaving_out_any_one_unit_moves_the_vector_by_no_more_than_its_sensitivity(account_rows):
    # Every bin of frauds and months at an edge, so that one unit can move all that a unit can move.
    table = bank_table(40, score=[1.5, *[None] * 39], channel=["web", *[None] * 39])
    vector = count_profile(table, SPEC, SPLIT, account_rows)
    units = table["transaction_id"] if account_rows is None else table["account"]
    farthest = 0.0
    for unit in units.unique().to_pylist():
        others = table.filter(pa.compute.not_equal(units, unit))
        moved = np.linalg.norm(vector - count_profile(others, SPEC, SPLIT, account_rows))
        assert moved <= SPEC.sensitivity(account_rows) + 1e-9
        farthest = max(farthest, float(moved))
    # One transaction is in seven blocks, so the bound is not idle.
    assert farthest >= np.sqrt(7)


def test_the_bound_is_reached_by_a_unit_that_moves_everything():
    # Ten frauds, one of them alone in January, with the only score, channel and currency.
    one = {"score": [2.0, *[None] * 9], "channel": ["web", *[None] * 9], "currency": ["EUR", *[None] * 9]}
    times = [datetime(2025, 1, 5), *[datetime(2025, 2, 5)] * 9]
    table = bank_table(10, label=[1] * 10, time=times, label_time=times, **one)
    moved = np.linalg.norm(count_profile(table, SPEC, SPLIT) - count_profile(table.slice(1), SPEC, SPLIT))
    assert moved == pytest.approx(SPEC.sensitivity(None))
