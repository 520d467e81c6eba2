"""Bytes by bank and round, from sums that events told."""

from __future__ import annotations

from fraudfl.transfer.meter import Traffic
from fraudfl.transfer.rounds import TrafficByRound

EVENTS = [
    (1, {"bytes_up": 30, "bytes_down": 7, "by_bank": {"a": [10, 3], "b": [20, 4]}}),
    (2, {"bytes_up": 35, "bytes_down": 9, "by_bank": {"b": [25, 6]}}),
    (3, {"bytes_up": 46, "bytes_down": 9, "by_bank": {"a": [21, 3]}}),
]


def test_bytes_within_a_round_are_what_the_sums_grew_by() -> None:
    found = TrafficByRound.from_events(EVENTS)
    assert found.moved() == {1: Traffic(30, 7), 2: Traffic(5, 2), 3: Traffic(11, 0)}
    assert found.moved("a") == {1: Traffic(10, 3), 3: Traffic(11, 0)}
    assert found.moved("b") == {1: Traffic(20, 4), 2: Traffic(5, 2)}
    assert found.moved("nobody") == {}


def test_what_came_after_the_last_round_is_the_rest() -> None:
    found = TrafficByRound.from_events(EVENTS)
    assert found.after(Traffic(50, 10)) == Traffic(4, 1)
    assert found.after(Traffic(25, 7), "b") == Traffic(0, 1)
    assert found.after(Traffic(5, 5), "nobody") == Traffic(5, 5)


def test_events_that_tell_nothing_of_banks_are_read_too() -> None:
    found = TrafficByRound.from_events([(1, {"bytes_up": 3, "bytes_down": 4})])
    assert (found.moved(), dict(found.banks)) == ({1: Traffic(3, 4)}, {})
