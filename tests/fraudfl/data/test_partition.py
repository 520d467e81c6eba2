"""Dividing one data set into banks: who gets which rows, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.config import PartitionConfig
from fraudfl.data.partition import assign_banks, bank_ids
from fraudfl.errors import ConfigError, SchemaError


def transactions(accounts: int = 2000, rows: int = 20_000, text: bool = False) -> pa.Table:
    rng = np.random.default_rng(5)
    account = rng.integers(0, accounts, rows)
    ids = pa.array([f"A{number}" for number in account]) if text else account
    return pa.table({"account": ids, "label": (account % 20 == 0).astype(np.int8)})


def sizes(banks: np.ndarray) -> dict[str, int]:
    names, counts = np.unique(banks.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def banks_per_account(table: pa.Table, banks: np.ndarray) -> list[int]:
    homes: dict[object, set[str]] = {}
    for account, bank in zip(table["account"].to_pylist(), banks, strict=True):
        homes.setdefault(account, set()).add(bank)
    return [len(home) for home in homes.values()]


def test_ids_have_the_width_of_their_count_and_at_least_two_digits():
    assert bank_ids(3) == ("bank-01", "bank-02", "bank-03")
    assert bank_ids(99)[-1] == "bank-99"
    assert bank_ids(100)[0] == "bank-001"
    assert bank_ids(1000)[-1] == "bank-1000"


def test_natural_banks_keep_a_slug_of_their_name():
    table = pa.table({"bank": ["Site A", "Nord/Süd", "Site A", "7"]})
    assert assign_banks(table, PartitionConfig(), 0).tolist() == ["site-a", "nord-s-d", "site-a", "7"]


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_a_slug_is_a_valid_name_or_is_refused(name):
    try:
        (slug,) = assign_banks(pa.table({"bank": [name]}), PartitionConfig(), 0)
    except SchemaError:
        assert not any(character in "abcdefghijklmnopqrstuvwxyz0123456789" for character in name.lower())
    else:
        assert 1 <= len(slug) <= 63
        assert slug.strip("-") == slug
        assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_two_names_with_one_slug_are_refused():
    with pytest.raises(SchemaError, match="'North 1' and 'north-1', and both would be bank 'north-1'"):
        assign_banks(pa.table({"bank": ["North 1", "north-1"]}), PartitionConfig(), 0)


@pytest.mark.parametrize(("by", "column"), [("natural", "bank"), ("region", "region"), ("account-hash", "account")])
def test_a_missing_column_is_named_with_what_to_do(by, column):
    count = None if by == "natural" else 2
    with pytest.raises(SchemaError, match=f"needs column '{column}'.*choose another"):
        assign_banks(pa.table({"amount": [1.0]}), PartitionConfig(by=by, count=count), 0)


def test_an_empty_value_is_named_by_row():
    with pytest.raises(SchemaError, match="column 'bank' is empty in row 2"):
        assign_banks(pa.table({"bank": ["a", None]}), PartitionConfig(), 0)


def test_regions_go_to_the_emptiest_bank_largest_first():
    # 5 | 4 to the two banks, 3 to the one with 4, 3 to the one with 5: 8 and 7.
    table = pa.table({"region": ["n"] * 5 + ["s"] * 4 + ["e"] * 3 + ["w"] * 3})
    banks = assign_banks(table, PartitionConfig(by="region", count=2), 0)
    by_region = dict(zip(table["region"].to_pylist(), banks, strict=True))
    assert by_region == {"n": "bank-01", "w": "bank-01", "s": "bank-02", "e": "bank-02"}


def test_fewer_regions_than_banks_are_refused():
    with pytest.raises(ConfigError, match="count is 3, and the data set has 2 regions"):
        assign_banks(pa.table({"region": ["n", "s"]}), PartitionConfig(by="region", count=3), 0)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("by", ["account-hash", "dirichlet"])
def test_an_account_is_at_exactly_one_bank_whatever_the_order_of_rows(by, text):
    table = transactions(text=text)
    config = PartitionConfig(by=by, count=10)
    banks = assign_banks(table, config, 3)
    assert set(banks_per_account(table, banks)) == {1}
    order = np.random.default_rng(0).permutation(table.num_rows)
    assert np.array_equal(assign_banks(table.take(order), config, 3), banks[order])


@pytest.mark.parametrize("by", ["account-hash", "dirichlet"])
def test_the_seed_decides_and_nothing_else(by):
    table, config = transactions(), PartitionConfig(by=by, count=5)
    assert np.array_equal(assign_banks(table, config, 3), assign_banks(table, config, 3))
    assert not np.array_equal(assign_banks(table, config, 3), assign_banks(table, config, 4))


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_account_hash_shares_follow_the_skew(skew):
    table = transactions(accounts=20_000, rows=40_000)
    counts = sizes(assign_banks(table, PartitionConfig(by="account-hash", count=5, skew=skew), 1))
    expected = np.array([1 / rank**skew for rank in range(1, 6)])
    assert np.allclose(np.array(list(counts.values())) / 40_000, expected / expected.sum(), atol=0.02)


def test_explicit_shares_are_kept():
    table = transactions(accounts=20_000, rows=40_000)
    counts = sizes(assign_banks(table, PartitionConfig(by="account-hash", shares=(0.6, 0.3, 0.1)), 1))
    assert np.allclose(np.array(list(counts.values())) / 40_000, [0.6, 0.3, 0.1], atol=0.02)


def test_more_banks_than_accounts_are_refused():
    with pytest.raises(ConfigError, match="got no account"):
        assign_banks(transactions(accounts=3, rows=50), PartitionConfig(by="account-hash", count=10), 1)
    with pytest.raises(ConfigError, match="has 3 accounts"):
        assign_banks(transactions(accounts=3, rows=50), PartitionConfig(by="dirichlet", count=10), 1)


def spread(alpha: float) -> tuple[float, float]:
    """Coefficient of variation of banks' sizes and of their fraud rates."""
    table = transactions(accounts=20_000, rows=60_000)
    banks = assign_banks(table, PartitionConfig(by="dirichlet", count=8, alpha=alpha), 2).astype(str)
    label = table["label"].to_numpy()
    rates = [label[banks == bank].mean() for bank in np.unique(banks)]
    counts = list(sizes(banks).values())
    return float(np.std(counts) / np.mean(counts)), float(np.std(rates) / np.mean(rates))


def test_a_smaller_alpha_makes_sizes_and_fraud_mix_more_unequal():
    even, uneven = spread(1000.0), spread(0.3)
    assert max(even) < 0.15
    assert min(uneven) > 0.5


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_dirichlet_leaves_no_bank_empty_and_ranks_them_by_size(alpha):
    counts = sizes(assign_banks(transactions(), PartitionConfig(by="dirichlet", count=30, alpha=alpha), 9))
    assert list(counts) == list(bank_ids(30))
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
