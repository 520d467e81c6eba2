"""The byte meter: what was counted, grouped as reports need it, and kept in checkpoints."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.errors import CheckpointError
from fraudfl.transfer.meter import ByteMeter, Traffic

messages = st.lists(
    st.tuples(
        st.sampled_from(["north", "south"]),
        st.sampled_from(["up", "down"]),
        st.sampled_from(["train", "evaluate"]),
        st.integers(0, 10**12),
    )
)


def metered(entries):
    meter = ByteMeter()
    for entry in entries:
        meter.add(*entry)
    return meter


@given(messages)
def test_totals_are_the_sums_of_what_was_added(entries):
    meter = metered(entries)
    assert meter.bytes_up == sum(size for *_, direction, _, size in entries if direction == "up")
    assert meter.bytes_down == sum(size for *_, direction, _, size in entries if direction == "down")
    for grouped in (meter.by_bank(), meter.by_kind()):
        assert sum(traffic.total for traffic in grouped.values()) == meter.total().total
    assert sum(row["messages"] for row in meter.to_rows()) == len(entries)


def test_traffic_is_told_apart_by_bank_and_kind():
    meter = metered([("north", "up", "train", 5), ("north", "up", "train", 7), ("south", "down", "evaluate", 3)])
    assert meter.by_bank() == {"north": Traffic(12, 0), "south": Traffic(0, 3)}
    assert meter.by_kind() == {"evaluate": Traffic(0, 3), "train": Traffic(12, 0)}
    assert len(meter.to_rows()) == 2


@given(messages, messages)
def test_a_meter_kept_as_json_goes_on_where_it_was(before, after):
    kept = json.loads(json.dumps(metered(before).to_rows()))
    meter = ByteMeter.from_rows(kept)
    for entry in after:
        meter.add(*entry)
    assert meter.to_rows() == metered(before + after).to_rows()


ROW = {"bank": "north", "direction": "up", "kind": "train", "messages": 1, "bytes": 5}


@pytest.mark.parametrize(
    "rows",
    [
        [{}],
        [ROW | {"bytes": -1}],
        [ROW | {"bytes": "5"}],
        [ROW | {"direction": "out"}],
        [ROW | {"extra": 1}],
        [ROW, ROW],
    ],
)
def test_rows_that_are_not_a_meters_are_refused(rows):
    with pytest.raises(CheckpointError, match="byte meter, row"):
        ByteMeter.from_rows(rows)


@pytest.mark.parametrize(("direction", "size"), [("up", -1), ("sideways", 1)])
def test_what_cannot_have_been_sent_is_not_counted(direction, size):
    with pytest.raises(ValueError, match="cannot count"):
        ByteMeter().add("north", direction, "train", size)
