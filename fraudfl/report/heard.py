"""What the coordinator heard from banks in a phase, counted from the phase's events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fraudfl.trust.keys import now_text


@dataclass
class BankHeard:
    """What was heard from one bank.

    Attributes:
        accepted_at: When it first took the plan; empty when it never did.
        rounds: Rounds whose update was received.
        missed: Times that it was left out.
        replies: Replies by kind, each counted as often as it came.
        last_at: When it was heard last; empty when it never was.
        software: Version of fraudfl that it said it runs; empty when it did not say.
        hours: When it works, as it said; empty when it did not say.
    """

    accepted_at: str = ""
    rounds: set[int] = field(default_factory=set)
    missed: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    last_at: str = ""
    software: str = ""
    hours: str = ""


@dataclass
class Heard:
    """What was heard in one phase.

    Attributes:
        began, ended: First and last event, ISO 8601; empty when there is none.
        unread: Lines that are no events: a crash can cut the last one.
    """

    began: str = ""
    ended: str = ""
    banks: dict[str, BankHeard] = field(default_factory=dict)
    unread: int = 0

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Heard:
        """Count a phase's events, one JSON object a line."""
        heard = cls()
        for line in lines:
            try:
                heard._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError):
                heard.unread += 1
        return heard

    def _take(self, event: dict[str, object]) -> None:
        at = now_text(datetime.fromtimestamp(float(str(event["time"])), UTC))
        if event["event"] == "heard":
            self._hear(str(event["bank"]), str(event["kind"]), int(str(event["round"])), at)
        elif event["event"] == "excluded":
            self._bank(str(event["bank"])).missed += 1
        elif event["event"] == "introduced":
            one = self._bank(str(event["bank"]))
            one.software, one.hours = str(event["software"]), str(event["hours"])
        self.began, self.ended = self.began or at, at

    def _hear(self, bank: str, kind: str, round_number: int, at: str) -> None:
        one = self._bank(bank)
        one.replies[kind] += 1
        one.last_at = at
        if kind == "join":
            one.accepted_at = one.accepted_at or at
        elif kind == "train":
            one.rounds.add(round_number)

    def _bank(self, bank: str) -> BankHeard:
        return self.banks.setdefault(bank, BankHeard())
