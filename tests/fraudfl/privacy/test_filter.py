"""The filter across plans: against dp-accounting and the Gaussian's closed form, and how much it computes."""

from __future__ import annotations

import math
import sys
import time

import dp_accounting
import pytest
from dp_accounting import rdp

from fraudfl.errors import PrivacyError
from fraudfl.privacy import filter as filter_room
from fraudfl.privacy.accounting import Spent, epsilon
from fraudfl.privacy.filter import RdpFilter, quick_epsilon
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum

ROUND = DpSgd(sampling_rate=0.05, noise_multiplier=1.5, clip_norm=1.0, steps=1, expected_batch=500.0)
SKETCH = GaussianSum(noise_multiplier=20.0, sensitivity=3.0)


@pytest.mark.parametrize(("cap", "delta"), [(1.0, 1e-6), (3.0, 1e-7), (8.0, 1e-6), (40.0, 1e-5)])
def test_the_filters_epsilon_is_dp_accountings_at_the_one_order(cap: float, delta: float) -> None:
    one = RdpFilter(cap, delta)
    accountant = rdp.RdpAccountant(orders=[one.order])
    accountant.compose(dp_accounting.PoissonSampledDpEvent(0.05, dp_accounting.GaussianDpEvent(1.5)), 700)
    accountant.compose(dp_accounting.GaussianDpEvent(20.0), 3)
    ours = one.epsilon(Spent().add(ROUND, 700).add(SKETCH, 3))
    assert ours == pytest.approx(accountant.get_epsilon(delta), abs=1e-9)


def test_the_order_is_nearly_the_best_there_is_for_a_gaussian_that_meets_the_cap() -> None:
    """Closed form: divergence α/(2σ²); a fine search over α finds no Gaussian that may be much larger."""
    for cap, delta in ((0.1, 1e-6), (1.0, 1e-6), (3.0, 1e-7), (20.0, 1e-6)):

        def room(order: float, cap: float = cap, delta: float = delta) -> float:
            return (cap + math.log(delta * order) / (order - 1) - math.log1p(-1 / order)) / order

        best = max(room(1 + 10 ** (power / 400)) for power in range(-400, 1600))
        assert room(RdpFilter(cap, delta).order) >= 0.99 * best


def test_the_order_does_not_depend_on_what_was_spent() -> None:
    assert RdpFilter(3.0, 1e-7).order == RdpFilter(3.0, 1e-7).order
    assert RdpFilter(3.0, 1e-7).order != RdpFilter(1.0, 1e-7).order


def test_the_filter_lets_through_until_the_cap_and_nothing_after_it() -> None:
    one = RdpFilter(2.0, 1e-6)
    most = max(count for count in range(1, 2000) if one.allows(Spent().add(ROUND, count)))
    assert one.epsilon(Spent().add(ROUND, most)) <= 2.0 < one.epsilon(Spent().add(ROUND, most + 1))
    assert not one.allows(Spent().add(ROUND, most).add(SKETCH))


def test_the_filter_is_never_below_the_exact_composition_of_a_fixed_plan() -> None:
    spent = Spent().add(ROUND, 400).add(SKETCH, 2)
    exact = epsilon([ROUND] * 400 + [SKETCH] * 2, 1e-6)
    quick = quick_epsilon(spent.grouped(), 1e-6)
    assert exact <= quick <= 1.2 * exact
    assert quick <= RdpFilter(exact, 1e-6).epsilon(spent) + 1e-9


def test_nothing_spent_costs_nothing_and_a_cap_of_zero_lets_nothing_through() -> None:
    assert RdpFilter(0.0, 1e-6).epsilon(Spent()) == 0
    assert RdpFilter(0.0, 1e-6).allows(Spent())
    assert not RdpFilter(0.0, 1e-6).allows(Spent().add(SKETCH))
    assert quick_epsilon((), 1e-6) == 0


def test_units_are_never_mixed() -> None:
    account = GaussianSum(noise_multiplier=20.0, sensitivity=3.0, unit="account")
    with pytest.raises(PrivacyError, match="account for each unit by itself"):
        RdpFilter(1.0, 1e-6).epsilon(Spent().add(SKETCH).add(account))


def test_ten_thousand_charges_are_computed_once_per_distinct_mechanism(capsys: pytest.CaptureFixture[str]) -> None:
    filter_room._divergences.cache_clear()
    spent = Spent.of([ROUND] * 9000 + [SKETCH] * 1000)
    one = RdpFilter(8.0, 1e-6)
    one.allows(spent)
    assert filter_room._divergences.cache_info().misses == 2
    started = time.perf_counter()
    for _ in range(100):
        one.allows(spent)
    assert filter_room._divergences.cache_info().misses == 2
    with capsys.disabled():
        sys.stdout.write(f"\na filter's check of 10,000 charges: {(time.perf_counter() - started) * 10:.3f} ms\n")
