"""Bank Account Fraud (BAF): applications for accounts over eight months (Jesus et al., NeurIPS 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from fraudfl.data.adapters.published import locate, numbers_of, publish, read, row_numbers
from fraudfl.data.dataset import Dataset
from fraudfl.data.schema import Contract
from fraudfl.errors import SourceError

CONTRACT = Contract(
    kind="features",
    time=False,
    account=False,
    numeric=(
        "income",
        "name_email_similarity",
        "prev_address_months_count",
        "current_address_months_count",
        "customer_age",
        "days_since_request",
        "intended_balcon_amount",
        "zip_count_4w",
        "velocity_6h",
        "velocity_24h",
        "velocity_4w",
        "bank_branch_count_8w",
        "date_of_birth_distinct_emails_4w",
        "credit_risk_score",
        "email_is_free",
        "phone_home_valid",
        "phone_mobile_valid",
        "bank_months_count",
        "has_other_cards",
        "proposed_credit_limit",
        "foreign_request",
        "session_length_in_minutes",
        "keep_alive_session",
        "device_distinct_emails_8w",
        "device_fraud_count",
    ),
    categorical=("payment_type", "employment_status", "housing_status", "source", "device_os"),
)
# The set's datasheet: in these a negative number stands for a missing value.
_NEGATIVE_IS_MISSING = (
    "prev_address_months_count",
    "current_address_months_count",
    "intended_balcon_amount",
    "bank_months_count",
    "session_length_in_minutes",
    "device_distinct_emails_8w",
)
_FIRST_TEST_MONTH = 6  # as its authors split it


def load(path: Path) -> Dataset:
    """Reads one of the suite's files (`Base.csv`, or a variant).

    Args:
        path: The file, or a folder that holds just one.

    Returns:
        `features` rows with bookkeeping: split (months 0–5 `train`, 6–7 `test`) and part (`month-0` …). Ids are
        made: they count rows.

    Raises:
        SourceError: when the file cannot be read, or there are several; SchemaError: when a column or a value is wrong.
    """
    files = locate(path, "Base.*", "Variant*.*")
    if len(files) > 1:
        raise SourceError(f"{path}: there are {len(files)} variants of the set; expected one. Name the file itself.")
    raw = read(files, ["fraud_bool", "month", *CONTRACT.columns[2:]], numbers=["month", *CONTRACT.numeric])
    made: dict[str, pa.Array] = {"transaction_id": row_numbers(raw)}
    for name in _NEGATIVE_IS_MISSING:
        values = numbers_of(raw, name)
        made[name] = pa.array(np.where(values < 0, np.nan, values))
    months = numbers_of(raw, "month", missing_allowed=False).astype(int)
    made["split"] = pa.array(np.where(months < _FIRST_TEST_MONTH, "train", "test"))
    made["part"] = pa.array(np.char.add("month-", months.astype(str)))
    return publish("baf", raw, CONTRACT, {"label": "fraud_bool"}, made)
