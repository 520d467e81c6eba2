"""The encoder: the same from ten banks as from pooled rows, near exact quantiles, strict on the wire."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from fraudfl.errors import SchemaError, WireError
from fraudfl.features.encoder import Encoder, fit_encoder
from fraudfl.features.sketch import EncoderSpec, Sketch, sketch_size, sketch_table

SPEC = EncoderSpec(
    numeric=("amount", "count", "rate"),
    categorical={"currency": ("EUR", "USD", "GBP")},
    min_category_count=20,
    scaling="both",
)


def bank_table(seed, rows=800):
    rng = np.random.default_rng(seed)
    rate = np.where(rng.random(rows) < 0.9, 0.0, rng.random(rows))
    rate[rng.random(rows) < 0.2] = np.nan
    table = pa.table(
        {
            "amount": rng.lognormal(seed % 4, 2, rows).astype(np.float32),
            "count": rng.poisson(3, rows).astype(np.float32),
            "rate": pa.array(rate.astype(np.float32), from_pandas=True),
            "currency": rng.choice(["EUR", "USD", "JPY"], rows, p=[0.6, 0.3, 0.1]),
        }
    )
    return table, rng.integers(0, 2, rows)


def numeric_encoder(values, scaling="quantile", **facts):
    spec = EncoderSpec(numeric=("x",), scaling=scaling, **facts)
    table = pa.table({"x": pa.array(values, pa.float32(), from_pandas=True)})
    return fit_encoder(spec, sketch_table(table, np.zeros(len(values)), spec)), table


def test_the_encoder_of_ten_banks_is_byte_for_byte_the_encoder_of_pooled_rows():
    banks = [bank_table(seed, 300 + 200 * seed) for seed in range(10)]
    summed = Sketch.from_vector(SPEC, sum(sketch_table(*bank, SPEC).vector() for bank in banks))
    pooled_table = pa.concat_tables([table for table, _ in banks])
    pooled = sketch_table(pooled_table, np.concatenate([labels for _, labels in banks]), SPEC)
    federated, direct = fit_encoder(SPEC, summed), fit_encoder(SPEC, pooled)
    assert federated.to_bytes() == direct.to_bytes()
    assert federated.digest == direct.digest
    np.testing.assert_array_equal(federated.transform(pooled_table), direct.transform(pooled_table))


samples = st.lists(
    st.one_of(
        st.floats(np.float32(1e-3) * 2, 1e8, width=32),
        st.integers(1, 12).map(float),
        st.floats(-1e6, np.float32(-1e-3) * 2, width=32),
        st.just(0.0),
    ),
    min_size=1,
    max_size=120,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(samples)
@example([1.0] * 50 + [2.0] * 30 + [900.0])
def test_normal_scores_stay_within_the_stated_error_of_the_exact_distribution(values):
    encoder, table = numeric_encoder(values)
    found = encoder.transform(table)[:, 0].astype(float)
    exact = np.sort(np.asarray(values, dtype=np.float32).astype(float))
    ratio = 10 ** (2 / 48) * (1 + 1e-6)
    for value, score in zip(np.asarray(values, dtype=np.float32).astype(float), found, strict=True):
        low, high = (value / ratio, value * ratio) if value >= 0 else (value * ratio, value / ratio)
        below = np.searchsorted(exact, low, side="left") / len(exact)
        up_to = np.searchsorted(exact, high, side="right") / len(exact)
        assert np.clip(norm.ppf(below), -4, 4) - 0.011 <= score <= np.clip(norm.ppf(up_to), -4, 4) + 0.011


def test_quantile_scores_of_a_heavy_tail_are_close_to_normal():
    values = np.random.default_rng(1).lognormal(6, 2.5, 100_000).astype(np.float32)
    encoder, table = numeric_encoder(values)
    scores = np.sort(encoder.transform(table)[:, 0])
    wanted = norm.ppf((np.arange(len(scores)) + 0.5) / len(scores))
    middle = slice(100, -100)
    assert np.abs(scores[middle] - wanted[middle]).max() < 0.05


def test_many_equal_values_share_the_score_of_their_middle_rank():
    encoder, table = numeric_encoder([0.0] * 60 + [1.0] * 20 + [5.0] * 20)
    scores = encoder.transform(table)[[0, 60, 80], 0]
    np.testing.assert_allclose(scores, norm.ppf([0.30, 0.70, 0.90]), atol=0.04)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(samples, st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=50))
def test_numeric_inputs_never_fall_and_stay_bounded_for_any_value(values, unseen):
    encoder, _ = numeric_encoder(values, scaling="both")
    encoded = encoder.transform(pa.table({"x": pa.array(sorted(unseen), pa.float32())}))
    assert encoder.columns == ("x", "x:scaled")
    assert np.isfinite(encoded).all()
    assert (np.diff(encoded, axis=0) >= 0).all()
    assert (np.abs(encoded) <= [4, 6]).all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(samples, st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=50))
def test_standard_inputs_never_fall_and_stay_bounded_for_any_value(values, unseen):
    encoder, _ = numeric_encoder(values, scaling="standard")
    encoded = encoder.transform(pa.table({"x": pa.array(sorted(unseen), pa.float32())}))
    assert np.isfinite(encoded).all()
    assert (np.diff(encoded, axis=0) >= 0).all()
    assert (np.abs(encoded) <= 6).all()


def test_robust_scaling_agrees_with_median_and_iqr_of_the_rows():
    values = np.random.default_rng(2).lognormal(3, 1, 50_000).astype(np.float32)
    encoder, table = numeric_encoder(values, scaling="robust")
    logs = np.log1p(values)
    low, median, high = np.percentile(logs, [25, 50, 75])
    wanted = np.clip((logs - median) / ((high - low) / 1.349), -6, 6)
    assert np.abs(encoder.transform(table)[:, 0] - wanted).max() < 0.1


def test_standard_scaling_agrees_with_mean_and_deviation_of_the_rows():
    values = np.random.default_rng(2).lognormal(3, 1, 50_000).astype(np.float32)
    values[::5] *= -1
    encoder, table = numeric_encoder(values, scaling="standard")
    logs = np.copysign(np.log1p(np.abs(values)), values)
    wanted = np.clip((logs - logs.mean()) / logs.std(), -6, 6)
    assert np.abs(encoder.transform(table)[:, 0] - wanted).max() < 0.1


@pytest.mark.parametrize("scaling", ["robust", "standard"])
def test_scaling_of_mostly_equal_values_is_finite(scaling):
    encoder, table = numeric_encoder([0.0] * 990 + [3.0] * 10, scaling=scaling)
    encoded = encoder.transform(table)[:, 0]
    assert encoded[0] == pytest.approx(0.0, abs=0.15)
    assert encoded[-1] > 1


def test_missing_values_become_zero_and_get_an_indicator_only_where_some_bank_has_them():
    encoder, table = numeric_encoder([1.0, 2.0, 3.0, None])
    assert encoder.columns == ("x", "x:missing")
    assert encoder.transform(table)[3].tolist() == [0.0, 1.0]
    complete, _ = numeric_encoder([1.0, 2.0, 3.0])
    assert complete.columns == ("x",)
    assert complete.transform(table)[3].tolist() == [0.0]
    empty, nothing = numeric_encoder([None, None])
    assert empty.columns == ("x:missing",)
    assert empty.transform(nothing).tolist() == [[1.0], [1.0]]


def test_rare_categories_are_cut_after_summation_and_share_the_unknown_bucket():
    spec = EncoderSpec(numeric=(), categorical={"c": ("a", "b", "d")}, min_category_count=10)
    banks = [pa.table({"c": ["a"] * 6 + ["b"] * 3 + ["z"]}) for _ in range(2)]
    summed = sum((sketch_table(t, np.zeros(10), spec).vector() for t in banks), np.zeros(sketch_size(spec), np.int64))
    encoder = fit_encoder(spec, Sketch.from_vector(spec, summed))
    assert encoder.columns == ("c=a", "c:unknown")
    encoded = encoder.transform(pa.table({"c": ["a", "b", "z", None]}))
    assert encoded.tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]


def test_missing_categories_get_their_own_column_where_some_bank_has_them():
    spec = EncoderSpec(numeric=(), categorical={"c": ("a",)}, min_category_count=1)
    table = pa.table({"c": ["a", None, "z"]})
    encoder = fit_encoder(spec, sketch_table(table, np.zeros(3), spec))
    assert encoder.columns == ("c=a", "c:unknown", "c:missing")
    assert encoder.transform(table).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_negative_counts_of_a_noisy_sum_are_taken_for_zero():
    table, labels = bank_table(0)
    clean = sketch_table(table, labels, SPEC).vector()
    noisy = np.where(clean == 0, -3, clean)
    assert fit_encoder(SPEC, Sketch.from_vector(SPEC, noisy)) == fit_encoder(SPEC, Sketch.from_vector(SPEC, clean))


def test_rows_are_encoded_alike_in_any_chunking_and_order():
    table, labels = bank_table(5, 70_000)
    encoder = fit_encoder(SPEC, sketch_table(table, labels, SPEC))
    whole = encoder.transform(table)
    assert whole.dtype == np.float32
    assert whole.flags["C_CONTIGUOUS"]
    assert whole.shape == (70_000, encoder.width)
    pieces = [encoder.transform(table.slice(start, 999)) for start in range(0, 70_000, 999)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))
    assert encoder.transform(table.slice(0, 0)).shape == (0, encoder.width)


def test_a_table_without_a_needed_column_is_refused_by_name():
    table, labels = bank_table(0)
    encoder = fit_encoder(SPEC, sketch_table(table, labels, SPEC))
    with pytest.raises(SchemaError, match="column `count` is missing"):
        encoder.transform(table.drop_columns(["count"]))


def fitted():
    return fit_encoder(SPEC, sketch_table(*bank_table(1), SPEC))


def test_an_encoder_survives_its_bytes():
    encoder = fitted()
    again = Encoder.from_bytes(encoder.to_bytes())
    assert again == encoder
    assert again.to_bytes() == encoder.to_bytes()
    table, _ = bank_table(9)
    np.testing.assert_array_equal(again.transform(table), encoder.transform(table))


def altered(change):
    facts = json.loads(fitted().to_bytes())
    change(facts)
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b"\xff\xfe",
        fitted().to_bytes()[:-1],
        fitted().to_bytes() + b"\n",
        json.dumps(json.loads(fitted().to_bytes())).encode(),
        altered(lambda facts: facts.update(version=2)),
        altered(lambda facts: facts.update(extra=1)),
        altered(lambda facts: facts["numeric"][0]["quantile"]["at"].reverse()),
        altered(lambda facts: facts["numeric"][0]["quantile"]["at"].pop()),
        altered(lambda facts: facts["numeric"][0]["quantile"]["score"].__setitem__(0, 5.0)),
        altered(lambda facts: facts["numeric"][0]["quantile"]["score"].reverse()),
        altered(lambda facts: facts["numeric"][0]["quantile"]["at"].__setitem__(0, float("-inf"))),
        altered(lambda facts: facts["numeric"][0]["scaled"].update(scale=0.0)),
        altered(lambda facts: facts["numeric"][0]["scaled"].update(centre=float("nan"))),
        altered(lambda facts: facts["numeric"].append(facts["numeric"][0])),
        altered(lambda facts: facts["categorical"][0].update(values=["EUR", "EUR"])),
    ],
)
def test_anything_but_a_canonical_encoder_is_refused(data):
    with pytest.raises(WireError, match="the encoder"):
        Encoder.from_bytes(data)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_bytes_never_give_another_error_than_a_wire_error(data):
    good = bytearray(fitted_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        encoder = Encoder.from_bytes(bytes(good))
    except WireError:
        return
    assert encoder.to_bytes() == bytes(good)


fitted_bytes = fitted().to_bytes()
