"""The contract and the check of one table against it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraudfl.data.origin import Origin
from fraudfl.data.schema import Contract, validate
from fraudfl.errors import SchemaError

DAY = datetime(2025, 1, 31, 12, 0)
FULL = Contract(currency=True, label_time=True, numeric=("age",), categorical=("channel",))


def _columns(**changes: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "transaction_id": [1, 2, 3],
        "time": [DAY, DAY + timedelta(hours=1), DAY + timedelta(hours=2)],
        "account": ["a", "b", "a"],
        "counterparty": [7, 7, 8],
        "amount": [10.0, 20.5, 3.0],
        "currency": ["EUR", "EUR", "USD"],
        "label": [0, 1, 0],
        "label_time": [DAY + timedelta(days=3)] * 3,
        "age": [1.5, None, 3.0],
        "channel": ["web", None, "app"],
    }
    return columns | changes


def _validate(contract: Contract = FULL, **changes: Any) -> pa.Table:
    return validate(pa.table(_columns(**changes)), contract, where="here.parquet")


def _refusal(contract: Contract = FULL, **changes: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        _validate(contract, **changes)
    message = str(caught.value)
    assert message.startswith("here.parquet: ")
    assert message.endswith("Nothing was trained and nothing was sent.")
    return message


def test_a_good_table_gets_the_contract_types_and_order() -> None:
    table = _validate(region=["x", "y", "x"], rubbish=[1, 2, 3])
    assert table.column_names == [*FULL.columns, "region"]
    types = [str(kind) for kind in table.schema.types]
    assert types == [
        "int64", "timestamp[us]", "string", "int64", "double", "string", "int8", "timestamp[us]", "double", "string",
        "string",
    ]  # fmt: skip
    assert np.isnan(table["age"].to_numpy()[1])
    assert table["channel"].to_pylist() == ["web", None, "app"]


def test_a_contract_survives_json() -> None:
    assert Contract.from_json(FULL.to_json()) == FULL


def test_a_contract_lists_its_columns_in_order() -> None:
    assert FULL.columns == (
        "transaction_id", "time", "account", "counterparty", "amount", "currency", "label", "label_time", "age",
        "channel",
    )  # fmt: skip
    features = Contract(kind="features", transaction_id=False, time=False, account=False, numeric=("amount",))
    assert features.columns == ("label", "amount")


@pytest.mark.parametrize("numeric", [("label",), ("bank",), ("x", "x"), ("amount",)])
def test_an_extra_column_cannot_take_a_name_that_has_a_meaning(numeric: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="more than one meaning"):
        Contract(numeric=numeric)


def test_transactions_always_have_accounts() -> None:
    with pytest.raises(ValidationError, match="always has"):
        Contract(account=False)


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    table = pa.table(_columns()).drop_columns(["amount"])
    with pytest.raises(SchemaError, match=r"here.parquet: there is no column 'amount' \(found: transaction_id, time"):
        validate(table, FULL, where="here.parquet")


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(SchemaError, match="there are no rows"):
        validate(pa.table(_columns()).slice(0, 0), FULL, where="here.parquet")


def test_text_in_an_amount_is_quoted_with_its_row_and_the_way_out() -> None:
    message = _refusal(amount=["1.0", "12,50", "3"])
    assert "column 'amount' holds text ('12,50') in row 2; expected a number" in message
    assert 'Set `decimal: ","`' in message


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_an_amount_must_be_finite(bad: float | None) -> None:
    message = _refusal(amount=[1.0, 2.0, bad])
    assert "column 'amount'" in message
    assert "in row 3; expected a finite number" in message


def test_an_extra_number_may_be_missing_but_not_infinite() -> None:
    assert "column 'age' holds -inf in row 1" in _refusal(age=[float("-inf"), None, 2.0])


def test_truth_values_are_no_amounts() -> None:
    assert "holds true/false" in _refusal(amount=[True, False, True])


def test_a_duplicate_id_is_named_with_both_rows() -> None:
    message = _refusal(transaction_id=["x", "y", "x"])
    assert "holds 'x' again (first in here.parquet, row 1) in row 3" in message


@pytest.mark.parametrize(
    ("labels", "found"),
    [([0, 1, 2], "holds 2 in row 3"), ([0, None, 1], "is missing in row 2"), ([0.5, 0, 1], "holds 0.5 in row 1")],
)
def test_labels_other_than_0_and_1_are_refused(labels: list[float], found: str) -> None:
    assert f"column 'label' {found}; expected 0 or 1" in _refusal(label=labels)


@pytest.mark.parametrize("labels", [[False, True, False], ["0", "1", "0"], ["False", "true", "false"], [0.0, 1.0, 0.0]])
def test_labels_are_taken_in_any_spelling_of_0_and_1(labels: list[object]) -> None:
    assert _validate(label=labels)["label"].to_pylist() == [0, 1, 0]


@pytest.mark.parametrize("column", ["transaction_id", "account", "counterparty"])
@pytest.mark.parametrize("empty", [None, ""])
def test_a_missing_id_is_refused(column: str, empty: str | None) -> None:
    assert f"column '{column}' is missing in row 2" in _refusal(**{column: ["p", empty, "q"]})


def test_whole_floats_are_ids_and_broken_ones_are_not() -> None:
    assert _validate(account=[1.0, 2.0, 3.0])["account"].to_pylist() == [1, 2, 3]
    assert "column 'account' holds 2.5 in row 2; expected a whole number" in _refusal(account=[1.0, 2.5, 3.0])


@pytest.mark.parametrize("wild", [datetime(1970, 1, 1), datetime(2999, 1, 1)])
def test_absurd_times_are_refused(wild: datetime) -> None:
    message = _refusal(time=[DAY, wild, DAY])
    assert f"column 'time' holds {wild}" in message
    assert "in row 2; expected a time between 1990 and 2100" in message


def test_a_time_beyond_microseconds_is_refused_with_its_row() -> None:
    times = pa.array([1_700_000_000, 2**62, 1_700_000_000], pa.int64()).cast(pa.timestamp("s"))
    assert "out of all bounds" in _refusal(time=times)


def test_a_missing_time_is_refused() -> None:
    assert "column 'time' is missing in row 3" in _refusal(time=[DAY, DAY, None])


def test_a_label_known_before_the_transaction_is_refused() -> None:
    message = _refusal(label_time=[DAY, DAY, DAY + timedelta(days=9)])
    assert (
        "column 'label_time' holds 2025-01-31 12:00:00, before the transaction (2025-01-31 13:00:00), in row 2"
        in message
    )


def test_a_missing_label_time_is_refused_with_the_alternative() -> None:
    assert "`split.label_delay_days`" in _refusal(label_time=[DAY + timedelta(days=1), None, DAY + timedelta(days=1)])


def test_rows_are_sorted_by_time_and_ties_keep_their_order() -> None:
    times = [DAY + timedelta(hours=hour) for hour in (2, 1, 2, 0)]
    contract = Contract()
    columns = {
        "transaction_id": [10, 11, 12, 13], "time": times, "account": [1] * 4, "counterparty": [1] * 4,
        "amount": [1.0] * 4, "label": [0] * 4,
    }  # fmt: skip
    assert validate(pa.table(columns), contract, where="x")["transaction_id"].to_pylist() == [13, 11, 10, 12]


def test_zoned_times_are_moved_to_utc() -> None:
    cairo = timezone(timedelta(hours=2))
    moved = _validate(time=pa.array([DAY.replace(tzinfo=cairo)] * 3, pa.timestamp("ms", "+02:00")))["time"]
    assert moved.to_pylist() == [DAY - timedelta(hours=2)] * 3


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_whole_numbers_since_1970_are_times_in_the_unit_that_makes_sense(unit: str, scale: int) -> None:
    seconds = int(DAY.replace(tzinfo=UTC).timestamp())
    assert _validate(time=[seconds * scale] * 3)["time"].to_pylist() == [DAY] * 3, unit


def test_one_wild_number_among_seconds_is_the_one_that_is_refused() -> None:
    seconds = int(DAY.replace(tzinfo=UTC).timestamp())
    assert "in row 3; expected a time between 1990 and 2100" in _refusal(time=[seconds, seconds, seconds * 1000])


def test_small_numbers_are_no_times() -> None:
    assert "column 'time' holds 1 in row 1; expected a time" in _refusal(time=[1, 2, 3])


def test_dictionaries_and_large_text_are_plain_text_afterwards() -> None:
    table = _validate(
        account=pa.array(["a", "b", "a"]).dictionary_encode(), channel=pa.array(["x", "", "y"], pa.large_string())
    )
    assert table["account"].to_pylist() == ["a", "b", "a"]
    assert table["channel"].to_pylist() == ["x", None, "y"]


def test_whole_float_categories_lose_their_fraction() -> None:
    assert _validate(channel=[1.0, None, 2.0])["channel"].to_pylist() == ["1", None, "2"]


def test_an_origin_names_the_file_and_the_columns_own_name() -> None:
    table = pa.table(_columns(amount=[1.0, 2.0, float("nan")]))
    origin = Origin((("a.csv", 1), ("b.csv", 2)), {"amount": "AMT"})
    with pytest.raises(SchemaError, match=r"b.csv: column 'AMT' \(amount\) is missing \(NaN\) in row 2"):
        validate(table, FULL, where=origin)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_every_row_is_located_in_the_file_that_holds_it(lengths: list[int]) -> None:
    origin = Origin(tuple((str(number), rows) for number, rows in enumerate(lengths)))
    expected = [(str(number), row + 1) for number, rows in enumerate(lengths) for row in range(rows)]
    assert [origin.locate(row) for row in range(sum(lengths))] == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_the_first_bad_text_is_the_one_that_is_named(bad: list[int], seed: int) -> None:
    text = [str(value) for value in np.random.default_rng(seed).normal(size=41)]
    for row in bad:
        text[row] = "oops"
    count = len(text)
    columns = {
        "transaction_id": range(count), "time": [DAY] * count, "account": [1] * count, "counterparty": [1] * count,
        "amount": text, "label": [0] * count,
    }  # fmt: skip
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    with pytest.raises(SchemaError, match=rf"holds text \('oops'\) in row {min(bad) + 1};"):
        validate(table, Contract(), where="x")
