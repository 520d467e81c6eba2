"""Sketches: bins where the specification puts them, sums over banks, strict reading."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraudfl.errors import SchemaError, WireError
from fraudfl.features.sketch import EncoderSpec, Sketch, numeric_bin_count, sketch_size, sketch_table

SPEC = EncoderSpec(
    numeric=("amount", "age"),
    categorical={"currency": ("EUR", "USD"), "note": ()},
    bins_per_decade=4,
    smallest=0.01,
    largest=100.0,
)
values32 = st.one_of(
    st.none(),
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 0.01, -0.01, 100.0, -100.0]),
)
texts = st.sampled_from([None, "EUR", "USD", "CHF", "", "eur"])
rows_of = st.lists(st.tuples(values32, values32, texts, texts, st.integers(0, 1)), max_size=40)


def table_of(rows):
    amount, age, currency, note, label = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    table = pa.table(
        {
            "amount": pa.array(amount, pa.float32()),
            "age": pa.array(age, pa.float32()),
            "currency": pa.array(currency, pa.string()),
            "note": pa.array(note, pa.string()),
        }
    )
    return table, np.array(label, dtype=np.int8)


def expected_bin(value, magnitudes=16):
    """Where a value belongs: negative bins, zero at 16, positive bins, missing at the end."""
    if value is None or math.isnan(value):
        return 2 * magnitudes + 1
    if abs(value) < np.float32(0.01):
        return magnitudes
    edges = [float(np.float32(0.01 * 10 ** (step / 4))) for step in range(magnitudes)]
    step = max(position for position, edge in enumerate(edges) if abs(value) >= edge)
    return magnitudes + 1 + step if value > 0 else magnitudes - 1 - step


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows_of)
def test_each_value_is_counted_in_its_public_bin(rows):
    table, labels = table_of(rows)
    counts = sketch_table(table, labels, SPEC).counts
    for position, name in enumerate(("amount", "age")):
        expected = [0] * numeric_bin_count(SPEC)
        for row in rows:
            expected[expected_bin(row[position])] += 1
        assert counts[name].tolist() == expected
    currencies = [row[2] for row in rows]
    others = sum(value not in ("EUR", "USD", None) for value in currencies)
    counted = [currencies.count("EUR"), currencies.count("USD"), others, currencies.count(None)]
    assert counts["currency"].tolist() == counted
    assert counts["note"].tolist() == [sum(row[3] is not None for row in rows), sum(row[3] is None for row in rows)]
    assert counts["label"].tolist() == [sum(row[4] == 0 for row in rows), sum(row[4] == 1 for row in rows)]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(rows_of, rows_of)
def test_sketches_of_two_banks_add_up_to_the_sketch_of_all_rows(first, second):
    both = sketch_table(*table_of(first), SPEC) + sketch_table(*table_of(second), SPEC)
    assert both.vector().tolist() == sketch_table(*table_of(first + second), SPEC).vector().tolist()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(rows_of)
def test_a_vector_reads_back_as_the_same_counts(rows):
    sketch = sketch_table(*table_of(rows), SPEC)
    vector = sketch.vector()
    assert vector.dtype == np.int64
    assert vector.shape == (sketch_size(SPEC),) == (2 + 2 * 34 + 4 + 2,)
    again = Sketch.from_vector(SPEC, vector)
    assert {name: column.tolist() for name, column in again.counts.items()} == {
        name: column.tolist() for name, column in sketch.counts.items()
    }


@pytest.mark.parametrize(
    "vector", [np.zeros(75, np.int64), np.zeros(76, np.int32), np.zeros(76), np.zeros((1, 76), np.int64)]
)
def test_a_vector_of_another_shape_or_type_is_refused(vector):
    with pytest.raises(WireError, match=r"expected int64 counts of shape \(76,\)"):
        Sketch.from_vector(SPEC, vector)


def test_a_sketch_has_as_many_counts_whatever_the_data_hold():
    small = sketch_table(*table_of([]), SPEC).vector()
    large = sketch_table(*table_of([(1.0, 2.0, "EUR", "x", 1)] * 1000), SPEC).vector()
    assert small.shape == large.shape


def test_chunked_double_and_integer_columns_count_like_float32():
    rows = [(float(np.float32(n / 7)), float(n), "EUR", "x", n % 2) for n in range(50)]
    table, labels = table_of(rows)
    wider = table.set_column(0, "amount", table["amount"].cast(pa.float64()))
    wider = wider.set_column(1, "age", table["age"].cast(pa.int32()))
    chunked = pa.concat_tables([wider.slice(0, 7), wider.slice(7)])
    assert sketch_table(chunked, labels, SPEC).vector().tolist() == sketch_table(table, labels, SPEC).vector().tolist()


def test_missing_columns_text_and_wrong_labels_are_refused_by_name():
    table, labels = table_of([(1.0, 2.0, "EUR", "x", 1)])
    with pytest.raises(SchemaError, match="column `age` is missing"):
        sketch_table(table.drop_columns(["age"]), labels, SPEC)
    with pytest.raises(SchemaError, match="column `amount` holds string"):
        sketch_table(table.set_column(0, "amount", pa.array(["12,50"])), labels, SPEC)
    with pytest.raises(SchemaError, match="1 of 1 are neither 0 nor 1"):
        sketch_table(table, np.array([2]), SPEC)
    with pytest.raises(SchemaError, match="one label for each of 1"):
        sketch_table(table, np.array([0, 1]), SPEC)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"numeric": ("a", "a")}, "named twice"),
        ({"numeric": ("label",)}, "named twice"),
        ({"numeric": ("a",), "categorical": {"a": ()}}, "named twice"),
        ({"numeric": (), "categorical": {"c": ("x", "x")}}, "names a value twice"),
        ({"numeric": ("a",), "smallest": 2.0, "largest": 3.0}, "at least one decade"),
    ],
)
def test_a_specification_that_contradicts_itself_is_refused(facts, message):
    with pytest.raises(ValidationError, match=message):
        EncoderSpec(**facts)


def test_a_specification_that_went_through_sorted_json_reads_the_same_vector() -> None:
    """A bank reads its plan from JSON with sorted keys; the coordinator made it in the order of the declaration."""
    made = EncoderSpec(numeric=("amount",), categorical={"note": ("a",), "currency": ("EUR", "USD")})
    read = EncoderSpec.model_validate_json(json.dumps(made.model_dump(), sort_keys=True))
    table = pa.table(
        {"amount": pa.array([1.0] * 5, pa.float32()), "note": ["a"] * 5, "currency": ["EUR", "EUR", "USD", "CHF", None]}
    )
    sketch = sketch_table(table, np.zeros(5, dtype=np.int8), read)
    counts = Sketch.from_vector(made, sketch.vector()).counts
    assert counts["currency"].tolist() == [2, 1, 1, 1]
    assert counts["note"].tolist() == [5, 0, 0]
