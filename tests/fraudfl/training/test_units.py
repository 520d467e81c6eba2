"""Poisson draws over rows and accounts: who is drawn, which rows take part, and that only chance decides."""

from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fraudfl.errors import TrainingError
from fraudfl.privacy.noise import NoiseSource
from fraudfl.training.batches import LocalData
from fraudfl.training.units import Accounts, Transactions, in_chunks, units_of

account_numbers = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5), max_size=60)


def make_data(accounts):
    rows = len(accounts)
    return LocalData(np.zeros((rows, 2), np.float32), np.zeros(rows, np.float32), np.array(accounts, np.int64))


@settings(max_examples=100, deadline=None)
@given(account_numbers, st.integers(1, 9), st.sampled_from([0.3, 1.0]))
def test_a_drawn_account_takes_part_with_up_to_k_different_rows_of_its_own(numbers, most, rate):
    owned = defaultdict(set)
    for row, number in enumerate(numbers):
        owned[number].add(row)
    picks = Accounts(np.array(numbers, dtype=np.int64), most).draw(NoiseSource.for_tests(1), rate)
    drawn = []
    for line in picks:
        rows = line[line >= 0]
        number = numbers[rows[0]]
        drawn.append(number)
        assert set(rows) <= owned[number]
        assert len(set(rows)) == len(rows) == min(most, len(owned[number]))
        assert (line[len(rows) :] == -1).all()
    assert len(set(drawn)) == len(drawn) <= len(owned)
    if rate == 1:
        assert set(drawn) == set(owned)


@settings(max_examples=50, deadline=None)
@given(account_numbers, st.integers(1, 9), st.integers(1, 20))
def test_chunks_hold_every_picked_row_once_and_few_empty_places(numbers, most, size):
    picks = Accounts(np.array(numbers, dtype=np.int64), most).draw(NoiseSource.for_tests(1), 1.0)
    chunks = list(in_chunks(picks, size))
    seen = np.concatenate([chunk[chunk >= 0] for chunk in chunks]) if chunks else np.zeros(0)
    np.testing.assert_array_equal(np.sort(seen), np.sort(picks[picks >= 0]))
    assert all(chunk.size <= max(size, most) and (chunk[0] >= 0).all() for chunk in chunks)


def test_chunks_of_single_rows_hold_every_row_once_in_order():
    assert [chunk.tolist() for chunk in in_chunks(np.arange(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("rate", [0.02, 0.4])
def test_accounts_are_drawn_with_the_asked_probability_whatever_their_size(rate):
    accounts = np.repeat(np.arange(400), np.arange(400) % 7 + 1)
    units, noise, draws = Accounts(accounts, 2), NoiseSource.for_tests(2), 200
    times = Counter(int(accounts[row]) for _ in range(draws) for row in units.draw(noise, rate)[:, 0])
    for size in range(7):
        group = [times[account] for account in range(400) if account % 7 == size]
        assert stats.binomtest(sum(group), draws * len(group), rate).pvalue > 1e-4


@pytest.mark.parametrize("crowd", [0, 1, 30])
def test_each_set_of_k_rows_is_as_likely_as_any_other_whoever_else_is_there(crowd):
    """Of an account with five rows, two are chosen, beside a crowd of accounts that are larger or smaller."""
    accounts = np.concatenate([np.zeros(5), np.repeat(np.arange(1, crowd + 1), np.arange(1, crowd + 1))])
    units, noise = Accounts(accounts.astype(np.int64), 2), NoiseSource.for_tests(3)
    sets = Counter()
    for _ in range(3000):
        picks = units.draw(noise, 1.0)
        (mine,) = picks[picks[:, 0] < 5]
        sets[tuple(sorted(mine))] += 1
    assert set(sets) == set(combinations(range(5), 2))
    assert stats.chisquare(list(sets.values())).pvalue > 1e-4


def test_the_rows_of_an_account_are_chosen_anew_in_each_step():
    units, noise = Accounts(np.zeros(1000, dtype=np.int64), 5), NoiseSource.for_tests(4)
    assert len({tuple(units.draw(noise, 1.0)[0]) for _ in range(20)}) == 20


def test_with_transactions_as_unit_the_draw_is_over_rows():
    picks = Transactions(1000).draw(NoiseSource.for_tests(5), 0.3)
    np.testing.assert_array_equal(picks, NoiseSource.for_tests(5).poisson_draw(1000, 0.3))


@pytest.mark.parametrize("unit", ["transaction", "account"])
def test_a_bank_without_rows_draws_nobody(unit):
    assert len(units_of(make_data([]), unit, 3).draw(NoiseSource(), 1.0)) == 0


def test_the_unit_decides_whether_accounts_are_looked_at():
    data = make_data([7, 7, 8])
    assert units_of(data, "transaction", 2).draw(NoiseSource(), 1.0).tolist() == [0, 1, 2]
    assert np.sort(units_of(data, "account", 2).draw(NoiseSource(), 1.0)).tolist() == [[0, 1], [-1, 2]]


def test_a_bound_below_one_row_is_refused():
    with pytest.raises(TrainingError, match="account_rows is 0"):
        Accounts(np.zeros(3, dtype=np.int64), 0)


@pytest.mark.parametrize("accounts", [np.zeros(2, np.int64), np.zeros(3, np.int32), np.zeros((3, 1), np.int64)])
def test_accounts_that_do_not_belong_to_the_rows_are_refused(accounts):
    with pytest.raises(TrainingError, match=r"expected int64 of shape \(3,\)"):
        LocalData(np.zeros((3, 2), np.float32), np.zeros(3, np.float32), accounts)
