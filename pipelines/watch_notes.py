"""What a monitoring phase remembers, so that one that was stopped goes on: as JSON in its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Self


@dataclass(frozen=True)
class Waiting:
    """A challenger that is waited for.

    Attributes:
        alert: The rule that asked for it.
        due: The day on which it is trained.
        tried: Challengers for the same alert that did not win.
        window: The window that the last of them was compared on; 0 before the first.
    """

    alert: str
    due: date
    tried: int = 0
    window: int = 0

    def later(self, days: int) -> Waiting:
        """The same try, so much later."""
        return replace(self, due=self.due + timedelta(days=days))

    def again(self, day: date, days: int, window: int) -> Waiting:
        """The next try, so many days after the last, which was compared on a window."""
        return replace(self, due=day + timedelta(days=days), tried=self.tried + 1, window=window)


@dataclass
class Notes:
    """Everything, in order of time.

    Attributes:
        version: The model in use.
        day: When the last step was due.
        observed: Window to its counts, as `Observed.to_facts` gives them.
        watched, judged: Windows that are asked about no more: answered, or given up.
        missed: Which were given up, and why.
        alerts: Alerts raised, with their day, and whether they were sent.
        actions: What was done about them.
        waiting: A challenger to come.
        challengers: How many were trained.
        promoted: What became champion, with its scores by label in the contest: version to `Contested`, as JSON.
    """

    version: int = 0
    day: date = date.min
    observed: dict[int, dict[str, Any]] = field(default_factory=dict)
    watched: set[int] = field(default_factory=set)
    judged: set[int] = field(default_factory=set)
    missed: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)
    waiting: Waiting | None = None
    challengers: int = 0
    promoted: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def raised(self) -> set[tuple[str, str]]:
        """Keys of the alerts that were raised."""
        return {(facts["rule"], facts["window"]) for facts in self.alerts}

    def to_facts(self) -> dict[str, Any]:
        """All of it, as JSON."""
        waiting = self.waiting and {**vars(self.waiting), "due": self.waiting.due.isoformat()}
        return {
            **vars(self),
            "day": self.day.isoformat(),
            "observed": {str(window): facts for window, facts in self.observed.items()},
            "watched": sorted(self.watched),
            "judged": sorted(self.judged),
            "promoted": {str(version): facts for version, facts in self.promoted.items()},
            "waiting": waiting,
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """Read back what `to_facts` gave."""
        waiting = facts["waiting"]
        own = {
            "day": date.fromisoformat(facts["day"]),
            "observed": {int(window): one for window, one in facts["observed"].items()},
            "watched": set(facts["watched"]),
            "judged": set(facts["judged"]),
            "promoted": {int(version): one for version, one in facts["promoted"].items()},
            "waiting": waiting and Waiting(**(waiting | {"due": date.fromisoformat(waiting["due"])})),
        }
        return cls(**(facts | own))
