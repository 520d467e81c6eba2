"""What releases cost together: ε of a list of mechanisms, and a bank's spend as a value."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fraudfl.errors import PrivacyError
from fraudfl.privacy.mechanisms import DpSgd, Mechanism, mechanism_from_dict


def epsilon(events: Sequence[Mechanism], delta: float) -> float:
    """Compose mechanisms that were fixed beforehand and return their ε at `delta`, for one unit added or removed.

    Identical mechanisms are grouped before composition, so thousands of rounds take as long as one.

    Returns:
        0 for no events.

    Raises:
        PrivacyError: if delta is not in (0, 1), or events protect different units.

    Source: privacy loss distributions, Koskela et al. 2020 and Doroshenko et al. 2022; pessimistic rounding.
    """
    return Spent.of(events).epsilon(delta)


def calibrate_noise(event: DpSgd, epsilon: float, delta: float) -> float:
    """Return the smallest noise multiplier with which `event` costs at most ε at δ."""
    return event.calibrate(epsilon, delta).noise_multiplier


@dataclass(frozen=True)
class Spent:
    """What one bank has spent: mechanisms and how often each was used. Adding gives a new value.

    Attributes:
        entries: Mechanisms, each once, with counts, in the order of first use.
    """

    entries: tuple[tuple[Mechanism, int], ...] = ()

    @classmethod
    def of(cls, events: Sequence[Mechanism]) -> Spent:
        """Count a list of mechanisms."""
        return cls(tuple(Counter(events).items()))

    def add(self, event: Mechanism, count: int = 1) -> Spent:
        """Return the spend with `event` charged `count` more times."""
        if count < 1:
            raise PrivacyError(f"a mechanism was charged {count} times; expected at least 1")
        counts = dict(self.entries)
        counts[event] = counts.get(event, 0) + count
        return Spent(tuple(counts.items()))

    def epsilon(self, delta: float) -> float:
        """Return ε at `delta` of everything spent; see `epsilon` in this module."""
        units = {event.unit for event, _ in self.entries}
        if len(units) > 1:
            raise PrivacyError(f"mechanisms protect different units, {sorted(units)}; account for each unit by itself")
        steps: Counter[tuple[float, float]] = Counter()
        for event, count in self.entries:
            steps[event.sampling_rate, event.noise_multiplier] += event.steps * count
        return _composed_epsilon(tuple(sorted(steps.items())), delta)

    def to_json(self) -> str:
        """Write the canonical JSON: a list of mechanisms with counts."""
        entries = [{"event": event.to_dict(), "count": count} for event, count in self.entries]
        return json.dumps(entries, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Spent:
        """Read what `to_json` wrote.

        Raises:
            PrivacyError: if the text is damaged; a spend that cannot be read must stop the bank, not reset it.
        """
        try:
            items = json.loads(text)
            if not isinstance(items, list):
                raise TypeError(f"found {type(items).__name__}, expected a list")
            entries = tuple(_entry(item) for item in items)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PrivacyError(
                f"the record of privacy spent cannot be read ({error}); restore it before training on"
            ) from error
        if len({event for event, _ in entries}) != len(entries):
            raise PrivacyError("the record of privacy spent names one mechanism twice; restore it before training on")
        return cls(entries)


def _entry(item: Any) -> tuple[Mechanism, int]:
    count = item["count"]
    if type(count) is not int or count < 1:
        raise ValueError(f"count is {count!r}, expected a whole number of at least 1")
    return mechanism_from_dict(item["event"]), count


@lru_cache(maxsize=256)
def _composed_epsilon(steps: tuple[tuple[tuple[float, float], int], ...], delta: float) -> float:
    """Compose (sampling rate, noise multiplier) with counts; a cap is asked for often, with the same spend."""
    if not steps:
        return 0.0
    # Imported on use: see `DpSgd.dp_event`.
    import dp_accounting

    from fraudfl.privacy.pld import event_epsilon

    events = [
        DpSgd(sampling_rate=q, noise_multiplier=noise, clip_norm=1, steps=count, expected_batch=1).dp_event()
        for (q, noise), count in steps
    ]
    return event_epsilon(dp_accounting.ComposedDpEvent(events), delta)
