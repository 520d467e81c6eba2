"""Raw sizes as pandas and Parquet would write them, and the savings stated from them."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fraudfl.errors import DataError
from fraudfl.transfer.meter import ByteMeter
from fraudfl.transfer.savings import RawSizes, over_banks, raw_sizes, saving, summarise


def window(rows):
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.integers(0, 10**7, rows))
    return pa.table(
        {
            "transaction_id": np.arange(rows),
            "time": pa.array(np.datetime64("2025-01-01", "us") + seconds.astype("timedelta64[s]"), pa.timestamp("us")),
            "account": rng.integers(0, 5000, rows),
            "counterparty": rng.integers(0, 9000, rows),
            "amount": rng.integers(1, 20_000, rows) / 100,
            "currency": pa.array(rng.choice(["EUR", "US,D", None], rows), pa.string()),
            "label": rng.integers(0, 2, rows).astype(np.int8),
        }
    )


@pytest.mark.parametrize("rows", [0, 5, 250_001])
def test_csv_size_is_what_pandas_writes_by_default(rows):
    table = window(rows)
    assert raw_sizes(table).csv_bytes == len(table.to_pandas().to_csv(index=False).encode())


def test_parquet_size_is_that_of_a_zstd_file():
    table = window(5000)
    file = io.BytesIO()
    table.to_pandas().to_parquet(file, compression="zstd", index=False)
    assert raw_sizes(table).parquet_bytes == pytest.approx(len(file.getvalue()), rel=0.1)
    assert pd.read_parquet(file).shape == (5000, 7)


def test_savings_count_both_ways_and_name_the_worst_bank():
    meter = ByteMeter()
    meter.add("large", "up", "train", 100)
    meter.add("large", "down", "train", 100)
    meter.add("small", "up", "evaluate", 50)
    summary = summarise(meter, {"large": RawSizes(9000, 4000), "small": RawSizes(1000, 1000)})
    assert (summary.bytes_up, summary.bytes_down) == (150, 100)
    assert (summary.raw_csv_bytes, summary.raw_parquet_bytes) == (10_000, 5000)
    assert summary.savings_vs_csv == pytest.approx(0.975)
    assert summary.savings_vs_parquet == pytest.approx(0.95)
    assert summary.worst_bank_savings_vs_csv == pytest.approx(0.95)


def test_savings_over_banks_are_quantiles_of_each_banks_own_and_count_silent_banks():
    meter = ByteMeter()
    for number in range(40):
        meter.add(f"bank-{number}", "up", "train", 10 * number)
    raw = {f"bank-{number}": RawSizes(1000, 500) for number in range(41)}
    own = [1 - 10 * number / 1000 for number in range(40)] + [1.0]
    found = over_banks(meter, raw)
    assert (found.banks, found.worst) == (41, pytest.approx(min(own)))
    assert found.low == pytest.approx(np.percentile(own, 2.5))
    assert found.median == pytest.approx(np.percentile(own, 50))
    assert found.high == pytest.approx(np.percentile(own, 97.5))


def test_sending_more_than_the_data_is_a_negative_saving():
    assert saving(300, 100) == pytest.approx(-2)


def test_savings_against_nothing_are_refused():
    with pytest.raises(DataError, match="raw data has 0 bytes"):
        summarise(ByteMeter(), {})
