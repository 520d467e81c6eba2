"""The cap on one bank's share of the weights, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraudfl.config import StrategyConfig
from server.rounds.weight_cap import Heaviest, capped_weights


def capped(weights: list[float], share: float) -> list[float]:
    """By bisection on the height, from the definition alone."""
    low, high = min(weights), max(weights)
    for _ in range(200):
        height = (low + high) / 2
        total = sum(min(weight, height) for weight in weights)
        low, high = (height, high) if height <= share * total else (low, height)
    return [min(weight, low) for weight in weights]


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30), st.sampled_from([0.07, 0.1, 0.25, 0.3, 0.5, 0.9]))
def test_no_bank_has_more_than_its_share_and_no_more_is_taken_than_that_needs(counts: list[int], share: float) -> None:
    weights = sorted(map(float, counts), reverse=True)
    found = capped_weights(weights, 0.0, share)
    assert found == pytest.approx(capped(weights, share), rel=1e-9)
    if len(weights) * share >= 1:
        assert max(found) <= share * sum(found) * (1 + 1e-12)
    else:
        assert found == [weights[-1]] * len(weights)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60), st.sampled_from([0.1, 0.3, 0.5]), st.randoms())
def test_of_many_banks_a_few_are_kept_back_whatever_the_order(counts: list[int], share: float, random) -> None:
    banks = [(f"bank-{number:02d}", float(count)) for number, count in enumerate(counts)]
    random.shuffle(banks)
    heaviest, rest = Heaviest(share), []
    for bank, weight in banks:
        freed = heaviest.push(bank, np.zeros(1, dtype=np.float32), weight)
        rest += [] if freed is None else [freed[1]]
    kept = [weight for _, weight in heaviest.capped(sum(rest))]
    assert len(kept) <= np.ceil(1 / share)
    assert sorted(kept + rest) == pytest.approx(sorted(capped([weight for _, weight in banks], share)), rel=1e-9)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"weighting": "equal", "largest_weight": 0.3}, "caps what `weighting: examples` gives"),
        ({"name": "fedmedian", "largest_weight": 0.3}, "reads no weights"),
        ({"largest_weight": 0.0}, "greater than 0"),
        ({"largest_weight": 1.0}, "less than 1"),
    ],
)
def test_a_cap_that_could_do_nothing_is_refused(facts: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        StrategyConfig.model_validate(facts)
