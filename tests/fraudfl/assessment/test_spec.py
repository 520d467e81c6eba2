"""The blocks of a profile: where they lie, which months they span, and how far one unit moves them."""

from __future__ import annotations

import math
from datetime import date
from itertools import pairwise

import pytest
from pydantic import ValidationError

from fraudfl.assessment.spec import ProfileSpec, profile_spec
from fraudfl.config import SplitConfig
from fraudfl.data.schema import Contract

SPLIT = SplitConfig(origin=date(2024, 11, 20), train_days=(15, 45), test_days=(60, 110))
CONTRACT = Contract(currency=True, label_time=True, numeric=("score",), categorical=("channel",))
LISTS = {"currency": ("EUR", "USD"), "channel": ("web",)}


def test_blocks_lie_one_after_the_other_and_fill_the_vector():
    spec = profile_spec(CONTRACT, SPLIT, LISTS)
    places = list(spec.blocks.values())
    assert (places[0].start, places[-1].stop) == (0, spec.size)
    assert all(before.stop == after.start for before, after in pairwise(places))
    sizes = {name: where.stop - where.start for name, where in spec.blocks.items()}
    assert sizes["category: currency"] == 4  # two listed, others, missing
    assert sizes["category: channel"] == 3
    assert sizes["classes"] == 6  # three parts, two labels
    assert sizes["banks: columns"] == 3  # score, currency, channel


def test_months_span_origin_to_last_test_day_and_mark_those_of_training():
    spec = profile_spec(CONTRACT, SPLIT, LISTS)
    # Day 15 after 20 November is 5 December, day 45 is 4 January; day 110 is 10 March.
    assert spec.months == tuple(date(2024 + (month < 11), month, 1) for month in (11, 12, 1, 2, 3))
    assert spec.training_months == (1, 2)


def test_a_table_without_time_has_no_months():
    contract = Contract(kind="features", transaction_id=False, time=False, account=False, numeric=("v1",))
    spec = profile_spec(contract, SplitConfig(by="given"), {})
    assert set(spec.blocks) == {"value: v1", "classes", "banks: columns", "banks: frauds"}


def test_sensitivity_adds_up_blocks_in_l2():
    exact = profile_spec(CONTRACT, SPLIT, LISTS)
    # amount, score, currency, channel, classes, delay, months; three columns and a month may come or go; a 1 moves.
    assert exact.sensitivity(None) == pytest.approx(math.sqrt(7 + 3 + 1 + 2))
    private = profile_spec(CONTRACT, SPLIT, LISTS, private=True)
    assert private.sensitivity(None) == pytest.approx(math.sqrt(7 + 3 + 1 + 1))
    # An account's five rows in each block, in each window of `classes`, in each column, in a month, as frauds.
    assert private.sensitivity(5) == pytest.approx(5 * math.sqrt((7 + 2) + 3 + 1 + 1))


def test_it_reads_back_from_json_in_the_same_order():
    spec = profile_spec(CONTRACT, SPLIT, {"currency": ("USD", "EUR"), "channel": ()})
    assert ProfileSpec.model_validate_json(spec.model_dump_json()).blocks == spec.blocks


@pytest.mark.parametrize(
    "change",
    [
        {"optional": ("nobody",)},
        {"months": (date(2025, 1, 2),)},
        {"months": (date(2025, 1, 1), date(2025, 3, 1))},
        {"training_months": (4, 9)},
    ],
)
def test_a_specification_that_contradicts_itself_is_refused(change):
    facts = profile_spec(CONTRACT, SPLIT, LISTS).model_dump() | change
    with pytest.raises(ValidationError):
        ProfileSpec.model_validate(facts)
