"""The consortium generator: size, determinism, unequal banks, and the shape of each kind of fraud."""

import hashlib
import subprocess
import sys
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudfl.config import GeneratorConfig
from fraudfl.data import simulate
from fraudfl.data.schema import validate

CONFIG = GeneratorConfig()
SMALL = GeneratorConfig(transactions=5_000, banks=3, days=30)

DIGEST_IN_A_NEW_PROCESS = """
import hashlib, pyarrow as pa
from fraudfl.config import GeneratorConfig
from fraudfl.data import simulate
table = simulate.generate(GeneratorConfig(transactions=5_000, banks=3, days=30), 11)
sink = pa.BufferOutputStream()
with pa.ipc.new_stream(sink, table.schema) as writer:
    writer.write_table(table)
print(hashlib.sha256(sink.getvalue()).hexdigest())
"""


def ipc_digest(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    table, kinds = simulate.generate_with_kinds(CONFIG, 7)
    return table.to_pandas().assign(kind=kinds)


def test_the_same_seed_gives_the_same_parquet_bytes(tmp_path):
    for name in ("first", "second"):
        pq.write_table(simulate.generate(SMALL, 11), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_another_process_generates_the_same_bytes():
    done = subprocess.run(
        [sys.executable, "-c", DIGEST_IN_A_NEW_PROCESS], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ipc_digest(simulate.generate(SMALL, 11))


def test_another_seed_gives_another_consortium():
    assert ipc_digest(simulate.generate(SMALL, 11)) != ipc_digest(simulate.generate(SMALL, 12))


def test_knowing_the_kinds_does_not_change_the_table():
    table, kinds = simulate.generate_with_kinds(SMALL, 11)
    assert table.equals(simulate.generate(SMALL, 11))
    assert np.array_equal(table["label"].to_numpy() == 1, kinds != simulate.GOOD)


def test_the_table_already_keeps_its_contract():
    table = simulate.generate(SMALL, 11)
    assert table.column_names == [*simulate.GENERATED_CONTRACT.columns, "bank"]
    assert validate(table, simulate.GENERATED_CONTRACT, where="generated").equals(table)


@settings(max_examples=25, deadline=None)
@given(
    transactions=st.integers(1000, 4000),
    banks=st.integers(1, 120),
    days=st.integers(10, 400),
    fraud_rate=st.floats(1e-4, 0.49),
    merchants=st.none() | st.integers(10, 200),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_consortium_has_the_rows_the_days_and_the_fraud_rate_that_were_asked_for(
    transactions, banks, days, fraud_rate, merchants, seed
):
    config = GeneratorConfig(
        transactions=transactions, banks=banks, days=days, fraud_rate=fraud_rate, merchants=merchants
    )
    frame = simulate.generate(config, seed).to_pandas()
    assert len(frame) == transactions
    assert frame.label.sum() == max(1, round(fraud_rate * transactions))
    start = pd.Timestamp(config.start)
    assert frame.time.min() >= start
    assert frame.time.max() < start + pd.Timedelta(days=days)
    assert frame.time.is_monotonic_increasing
    assert np.isfinite(frame.amount).all()
    assert (frame.amount > 0).all()


def test_bank_sizes_follow_the_skew(frame):
    sizes = frame.bank.value_counts()
    expected = np.arange(1, 11) ** -0.8
    expected = expected / expected.sum()
    observed = sizes.sort_index().to_numpy() / len(frame)
    assert list(sizes.sort_index().index) == [f"bank-{rank:02d}" for rank in range(1, 11)]
    assert np.allclose(observed, expected, atol=0.02)


def test_no_skew_makes_banks_of_about_equal_size():
    config = GeneratorConfig(transactions=20_000, size_skew=0)
    sizes = simulate.generate(config, 7).to_pandas().bank.value_counts()
    assert sizes.max() < 1.25 * sizes.min()


def test_an_account_is_at_one_bank_and_most_merchants_serve_many(frame):
    assert (frame.groupby("account").bank.nunique() == 1).all()
    busy = frame[frame.merchant_category != "transfer"].groupby("counterparty").bank.agg(["nunique", "size"])
    assert busy[busy["size"] >= 100]["nunique"].median() >= 5


def test_banks_differ_in_spending_currency_hours_and_fraud(frame):
    good = frame[frame.label == 0]
    median = good[good.currency == "EUR"].groupby("bank").amount.median()
    assert median.max() > 1.15 * median.min()
    assert good.groupby("bank").currency.agg(lambda column: column.mode()[0]).nunique() >= 3
    hours = good.groupby("bank").time.agg(lambda column: column.dt.hour.mean())
    assert hours.max() - hours.min() > 0.5
    shares = pd.crosstab(frame.bank, frame.kind, normalize="index")
    assert (shares.max() > 3 * shares.min())[1:].all()


def test_payments_follow_the_clock_and_the_week(frame):
    hour = frame.time.dt.hour
    assert ((hour >= 10) & (hour < 20)).mean() > 4 * (hour < 5).mean()
    weekday = frame.time.dt.day_of_week.value_counts()
    assert weekday[5] > 1.2 * weekday[0]


def test_channels_belong_to_categories(frame):
    assert set(frame.channel) == {"pos", "online", "atm", "transfer"}
    assert set(frame[frame.merchant_category == "cash"].channel) == {"atm"}
    assert set(frame[frame.merchant_category == "transfer"].channel) == {"transfer"}
    assert set(frame[frame.merchant_category == "gaming"].channel) == {"online"}


def test_every_kind_of_fraud_happens_at_several_banks(frame):
    banks = frame[frame.kind > 0].groupby("kind").bank.nunique()
    assert list(banks.index) == [1, 2, 3, 4]
    assert (banks >= 5).all()


def test_a_compromised_merchant_hits_many_banks_for_weeks_with_ordinary_amounts(frame):
    fraud = frame[frame.kind == simulate.COMPROMISED_MERCHANT]
    per_merchant = fraud.groupby("counterparty").agg(banks=("bank", "nunique"), rows=("label", "size"))
    assert per_merchant[per_merchant.rows >= 8].banks.median() >= 3
    span = fraud.groupby("counterparty").time.agg(lambda column: column.max() - column.min())
    assert span.max() <= pd.Timedelta(days=45)
    good = frame[(frame.label == 0) & frame.counterparty.isin(fraud.counterparty)]
    assert 0.6 < fraud.amount.median() / good.amount.median() < 1.6
    # Mostly fraud within the window: the late label of one row says something about the next.
    bounds = fraud.groupby("counterparty").time.agg(["min", "max"])
    here = frame[frame.counterparty.isin(bounds.index)].join(bounds, on="counterparty")
    assert here[(here.time >= here["min"]) & (here.time <= here["max"])].label.mean() > 0.4


def test_a_mule_account_collects_from_victims_of_several_banks(frame):
    fraud = frame[frame.kind == simulate.MULE_ACCOUNT]
    assert set(fraud.channel) == {"transfer"}
    per_mule = fraud.groupby("counterparty").agg(banks=("bank", "nunique"), victims=("account", "nunique"))
    assert (per_mule.victims >= 5).mean() > 0.8
    assert per_mule.banks.max() >= 3


def test_card_testing_is_a_burst_of_small_online_payments_and_then_a_large_one(frame):
    fraud = frame[(frame.kind == simulate.CARD_TESTING) & (frame.currency == "EUR")]
    assert set(fraud.channel) == {"online"}
    assert fraud.amount.median() < 6
    assert fraud.amount.quantile(0.95) > 50
    gap = frame[frame.kind == simulate.CARD_TESTING].groupby("account").time.diff().dropna()
    assert (gap < pd.Timedelta(minutes=4)).mean() > 0.6


def test_account_takeover_breaks_the_customers_habits(frame):
    fraud = frame[frame.kind == simulate.ACCOUNT_TAKEOVER]
    good = frame[frame.label == 0]
    assert (fraud.time.dt.hour < 7).mean() > 0.4 > 3 * (good.time.dt.hour < 7).mean()
    home = good.groupby("account").currency.agg(lambda column: column.mode()[0])
    known = fraud[fraud.account.isin(home.index)]
    assert (known.currency != known.account.map(home)).mean() > 0.2
    pairs = set(zip(good.account, good.counterparty, strict=True))
    new = [pair not in pairs for pair in zip(fraud.account, fraud.counterparty, strict=True)]
    assert np.mean(new) > 0.8


def test_no_amount_alone_tells_fraud_from_good(frame):
    euro = frame[frame.currency == "EUR"]
    low, high = euro[euro.label == 0].amount.quantile([0.01, 0.99])
    assert euro[euro.label == 1].amount.between(low, high).mean() > 0.85


def test_frauds_are_reported_within_thirty_days_and_good_is_settled_after_seven(frame):
    delay = (frame.label_time - frame.time) / pd.Timedelta(days=1)
    assert (delay[frame.label == 0] == 7).all()
    fraud = delay[frame.label == 1]
    assert 4 < fraud.median() < 6
    assert fraud.max() <= 30
    assert fraud.min() > 0


def test_ids_tell_nothing_about_bank_or_fraud(frame):
    ranks = frame.drop_duplicates("account")
    assert abs(ranks.account.corr(ranks.bank.str[5:].astype(int), method="spearman")) < 0.1
    assert abs(frame.transaction_id.corr(frame.label)) < 0.05


def test_a_leap_year_and_a_long_history_work():
    config = GeneratorConfig(transactions=2000, days=800, start=date(2023, 12, 1))
    times = simulate.generate(config, 3).to_pandas().time
    assert (times.dt.strftime("%m-%d") == "02-29").any()
