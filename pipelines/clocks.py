"""What day it is: the calendar's, or a simulated one that jumps."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from fraudfl.protocols import Fleet

_LONGEST_PAUSE = timedelta(hours=1)


class SimulatedClock:
    """Each day comes as soon as somebody waits for it."""

    def __init__(self, today: date) -> None:
        """Begin on a day."""
        self._today = today

    def today(self) -> date:
        """The last day that was waited for."""
        return self._today

    def wait_until(self, day: date) -> None:
        """Let it be that day, unless it is later already."""
        self._today = max(self._today, day)


class RealClock:
    """The calendar (UTC). Waiting lets the fleet's time pass, so that a phase can be stopped meanwhile."""

    def __init__(self, fleet: Fleet) -> None:
        """Wait by this fleet's pauses."""
        self._fleet = fleet

    def today(self) -> date:
        """Today."""
        return datetime.now(UTC).date()

    def wait_until(self, day: date) -> None:
        """Return when the day has begun; at once where it has."""
        begins = datetime.combine(day, time(), UTC)
        while (left := begins - datetime.now(UTC)) > timedelta():
            self._fleet.pause(min(left, _LONGEST_PAUSE).total_seconds())
