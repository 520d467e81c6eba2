"""Counting what a coordinator heard, from its events."""

from __future__ import annotations

import json

from fraudfl.report.heard import Heard


def line(event: str, time: float, **facts: object) -> str:
    return json.dumps({"event": event, "time": time, **facts})


def test_replies_rounds_and_absences_are_counted_by_bank() -> None:
    heard = Heard.from_lines(
        [
            line("gathering", 0.0, banks=2),
            line("heard", 1.0, kind="join", round=0, bank="a", of=2),
            line("heard", 2.0, kind="join", round=0, bank="a", of=2),
            line("heard", 3.0, kind="train", round=1, bank="a", of=2),
            line("heard", 4.0, kind="train", round=1, bank="a", of=2),
            line("heard", 5.0, kind="train", round=2, bank="a", of=2),
            line("excluded", 6.0, bank="b", round=1, reason="no answer"),
            line("completed", 60.0, version=1),
        ]
    )
    one, other = heard.banks["a"], heard.banks["b"]
    assert (one.accepted_at, one.rounds, one.missed) == ("1970-01-01T00:00:01+00:00", {1, 2}, 0)
    assert dict(one.replies) == {"join": 2, "train": 3}
    assert (other.accepted_at, other.rounds, other.missed) == ("", set(), 1)
    assert (heard.began, heard.ended) == ("1970-01-01T00:00:00+00:00", "1970-01-01T00:01:00+00:00")


def test_lines_that_are_no_events_are_counted_and_skipped() -> None:
    whole = line("heard", 1.0, kind="join", round=0, bank="a", of=1)
    cut = ['{"event": "hea', "[]", "{}", "17", line("heard", 1e300, kind="join", round=0, bank="b"), ""]
    heard = Heard.from_lines([whole, *cut])
    assert (heard.unread, list(heard.banks)) == (6, ["a"])
    assert Heard.from_lines([]) == Heard()


def test_what_a_bank_said_of_itself_and_when_it_was_heard_last_are_known() -> None:
    heard = Heard.from_lines(
        [
            line("introduced", 1.0, bank="a", software="0.1.0", hours="always (UTC)"),
            line("heard", 1.0, kind="join", round=0, bank="a", of=1),
            line("heard", 90.0, kind="train", round=1, bank="a", of=1),
            line("introduced", 95.0, bank="a", software="0.2.0", hours=""),
        ]
    )
    one = heard.banks["a"]
    assert (one.last_at, one.software, one.hours) == ("1970-01-01T00:01:30+00:00", "0.2.0", "")
