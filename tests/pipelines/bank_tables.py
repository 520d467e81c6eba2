"""Small banks' tables that tests count by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from fraudfl.config import SplitConfig
from fraudfl.data.schema import Contract, validate

SPLIT = SplitConfig(origin=date(2025, 1, 1), train_days=(0, 58), test_days=(66, 89), validation_days=7)
CONTRACT = Contract(currency=True, label_time=True, numeric=("score",), categorical=("channel",))
LISTS = {"currency": ("EUR", "USD"), "channel": ("web", "shop")}


def bank_table(rows: int = 400, seed: int = 1, **columns: Any) -> pa.Table:
    """A bank's transactions over 90 days from 1 January 2025, a tenth of them fraud; given columns take the place."""
    draw = np.random.default_rng(seed)
    days = np.sort(draw.uniform(0, 90, rows))
    delays = draw.uniform(0, 5, rows)
    times = [datetime(2025, 1, 1) + timedelta(days=float(day)) for day in days]
    found: dict[str, Any] = {
        "transaction_id": [f"t{number}" for number in range(rows)],
        "time": times,
        "account": draw.integers(0, max(1, rows // 20), rows),
        "counterparty": draw.integers(0, 9, rows),
        "amount": draw.lognormal(3, 1, rows),
        "currency": draw.choice(["EUR", "USD", "CHF"], rows, p=[0.7, 0.2, 0.1]),
        "label": (np.arange(rows) % 10 == 0).astype(np.int8),
        "label_time": [time + timedelta(days=float(delay)) for time, delay in zip(times, delays, strict=True)],
        "score": np.where(draw.random(rows) < 0.25, np.nan, draw.normal(size=rows)),
        "channel": draw.choice(["web", "shop", None], rows),
    }
    if "time" in columns and "label_time" not in columns:
        found["label_time"] = columns["time"]
    return validate(pa.table(found | columns), CONTRACT, where="a test")
