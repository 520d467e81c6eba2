"""The contribution bound: the last rows of each account, whoever else is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.privacy.contribution import within_bound

ACCOUNTS = st.lists(st.integers(-3, 6), max_size=80)


@given(ACCOUNTS, st.integers(1, 9))
def test_the_last_rows_of_each_account_are_kept_and_no_more_than_the_bound(accounts: list[int], most: int) -> None:
    kept = within_bound(np.array(accounts, dtype=np.int64), most)
    expected = [accounts[place + 1 :].count(account) < most for place, account in enumerate(accounts)]
    assert kept.dtype == np.bool_
    assert kept.tolist() == expected


@given(ACCOUNTS, st.integers(1, 9), st.integers(0, 80), st.integers(0, 40))
def test_an_account_that_joins_changes_nothing_of_what_others_contribute(
    accounts: list[int], most: int, place: int, rows: int
) -> None:
    place = min(place, len(accounts))
    without = within_bound(np.array(accounts, dtype=np.int64), most)
    having = within_bound(np.array(accounts[:place] + [99] * rows + accounts[place:], dtype=np.int64), most)
    assert np.delete(having, slice(place, place + rows)).tolist() == without.tolist()
    assert having[place : place + rows].sum() == min(rows, most)


@pytest.mark.parametrize("most", [1, 5])
def test_no_rows_are_no_error(most: int) -> None:
    assert within_bound(np.zeros(0, dtype=np.int64), most).shape == (0,)
