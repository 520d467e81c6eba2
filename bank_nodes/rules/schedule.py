"""When a bank works: weekly windows on its own clock, right across clock changes, and its load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from bank_nodes.rules.policy import Hours, Policy

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIMES = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
_AROUND = re.compile(r"\s*([-,])\s*")
_MIDNIGHT = 24 * 60
# A weekly window can be skipped once, when the clock jumps over it; three weeks always hold an opening.
_HORIZON_DAYS = 22


@dataclass(frozen=True)
class Window:
    """A weekly window on the wall clock.

    Attributes:
        days: Weekdays on which it starts; Monday is 0.
        start: Minutes after midnight, included.
        end: Minutes after the same midnight, excluded; above 1440 where it ends on the next day.
    """

    days: frozenset[int]
    start: int
    end: int

    def holds(self, local: datetime) -> bool:
        """Whether a wall-clock time lies in it."""
        minute, day = local.hour * 60 + local.minute, local.weekday()
        started_today = day in self.days and self.start <= minute < self.end
        started_yesterday = (day - 1) % 7 in self.days and minute < self.end - _MIDNIGHT
        return started_today or started_yesterday


def parse_window(text: str) -> Window:
    """Read `mon-fri 22:00-06:00`, `sat,sun 00:00-24:00` or `daily 22:00-06:00`.

    A window that ends at or before its start ends on the next day; its days are those on which it starts.

    Raises:
        ValueError: saying what cannot be read.
    """
    parts = _AROUND.sub(r"\1", text.lower()).split()
    if len(parts) != 2:
        raise ValueError("expected days and times, such as `mon-fri 22:00-06:00`")
    days, (start, end) = _read_days(parts[0]), _read_times(parts[1])
    return Window(days, start, end if end > start else end + _MIDNIGHT)


def _read_days(text: str) -> frozenset[int]:
    if text == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise ValueError(f"days {text!r} cannot be read; expected `daily`, or some of {', '.join(_DAYS)}")
        begin = _DAYS.index(first)
        length = (_DAYS.index(last) - begin) % 7 if dash else 0
        found |= {(begin + step) % 7 for step in range(length + 1)}
    return frozenset(found)


def _read_times(text: str) -> tuple[int, int]:
    match = _TIMES.fullmatch(text)
    if match is None:
        raise ValueError(f"times {text!r} cannot be read; expected two such as `22:00-06:00`")
    hours, minutes, end_hours, end_minutes = (int(digits) for digits in match.groups())
    start, end = hours * 60 + minutes, end_hours * 60 + end_minutes
    if max(minutes, end_minutes) > 59 or start >= _MIDNIGHT or end > _MIDNIGHT:
        raise ValueError(f"times {text!r} are not on the clock; the latest start is 23:59 and the latest end 24:00")
    if start == end:
        raise ValueError(f"times {text!r} are the same; write `00:00-24:00` for the whole day")
    return start, end


def known_zone(name: str) -> str:
    """Return a time zone's name when it is one.

    Raises:
        ValueError: when there is no such zone.
    """
    try:
        return ZoneInfo(name).key
    except (OSError, ValueError, KeyError) as error:
        raise ValueError("no such time zone; expected a name such as `Europe/Berlin` or `UTC`") from error


def is_open(hours: Hours, now: datetime) -> bool:
    """Whether the windows allow work at an aware time: by what the bank's clock shows then.

    An hour that the clock skips is in no window; an hour that it shows twice is in its windows twice.
    """
    local = _aware(now).astimezone(ZoneInfo(hours.zone))
    return not hours.windows or any(window.holds(local) for window in hours.parsed)


def opens_at(hours: Hours, now: datetime) -> datetime | None:
    """Return the next opening in the policy's zone, or None when it is open now.

    Raises:
        ValueError: when `now` has no time zone.
    """
    if is_open(hours, now):
        return None
    zone, start = ZoneInfo(hours.zone), now.astimezone(UTC).replace(second=0, microsecond=0)
    moments = {*_window_starts(hours, start.astimezone(zone).date(), zone), *_clock_changes(zone, start)}
    opening = next(moment for moment in sorted(moments) if moment > start and is_open(hours, moment))
    return opening.astimezone(zone)


def closed(policy: Policy, now: datetime, load_per_core: float) -> str | None:
    """Say why training must wait, or return None when it need not.

    Args:
        policy: The bank's policy.
        now: An aware time.
        load_per_core: The 1-minute load average over the number of cores.
    """
    opening = opens_at(policy.hours, now)
    if opening is not None:
        far = opening.astimezone(UTC) - now.astimezone(UTC) > timedelta(days=1)
        return f"not now, from {opening:%Y-%m-%d %H:%M %Z}" if far else f"not now, from {opening:%H:%M %Z}"
    most = policy.hours.max_load
    # Written so that a load that is not a number counts as too high.
    if most is not None and not load_per_core < most:
        return f"not now, the load is {load_per_core:.3g} of at most {most:.3g} per core"
    return None


def _aware(now: datetime) -> datetime:
    if now.utcoffset() is None:
        raise ValueError(f"{now} has no time zone; expected an aware time such as datetime.now(UTC)")
    return now


def _window_starts(hours: Hours, today: date, zone: ZoneInfo) -> Iterator[datetime]:
    for step in range(_HORIZON_DAYS):
        day = today + timedelta(days=step)
        for window in hours.parsed:
            if day.weekday() in window.days:
                shown = datetime.combine(day, time(*divmod(window.start, 60)), zone)
                # Both, for an hour that the clock shows twice; else they are the same moment.
                yield from (shown.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


def _clock_changes(zone: ZoneInfo, start: datetime) -> Iterator[datetime]:
    """The moments at which the zone's clock jumps: a jump can lead into the middle of a window."""
    for step in range(_HORIZON_DAYS):
        before, after = start + timedelta(days=step), start + timedelta(days=step + 1)
        shift = before.astimezone(zone).utcoffset()
        if shift == after.astimezone(zone).utcoffset():
            continue
        while after - before > timedelta(minutes=1):
            middle = before + timedelta(minutes=(after - before) // timedelta(minutes=2))
            before, after = (middle, after) if middle.astimezone(zone).utcoffset() == shift else (before, middle)
        yield after
