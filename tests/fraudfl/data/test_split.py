"""Out-of-time splits with a label delay, and splits that the data set brings."""

from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.config import SplitConfig
from fraudfl.data.split import Split, require_rows, split_rows
from fraudfl.errors import DataError, SchemaError

ORIGIN = datetime(2025, 1, 1)
CONFIG = SplitConfig(origin=date(2025, 1, 1), train_days=(10, 39), test_days=(47, 60), validation_days=5)


def at(days: float) -> datetime:
    return ORIGIN + timedelta(days=days)


def table(days: list[float], delays: list[float | None] | None = None) -> pa.Table:
    columns = {"time": pa.array([at(day) for day in days], pa.timestamp("us"))}
    if delays is not None:
        known = [None if delay is None else at(day + delay) for day, delay in zip(days, delays, strict=True)]
        columns["label_time"] = pa.array(known, pa.timestamp("us"))
    return pa.table(columns)


def where(split: Split) -> list[str]:
    names = np.full(split.train.size, "none", dtype=object)
    for name in ("train", "validation", "test"):
        names[getattr(split, name)] = name
    return names.tolist()


def test_days_are_inclusive_and_end_at_midnight():
    days = [9.999, 10, 34.999, 35, 39.999, 40, 46.999, 47, 60.999, 61]
    assert where(split_rows(table(days), CONFIG)) == [
        "none", "train", "train", "validation", "validation", "none", "none", "test", "test", "none",
    ]  # fmt: skip


def test_a_label_that_comes_after_the_test_begins_is_not_trained_on():
    split = split_rows(table([20, 20, 20, 38, 50], [26.9, 27.1, None, 30, 90]), CONFIG)
    assert where(split) == ["train", "none", "train", "none", "test"]


def test_without_label_times_the_delay_decides():
    config = CONFIG.model_copy(update={"label_delay_days": 12.0})
    assert where(split_rows(table([34.5, 35, 35.1, 50]), config)) == ["train", "validation", "none", "test"]


def test_no_validation_days_leave_everything_to_training():
    config = CONFIG.model_copy(update={"validation_days": 0})
    assert where(split_rows(table([10, 39.9, 50]), config)) == ["train", "train", "test"]


@st.composite
def splits(draw):
    first = draw(st.integers(0, 20))
    last = draw(st.integers(first + 1, first + 40))
    delay = draw(st.integers(0, 10))
    test_first = last + 1 + delay + draw(st.integers(0, 5))
    return SplitConfig(
        origin=date(2025, 1, 1),
        train_days=(first, last),
        test_days=(test_first, test_first + draw(st.integers(0, 20))),
        label_delay_days=delay,
        validation_days=draw(st.integers(0, last - first)),
    )


@given(
    config=splits(),
    rows=st.lists(st.tuples(st.floats(-5, 100), st.none() | st.floats(0, 40)), max_size=60),
)
def test_training_never_knows_what_the_test_could_not_have_known(config, rows):
    test_start = config.test_days[0]
    rows = [*rows, (config.train_days[0], 0.0), (test_start, 0.0)]  # so that there is something to train and test on
    days, delays = [day for day, _ in rows], [delay for _, delay in rows]
    split = split_rows(table(days, delays), config)
    for day, delay, part in zip(days, delays, where(split), strict=True):
        moment = (at(day) - ORIGIN) / timedelta(days=1)
        known = (at(day + (config.label_delay_days if delay is None else delay)) - ORIGIN) / timedelta(days=1)
        in_training_days = config.train_days[0] <= moment < config.train_days[1] + 1
        if part in ("train", "validation"):
            assert in_training_days
            assert moment < test_start
            assert known <= test_start
            last_days = moment >= config.train_days[1] + 1 - config.validation_days
            assert (part == "validation") == last_days
        elif part == "test":
            assert test_start <= moment < config.test_days[1] + 1
        elif in_training_days:
            assert known > test_start
        else:
            assert not test_start <= moment < config.test_days[1] + 1
    assert (split.train.astype(int) + split.validation + split.test <= 1).all()


def test_days_outside_the_data_are_named_with_what_the_data_covers():
    with pytest.raises(DataError, match=r"split\.test_days: no usable row in days 47–60 .* covers days 10–20"):
        require_rows(table([10, 20]), CONFIG)
    with pytest.raises(DataError, match=r"split\.train_days: no usable row"):
        require_rows(table([50]), CONFIG)


def given_table(rows: int = 20_000) -> pa.Table:
    names = np.where(np.arange(rows) % 4 == 0, "test", "train")
    return pa.table({"transaction_id": np.arange(rows) * 7, "split": names})


def test_a_given_split_is_kept_and_validation_comes_from_its_training_rows():
    brought = given_table()
    split = split_rows(brought, SplitConfig(by="given", validation_share=0.2))
    assert np.array_equal(split.test, np.arange(20_000) % 4 == 0)
    assert np.array_equal(split.train | split.validation, ~split.test)
    assert not (split.train & split.validation).any()
    assert abs(split.validation.sum() / 15_000 - 0.2) < 0.015


def test_given_validation_follows_the_transaction_and_not_its_row():
    brought = given_table()
    order = np.random.default_rng(0).permutation(brought.num_rows)
    config = SplitConfig(by="given")
    shuffled = split_rows(brought.take(order), config)
    assert np.array_equal(shuffled.validation, split_rows(brought, config).validation[order])


def test_a_larger_share_keeps_the_validation_rows_of_a_smaller_one():
    few = split_rows(given_table(), SplitConfig(by="given", validation_share=0.1)).validation
    more = split_rows(given_table(), SplitConfig(by="given", validation_share=0.3)).validation
    assert (more | ~few).all()


def test_a_given_split_works_without_transaction_ids():
    split = split_rows(given_table().select(["split"]), SplitConfig(by="given"))
    assert abs(split.validation.sum() / 15_000 - 0.1) < 0.015


def test_an_unknown_part_is_named_by_row():
    with pytest.raises(SchemaError, match="column 'split' holds 'dev' in row 2; expected 'train' or 'test'"):
        split_rows(pa.table({"split": ["train", "dev", "test"]}), SplitConfig(by="given"))


@pytest.mark.parametrize("config", [CONFIG, SplitConfig(by="given")])
def test_a_missing_column_is_named(config):
    with pytest.raises(SchemaError, match=r"no column '(time|split)'"):
        split_rows(pa.table({"label": [0, 1]}), config)
