"""The schedule: windows on the bank's own clock, against a minute-by-minute reading of that clock."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bank_nodes.rules.policy import Hours, Policy
from bank_nodes.rules.schedule import closed, is_open, opens_at, parse_window

BERLIN = ZoneInfo("Europe/Berlin")
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
NIGHTS = ("mon-fri 22:00-06:00",)


def hours(*windows: str, zone: str = "Europe/Berlin") -> Hours:
    return Hours(zone=zone, windows=windows)


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


def shown_as_open(windows: list[tuple[set[str], str, str]], shown: datetime) -> bool:
    """The oracle: read day and clock face off a wall clock, and compare as text."""
    face, day, yesterday = f"{shown:%H:%M}", DAYS[shown.weekday()], DAYS[shown.weekday() - 1]
    for days, start, end in windows:
        if start < end and day in days and start <= face < end:
            return True
        if start > end and ((day in days and face >= start) or (yesterday in days and face < end)):
            return True
    return False


def first_opening(windows: list[tuple[set[str], str, str]], zone: str, now: datetime) -> datetime:
    """The oracle: wait, minute by minute, until the wall clock says that it is time."""
    moment, face = now.astimezone(UTC).replace(second=0), ZoneInfo(zone)
    while not shown_as_open(windows, moment.astimezone(face)):
        moment += timedelta(minutes=1)
    return moment


faces = st.one_of(
    st.sampled_from(["00:00", "01:30", "02:00", "02:15", "02:30", "03:00", "22:00", "23:59"]),
    st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)),
)
windows = st.tuples(st.sets(st.sampled_from(DAYS), min_size=1), faces, st.one_of(faces, st.just("24:00"))).filter(
    lambda window: window[1] != window[2]
)
# Berlin and New York change by an hour, Lord Howe by half an hour, Troll by two.
zones = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "UTC"])
CHANGES = ["2026-03-29T01:00", "2026-10-25T01:00", "2026-03-08T07:00", "2026-11-01T06:00", "2026-04-04T15:00"]
nows = st.builds(
    lambda change, minutes, second: (
        datetime.fromisoformat(change).replace(tzinfo=UTC) + timedelta(minutes=minutes, seconds=second)
    ),
    st.sampled_from(CHANGES),
    st.integers(-3 * 1440, 3 * 1440),
    st.integers(0, 59),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(windows, min_size=1, max_size=3), zones, nows)
# An opening in the middle of a window, by a clock that is set back into it, and by one that jumps into it.
@example([({"sun"}, "01:30", "02:30")], "Europe/Berlin", datetime(2026, 10, 25, 0, 45, tzinfo=UTC))
@example([({"sun"}, "02:30", "04:00")], "Europe/Berlin", datetime(2026, 3, 28, 23, 0, tzinfo=UTC))
# A window in the second showing of an hour, after the first.
@example([({"sun"}, "02:30", "02:45")], "Europe/Berlin", datetime(2026, 10, 25, 0, 50, tzinfo=UTC))
# A window that the clock skips: it opens a week later, two weeks after it closed.
@example([({"sun"}, "02:00", "03:00")], "Europe/Berlin", datetime(2026, 3, 22, 3, 0, tzinfo=UTC))
@example([({"sun"}, "02:00", "03:00")], "Europe/Berlin", datetime(2026, 3, 28, 23, 0, tzinfo=UTC))
def test_the_next_opening_is_what_waiting_by_the_clock_finds(
    found: list[tuple[set[str], str, str]], zone: str, now: datetime
) -> None:
    texts = tuple(f"{','.join(sorted(days))} {start}-{end}" for days, start, end in found)
    told = opens_at(hours(*texts, zone=zone), now)
    expected = first_opening(found, zone, now)
    if expected <= now:
        assert told is None
    else:
        assert told is not None
        assert (told.astimezone(UTC), told.tzinfo) == (expected, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("now", "opening"),
    [
        ("2026-03-27T21:59", "2026-03-27T22:00+01:00"),
        ("2026-03-28T06:00", "2026-03-30T22:00+02:00"),
        ("2026-10-24T06:00", "2026-10-26T22:00+01:00"),
    ],
)
def test_a_weekend_with_a_clock_change_is_waited_out_by_the_new_clock(now: str, opening: str) -> None:
    told = opens_at(hours(*NIGHTS), berlin(now))
    assert told is not None
    assert told.isoformat() == datetime.fromisoformat(opening).isoformat()


@pytest.mark.parametrize(
    ("now", "open_now"),
    [
        ("2026-03-06T22:00", True),  # Friday
        ("2026-03-07T05:59:59", True),  # Saturday, in Friday's window
        ("2026-03-07T06:00", False),
        ("2026-03-07T22:00", False),  # no window starts on Saturday
        ("2026-03-09T05:00", False),  # nor on Sunday
        ("2026-03-09T21:59:59", False),
    ],
)
def test_a_window_across_midnight_belongs_to_the_day_on_which_it_starts(now: str, open_now: bool) -> None:
    assert is_open(hours(*NIGHTS), berlin(now)) is open_now


def test_the_hour_that_the_clock_shows_twice_is_in_its_window_twice() -> None:
    window = hours("sun 02:00-02:30")
    states = [is_open(window, berlin("2026-10-25T02:15", fold)) for fold in (0, 1)]
    between = opens_at(window, berlin("2026-10-25T02:45"))
    assert states == [True, True]
    assert between is not None
    assert between.astimezone(UTC) == datetime(2026, 10, 25, 1, 0, tzinfo=UTC)


def test_windows_that_touch_or_overlap_are_one() -> None:
    merged = hours("mon 20:00-24:00", "tue 00:00-06:00", "tue 05:00-08:00")
    begin = berlin("2026-03-02T20:00")
    assert all(opens_at(merged, begin + timedelta(minutes=minute)) is None for minute in range(12 * 60))
    after = opens_at(merged, begin + timedelta(hours=12))
    assert after == begin + timedelta(days=7)


def test_without_windows_it_is_always_open() -> None:
    assert opens_at(Hours(), datetime(2026, 3, 1, tzinfo=UTC)) is None


def test_a_time_without_a_zone_is_refused() -> None:
    for windows in ((), NIGHTS):
        with pytest.raises(ValueError, match="has no time zone"):
            opens_at(hours(*windows), datetime(2026, 3, 1))


def test_the_zone_is_the_policys_whatever_the_callers_is() -> None:
    said = subprocess.run(
        ["date", "-d", 'TZ="Asia/Tokyo" 2026-03-02 22:00', "+%s"], capture_output=True, check=True, text=True
    )
    told = opens_at(hours("mon 22:00-23:00", zone="Asia/Tokyo"), datetime(2026, 3, 2, 12, 0, tzinfo=UTC))
    assert told is not None
    assert told.timestamp() == int(said.stdout)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("daily 22:00-06:00", "0123456"),
        ("mon-fri 22:00-06:00", "01234"),
        ("fri-mon 22:00-06:00", "0456"),
        ("sat,sun 00:00-24:00", "56"),
        ("Sat, Sun 00:00 - 24:00", "56"),
        ("mon,wed-fri 01:00-02:00", "0234"),
        ("tue-tue 01:00-02:00", "1"),
    ],
)
def test_days_are_read_singly_in_lists_and_in_ranges(text: str, days: str) -> None:
    assert parse_window(text).days == {int(day) for day in days}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected days and times"),
        ("22:00-06:00", "expected days and times"),
        ("mon 22:00-06:00 tue", "expected days and times"),
        ("monday 22:00-06:00", "days 'monday' cannot be read; expected `daily`, or some of mon, tue"),
        ("mon- 22:00-06:00", "expected days and times"),
        ("mon-fri-sun 22:00-06:00", "days 'mon-fri-sun' cannot be read"),
        ("daily,mon 22:00-06:00", "days 'daily,mon' cannot be read"),
        ("daily 22-06", "times '22-06' cannot be read; expected two such as `22:00-06:00`"),
        ("daily 9:00-10:00", "times '9:00-10:00' cannot be read"),
        ("daily 24:00-06:00", "the latest start is 23:59"),
        ("daily 22:00-24:01", "the latest end 24:00"),
        ("daily 22:60-23:00", "not on the clock"),
        ("daily 06:00-06:00", "write `00:00-24:00` for the whole day"),
    ],
)
def test_a_window_that_cannot_be_read_is_told_with_what_was_expected(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_window(text)


@pytest.mark.parametrize("zone", ["", "Europe", "Europe/Nowhere", "../etc/passwd", "/etc/localtime", "CET+1\0"])
def test_a_time_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(ValidationError, match="no such time zone"):
        Hours(zone=zone)


def policy(**facts: Any) -> Policy:
    return Policy(hours=Hours(zone="Europe/Berlin", **facts))


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("2026-03-02T12:00", "not now, from 22:00 CET"),
        ("2026-07-06T12:00", "not now, from 22:00 CEST"),
        ("2026-03-01T22:00", "not now, from 22:00 CET"),
        ("2026-03-01T21:59", "not now, from 2026-03-02 22:00 CET"),
        ("2026-03-28T12:00", "not now, from 2026-03-30 22:00 CEST"),
        ("2026-03-02T22:00", None),
    ],
)
def test_what_is_closed_says_from_when_on_it_is_open_with_the_date_when_that_is_far(now: str, told: str | None) -> None:
    assert closed(policy(windows=NIGHTS), berlin(now), 0.0) == told


def test_a_night_with_an_hour_more_can_make_an_opening_far() -> None:
    evenings = policy(windows=("daily 22:00-22:30",))
    assert closed(evenings, berlin("2026-10-23T22:30"), 0.0) == "not now, from 22:00 CEST"
    assert closed(evenings, berlin("2026-10-24T22:30"), 0.0) == "not now, from 2026-10-25 22:00 CET"


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (0.49, None),
        (0.5, "not now, the load is 0.5 of at most 0.5 per core"),
        (1.8, "not now, the load is 1.8 of at most 0.5 per core"),
        (float("nan"), "not now, the load is nan of at most 0.5 per core"),
    ],
)
def test_training_waits_while_the_load_is_not_below_the_limit(load: float, told: str | None) -> None:
    assert closed(policy(max_load=0.5), berlin("2026-03-02T12:00"), load) == told


def test_without_a_limit_any_load_will_do() -> None:
    assert closed(policy(), berlin("2026-03-02T12:00"), 99.0) is None
