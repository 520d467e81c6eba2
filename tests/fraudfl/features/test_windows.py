"""Window features against a brute-force oracle, against the future, and against bad input."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudfl.config import FeaturesConfig
from fraudfl.data.schema import Contract
from fraudfl.errors import ConfigError, DataError, SourceError
from fraudfl.features.declaration import declare, declare_categorical
from fraudfl.features.windows import DuckDbLimits, compute_features


def _load_oracle():
    path = Path(__file__).parents[2] / "oracles" / "window_oracle.py"
    spec = importlib.util.spec_from_file_location("window_oracle", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["window_oracle"] = module
    spec.loader.exec_module(module)
    return module


oracle = _load_oracle()
Row = oracle.Row
START = datetime(2025, 3, 1)
CONFIG = FeaturesConfig(windows_days=(0.5, 2, 10), label_delay_days=1.5)

# Times on a coarse grid, with a microsecond now and then, give ties and rows exactly on a window's edge.
times = st.builds(
    lambda halves, micros: START + timedelta(hours=6 * halves, microseconds=micros),
    st.integers(0, 60),
    st.sampled_from([0, 0, 0, -1, 1]),
)
amounts = st.one_of(
    st.integers(-100_000, 10_000_000).map(lambda cents: cents / 100),
    st.sampled_from([0.0, 1e-3, 123456789.25, -987654.5]),
)
delays = st.builds(lambda q, m: timedelta(hours=6 * q, microseconds=m), st.integers(0, 30), st.sampled_from([0, 0, 1]))


@st.composite
def tables(draw, label_times, accounts=3, most=25):
    rows = []
    for _ in range(draw(st.integers(1, most))):
        time = draw(times)
        label_time = time + draw(delays) if label_times else None
        keys = draw(st.integers(1, accounts)), draw(st.sampled_from(["shop", "it's", 'a "bar"']))
        rows.append(Row(time, *keys, draw(amounts), draw(st.integers(0, 1)), label_time))
    return sorted(rows, key=lambda row: row.time)


def compute(rows, config=CONFIG, *, shuffle=None, limits=None, folder_name="bank"):
    order = np.arange(len(rows)) if shuffle is None else np.random.default_rng(shuffle).permutation(len(rows))
    rows = [rows[position] for position in order]
    contract = Contract(label_time=rows[0].label_time is not None)
    columns = {
        "transaction_id": pa.array(order, pa.int64()),
        "time": pa.array([row.time for row in rows], pa.timestamp("us")),
        "account": pa.array([row.account for row in rows], pa.int64()),
        "counterparty": pa.array([row.counterparty for row in rows], pa.string()),
        "amount": pa.array([row.amount for row in rows], pa.float64()),
        "label": pa.array([row.label for row in rows], pa.int8()),
    }
    if contract.label_time:
        columns["label_time"] = pa.array([row.label_time for row in rows], pa.timestamp("us"))
    features = declare(config, contract)
    with TemporaryDirectory() as folder:
        source = Path(folder) / folder_name / "transactions.parquet"
        source.parent.mkdir()
        pq.write_table(pa.table(columns), source)
        destination = Path(folder) / "features.parquet"
        compute_features(source, features, destination, contract=contract, limits=limits or DuckDbLimits())
        result = pq.read_table(destination)
        assert {path.name for path in Path(folder).iterdir()} == {folder_name, "features.parquet"}
    assert result["transaction_id"].to_pylist() == order.tolist()
    assert all(result[feature.name].type == pa.float32() for feature in features)
    return features, result


def assert_equals_the_oracle(rows, features, result):
    for feature in features:
        found = result[feature.name].to_pylist()
        for index, row in enumerate(rows):
            wanted = oracle.expected(rows, index, feature)
            place = f"{feature} row {index} {row}: found {found[index]}, expected {wanted}"
            if wanted is None:
                assert found[index] is None, place
            else:
                assert found[index] is not None, place
                # Amounts and log amounts count in ten-thousandths, and the result is float32.
                tolerance = {"sum": 1e-4 * len(rows), "mean": 1e-4, "distance": 1e-3}.get(feature.aggregate, 1e-7)
                relative = 1e-4 if feature.aggregate == "distance" else 1e-6
                assert math.isclose(found[index], wanted, rel_tol=relative, abs_tol=tolerance), place


def bits(result, names, index):
    return [None if (value := result[name][index].as_py()) is None else np.float32(value).tobytes() for name in names]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(tables(label_times=False))
def test_every_feature_equals_the_oracle_with_a_constant_label_delay(rows):
    assert_equals_the_oracle(rows, *compute(rows))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(tables(label_times=True))
def test_every_feature_equals_the_oracle_with_label_times_that_vary(rows):
    assert_equals_the_oracle(rows, *compute(rows))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(tables(label_times=True, accounts=1, most=40), st.sampled_from([0.0, 2.0]))
def test_one_account_and_any_delay_equal_the_oracle(rows, delay):
    config = FeaturesConfig(windows_days=(1,), label_delay_days=delay)
    assert_equals_the_oracle(rows, *compute(rows, config))
    constant = [replace(row, label_time=None) for row in rows]
    assert_equals_the_oracle(constant, *compute(constant, config))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data(), st.booleans())
def test_no_feature_sees_the_future_or_an_unknown_label(data, label_times):
    rows = data.draw(tables(label_times=label_times))
    now = data.draw(st.sampled_from(rows)).time
    delay = timedelta(days=CONFIG.label_delay_days)
    changed = []
    for row in rows:
        known = row.label_time or row.time + delay
        if row.time > now:
            # Anything about a later transaction may change, and it may vanish.
            later = now + timedelta(microseconds=data.draw(st.integers(1, 10**11)))
            if data.draw(st.booleans()):
                label_time = later + timedelta(days=1) if label_times else None
                changed.append(Row(later, 1, "shop", data.draw(amounts), 1 - row.label, label_time))
        elif known >= now:
            label_time = row.label_time and now + timedelta(microseconds=data.draw(st.integers(0, 10**12)))
            changed.append(replace(row, label=1 - row.label, label_time=label_time))
        else:
            changed.append(row)
    features, before = compute(rows)
    _, after = compute(changed)
    names = [feature.name for feature in features]
    for index in (index for index, row in enumerate(rows) if row.time <= now):
        if rows[index].time == now:  # an earlier row has an earlier now, at which fewer labels are known
            assert bits(before, names, index) == bits(after, names, index)


def test_the_label_of_the_transaction_itself_is_never_used():
    rows = [Row(START, 1, "shop", 10.0, 1, START), Row(START + timedelta(days=1), 1, "shop", 10.0, 1, None)]
    rows[1] = replace(rows[1], label_time=rows[1].time)
    _, result = compute(rows)
    assert result["account_fraud_rate_10d"].to_pylist() == [None, 1.0]


def test_the_order_of_rows_in_the_file_does_not_matter_and_is_kept():
    rng = np.random.default_rng(3)
    hours = np.sort(rng.integers(0, 200, 400))
    rows = [
        Row(START + timedelta(hours=int(h)), int(a), f"m{m}", float(x), int(y), START + timedelta(hours=int(h + d)))
        for h, a, m, x, y, d in zip(
            hours, rng.integers(0, 9, 400), rng.integers(0, 7, 400), rng.lognormal(3, 2, 400),
            rng.integers(0, 2, 400), rng.integers(0, 99, 400), strict=True,
        )
    ]  # fmt: skip
    _, sorted_result = compute(rows)
    _, shuffled = compute(rows, shuffle=5, limits=DuckDbLimits(threads=2, memory_limit="100MB"))
    assert shuffled.sort_by("transaction_id").equals(sorted_result)


def test_label_times_at_a_constant_delay_give_what_the_delay_gives():
    rng = np.random.default_rng(4)
    moments = np.sort(rng.integers(0, 20 * 86_400, 500))
    rows = [
        Row(START + timedelta(seconds=int(s)), int(a), f"m{a % 3}", float(a), int(y))
        for s, a, y in zip(moments, rng.integers(0, 9, 500), rng.integers(0, 2, 500), strict=True)
    ]
    delay = timedelta(days=CONFIG.label_delay_days)
    _, by_delay = compute(rows)
    _, by_time = compute([replace(row, label_time=row.time + delay) for row in rows])
    assert by_time.equals(by_delay)


def test_a_folder_whose_name_looks_like_a_glob_is_read_as_it_is():
    rows = [Row(START, 1, "shop", 10.0, 0)]
    _, result = compute(rows, folder_name="bank[1]*'?")
    assert result["account_sum_10d"].to_pylist() == [10.0]


def test_amounts_beyond_any_currency_still_give_finite_features():
    rows = [Row(START + timedelta(hours=n), 1, "shop", x, 0) for n, x in enumerate([1e300, -1e300, 5.0])]
    features, result = compute(rows)
    for feature in features:
        assert all(value is None or math.isfinite(value) for value in result[feature.name].to_pylist()), feature


def test_a_missing_amount_is_refused_and_not_taken_for_zero():
    rows = [Row(START, 1, "shop", None, 0)]
    with pytest.raises(DataError, match="an amount is missing"):
        compute(rows)


def _ready_made(folder):
    table = pa.table(
        {
            "label": pa.array([0, 1, 0], pa.int8()),
            "score": pa.array([1.5, None, math.nan]),
            "branch": pa.array(["north", None, "sou\nth"]),
        }
    )
    pq.write_table(table, folder / "transactions.parquet")
    return Contract(
        kind="features", transaction_id=False, time=False, account=False, numeric=("score",), categorical=("branch",)
    )


def test_ready_made_features_pass_through_with_missing_values_as_null(tmp_path):
    contract = _ready_made(tmp_path)
    features = declare(FeaturesConfig(), contract)
    compute_features(tmp_path / "transactions.parquet", features, tmp_path / "out.parquet", contract=contract)
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.to_pydict() == {"score": [1.5, None, None], "branch": ["north", None, "sou\nth"]}


def test_a_source_without_a_needed_column_is_refused_by_name(tmp_path):
    contract = _ready_made(tmp_path)
    contract = contract.model_copy(update={"numeric": ("score", "balance")})
    with pytest.raises(DataError, match=r"transactions\.parquet: columns \['balance'\] are missing"):
        compute_features(
            tmp_path / "transactions.parquet",
            declare(FeaturesConfig(), contract),
            tmp_path / "out.parquet",
            contract=contract,
        )


def test_a_truncated_source_is_refused_and_leaves_nothing_behind(tmp_path):
    contract = _ready_made(tmp_path)
    source = tmp_path / "transactions.parquet"
    source.write_bytes(source.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"transactions\.parquet: not a readable Parquet file"):
        compute_features(source, declare(FeaturesConfig(), contract), tmp_path / "out.parquet", contract=contract)
    assert [path.name for path in tmp_path.iterdir()] == ["transactions.parquet"]


def test_the_default_declaration_covers_both_directions_and_can_be_trimmed():
    contract = Contract(currency=True, numeric=("age",), categorical=("channel",))
    names = {feature.name for feature in declare(FeaturesConfig(), contract)}
    aggregates = ["count_1d", "sum_7d", "mean_30d", "fraud_rate_7d", "distance_30d", "since_last"]
    assert {f"{entity}_{name}" for entity in ("account", "counterparty") for name in aggregates} <= names
    assert {"amount", "pair_since_last", "age"} <= names
    trimmed = FeaturesConfig(exclude=("age", "channel", "account_sum_1d"))
    assert names - {feature.name for feature in declare(trimmed, contract)} == {"age", "account_sum_1d"}
    assert declare_categorical(trimmed, contract) == ("currency",)


@pytest.mark.parametrize(
    ("config", "numeric", "message"),
    [
        (FeaturesConfig(windows_days=(0,)), (), r"windows_days: found 0; expected between one second"),
        (FeaturesConfig(windows_days=(7, 7.0)), (), "distinct lengths"),
        (FeaturesConfig(exclude=("amonut",)), (), r"exclude: found \['amonut'\]"),
        (FeaturesConfig(), ("account_count_1d",), r"\['account_count_1d'\] are declared twice"),
    ],
)
def test_an_impossible_declaration_is_refused_with_the_reason(config, numeric, message):
    with pytest.raises(ConfigError, match=message):
        declare(config, Contract(numeric=numeric))
