"""What releases cost together: ε of a list of mechanisms, and a bank's spend as a value."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fraudfl.errors import PrivacyError
from fraudfl.privacy.mechanisms import DpSgd, Mechanism, gaussian_event, mechanism_from_dict

if TYPE_CHECKING:
    import dp_accounting

Grouped = tuple[tuple[tuple[float, float], int], ...]
"""All that privacy depends on: (sampling rate, noise multiplier), each once, with how often, sorted."""


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


def calibrate_jointly(fixed: Sequence[Mechanism], event: DpSgd, epsilon: float, delta: float) -> float:
    """Return the smallest noise multiplier with which `fixed` and `event` together cost at most ε at δ.

    Joint composition: it needs less noise than giving each part its own ε and adding those up.

    Raises:
        PrivacyError: if `fixed` alone spends it all, or the events protect different units.
    """
    from fraudfl.privacy.pld import least_noise

    spent = Spent.of(fixed)
    already = spent.epsilon(delta)
    if already >= epsilon:
        raise PrivacyError(
            f"what is fixed already costs ε = {already:.4g} of {epsilon:g} at delta {delta:g}, so that nothing is left "
            "for training; lower `encoder_share`, `evaluation_share` and `look_share`, or raise `privacy.epsilon`"
        )
    spent.add(event).epsilon(delta)  # refuses mixed units
    return least_noise(
        lambda noise: _event(spent.add(replace(event, noise_multiplier=noise)).grouped()), epsilon, delta
    )


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
        return grouped_epsilon(self.grouped(), delta)

    def grouped(self) -> Grouped:
        """Say all that privacy depends on.

        Raises:
            PrivacyError: if the mechanisms protect different units.
        """
        units = {event.unit for event, _ in self.entries}
        if len(units) > 1:
            raise PrivacyError(f"mechanisms protect different units, {sorted(units)}; account for each unit by itself")
        steps: Counter[tuple[float, float]] = Counter()
        for event, count in self.entries:
            steps[event.sampling_rate, event.noise_multiplier] += event.times * count
        return tuple(sorted(steps.items()))

    def against_colluders(self) -> Spent:
        """The same releases as colluding banks see them, who take their own noise off."""
        counts: Counter[Mechanism] = Counter()
        for event, count in self.entries:
            counts[event.against_colluders()] += count
        return Spent(tuple(counts.items()))

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


@lru_cache(maxsize=1024)
def grouped_epsilon(steps: Grouped, delta: float) -> float:
    """Return ε at `delta` of what `Spent.grouped` gives; a cap is asked for often, with the same spend."""
    if not steps:
        return 0.0
    from fraudfl.privacy.pld import steps_epsilon

    return steps_epsilon(steps, delta)


def _event(steps: Grouped) -> dp_accounting.DpEvent:
    # Imported on use: see `gaussian_event`.
    import dp_accounting

    return dp_accounting.ComposedDpEvent([gaussian_event(q, noise, times) for (q, noise), times in steps])
