"""What one bank counts: every block against a count made another way, and the sensitivity that noise relies on."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table

from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.spec import FRAUDS, profile_spec

SPEC = profile_spec(CONTRACT, SPLIT, LISTS)
NOISY = profile_spec(CONTRACT, SPLIT, LISTS, private=True)


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


def with_frauds(frauds: int) -> pa.Table:
    table = bank_table(300, time=[datetime(2025, 1, 2)] * 300, label_time=[datetime(2025, 1, 3)] * 300)
    labels = pa.array((np.arange(300) < frauds).astype(np.int8))
    return table.set_column(table.column_names.index("label"), "label", labels)


@pytest.mark.parametrize(("frauds", "place"), [(0, 0), (1, 1), (2, 1), (3, 2), (9, 2), (10, 3), (99, 4), (100, 5)])
def test_a_bank_says_only_in_which_bin_its_frauds_are(frauds, place):
    found = block(count_profile(with_frauds(frauds), SPEC, SPLIT), "banks: frauds")
    assert found == [int(bin_ == place) for bin_ in range(len(FRAUDS))]


@pytest.mark.parametrize(
    ("frauds", "layers"), [(0, []), (1, [1]), (5, [1, 2, 2]), (10, [1, 2, 7]), (120, [1, 2, 7, 20, 70, 20])]
)
def test_where_noise_comes_on_top_frauds_fill_one_layer_after_the_other(frauds, layers):
    found = block(count_profile(with_frauds(frauds), NOISY, SPLIT), "banks: frauds")
    assert found == layers + [0] * (len(FRAUDS) - len(layers))
    assert sum(found) == frauds


def test_a_bank_says_which_training_months_it_covers():
    # The training window is January and February.
    february = bank_table(50, time=[datetime(2025, 2, 3)] * 50, label_time=[datetime(2025, 2, 4)] * 50)
    assert block(count_profile(february, SPEC, SPLIT), "banks: months") == [0, 1]
    assert block(count_profile(bank_table(), SPEC, SPLIT), "banks: months") == [1, 1]
    assert block(count_profile(february, NOISY, SPLIT), "banks: months") == [0, 50]
    assert block(count_profile(bank_table(), NOISY, SPLIT), "banks: months") == [100, 100]


def test_a_column_without_any_value_is_one_that_the_bank_lacks():
    table = bank_table(60, score=[None] * 60, channel=[None] * 60)
    vector = count_profile(table, SPEC, SPLIT)
    assert block(vector, "banks: columns") == [0, 1, 0]  # score, currency, channel
    assert block(vector, "value: score")[-1] == 60
    assert block(count_profile(table, NOISY, SPLIT), "banks: columns") == [0, 60, 0]
    assert block(count_profile(bank_table(400, score=[None] * 397 + [1.0] * 3), NOISY, SPLIT), "banks: columns")[0] == 3


def test_an_account_counts_at_most_so_often_in_each_block():
    table = bank_table(200, account=[7] * 200)
    vector = count_profile(table, NOISY, SPLIT, account_rows=5)
    assert sum(block(vector, "category: currency")) == 5
    train0, train1, test0, test1, unused0, unused1 = block(vector, "classes")
    assert (train0 + train1, test0 + test1, unused0 + unused1) == (5, 5, 5)
    assert sum(block(vector, "banks: frauds")) <= 5
    assert sum(block(vector, "banks: months")) == 5


@pytest.mark.parametrize(("spec", "account_rows"), [(SPEC, None), (NOISY, None), (NOISY, 3), (SPEC, 3)])
def test_leaving_out_any_one_unit_moves_the_vector_by_no_more_than_its_sensitivity(spec, account_rows):
    # Every bin of frauds and months at an edge, so that one unit can move all that a unit can move.
    table = bank_table(40, score=[1.5, *[None] * 39], channel=["web", *[None] * 39])
    vector = count_profile(table, spec, SPLIT, account_rows)
    units = table["transaction_id"] if account_rows is None else table["account"]
    farthest = 0.0
    for unit in units.unique().to_pylist():
        others = table.filter(pa.compute.not_equal(units, unit))
        moved = np.linalg.norm(vector - count_profile(others, spec, SPLIT, account_rows))
        assert moved <= spec.sensitivity(account_rows) + 1e-9
        farthest = max(farthest, float(moved))
    # One transaction is in seven blocks, so the bound is not idle.
    assert farthest >= np.sqrt(7)


@pytest.mark.parametrize("spec", [SPEC, NOISY])
def test_the_bound_is_reached_by_a_transaction_that_moves_everything(spec):
    # Ten frauds, one of them alone in January, with the only score, channel and currency.
    one = {"score": [2.0, *[None] * 9], "channel": ["web", *[None] * 9], "currency": ["EUR", *[None] * 9]}
    times = [datetime(2025, 1, 5), *[datetime(2025, 2, 5)] * 9]
    table = bank_table(10, label=[1] * 10, time=times, label_time=times, **one)
    moved = np.linalg.norm(count_profile(table, spec, SPLIT) - count_profile(table.slice(1), spec, SPLIT))
    assert moved == pytest.approx(spec.sensitivity(None))


def test_the_bound_is_nearly_reached_by_an_account_that_moves_everything():
    # Four frauds of one account, all alike, in the training window: only the other two windows stay as they are.
    times = [datetime(2025, 1, 5)] * 4
    table = bank_table(4, label=[1] * 4, account=[1] * 4, time=times, label_time=times, score=[2.0] * 4,
                       channel=["web"] * 4, currency=["EUR"] * 4, amount=[9.0] * 4)  # fmt: skip
    moved = np.linalg.norm(count_profile(table, NOISY, SPLIT, 4) - count_profile(table.slice(0, 0), NOISY, SPLIT, 4))
    # Its frauds fill the first layer with 1, the second with 2, the third with 1, in place of one with 4.
    assert moved**2 == pytest.approx(NOISY.sensitivity(4) ** 2 - 2 * 16 - (16 - 6))
