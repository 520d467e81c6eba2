"""Bytes by bank and round, from events that tell what had crossed since the phase began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fraudfl.transfer.meter import Traffic


@dataclass(frozen=True)
class TrafficByRound:
    """What had crossed since the phase began when each round, or window, was over.

    Attributes:
        all: By round, in order.
        banks: By bank, and there by the rounds in which it moved anything.
    """

    all: Mapping[int, Traffic]
    banks: Mapping[str, Mapping[int, Traffic]]

    @classmethod
    def from_events(cls, events: Iterable[tuple[int, Mapping[str, Any]]]) -> TrafficByRound:
        """Read events by the number of their round, in order; older ones told nothing of single banks."""
        total: dict[int, Traffic] = {}
        banks: dict[str, dict[int, Traffic]] = {}
        for number, event in events:
            total[number] = Traffic(event["bytes_up"], event["bytes_down"])
            for bank, moved in event.get("by_bank", {}).items():
                banks.setdefault(bank, {})[number] = Traffic(*moved)
        return cls(total, dict(sorted(banks.items())))

    def moved(self, bank: str | None = None) -> dict[int, Traffic]:
        """Bytes within each round, over all banks or of one; a round in which a bank moved nothing is left out."""
        found: dict[int, Traffic] = {}
        before = Traffic()
        for number, now in self._of(bank).items():
            found[number] = now.minus(before)
            before = now
        return found

    def after(self, whole: Traffic, bank: str | None = None) -> Traffic:
        """What of the whole came after the last round."""
        return whole.minus(([Traffic(), *self._of(bank).values()])[-1])

    def _of(self, bank: str | None) -> Mapping[int, Traffic]:
        return self.all if bank is None else self.banks.get(bank, {})
