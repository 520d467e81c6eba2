"""How ε grew: at each bank in the course of a phase, and over all phases together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from fraudfl.plan import Plan
from fraudfl.report.facts import Phase
from fraudfl.report.spending import spent_as_heard
from fraudfl.trust.keys import now_text

MOMENTS = 8
"""ε is stated as often as that; each costs an accounting for each number of releases that banks have made by then."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What banks had spent when a step of a phase was over.

    Attributes:
        at: ISO 8601.
        round: The last that was heard of; 0 before the first.
        epsilon: By bank, at the plan's δ.
    """

    at: str
    round: int
    epsilon: Mapping[str, float]

    @property
    def middle(self) -> float:
        """The median over banks."""
        return median(self.epsilon.values())

    @property
    def most(self) -> float:
        """The largest of all banks."""
        return max(self.epsilon.values())


@dataclass(frozen=True, kw_only=True)
class InTotal:
    """What one bank spent on one unit in all phases: ε and δ, each added up.

    Sums hold whichever phase was chosen after seeing what another released; a bank's own ledger may bound them closer.
    """

    bank: str
    unit: str
    epsilon: float
    delta: float
    phases: int


def course(plan: Plan, events: Iterable[Mapping[str, Any]]) -> tuple[Moment, ...]:
    """How much each bank had spent at up to `MOMENTS` times of a phase, by what the coordinator heard.

    Args:
        events: As the phase told them, in order.

    Returns:
        Nothing where the plan promises nothing, or no bank has released anything that costs.
    """
    if not plan.private:
        return ()
    steps = [*_steps(plan, events)]
    replies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    wanted = _spread(len(steps))
    moments = []
    for place, (kind, number, at, banks) in enumerate(steps):
        for bank in banks:
            replies[bank][kind] += 1
        if place in wanted:
            epsilon = {bank: spent_as_heard(plan, counted).epsilon(plan.delta) for bank, counted in replies.items()}
            moments.append(Moment(at=at, round=number, epsilon=dict(sorted(epsilon.items()))))
    return tuple(moments)


def in_total(phases: Iterable[Phase]) -> tuple[InTotal, ...]:
    """What each bank spent in all phases, those that spent most first."""
    found: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for phase in phases:
        if phase.spending is not None:
            for one in phase.participants:
                if one.epsilon:
                    found[one.bank, phase.spending.unit].append((one.epsilon, phase.spending.delta))
    sums = [
        InTotal(
            bank=bank,
            unit=unit,
            epsilon=sum(epsilon for epsilon, _ in spent),
            delta=sum(delta for _, delta in spent),
            phases=len(spent),
        )
        for (bank, unit), spent in found.items()
    ]
    return tuple(sorted(sums, key=lambda one: (-one.epsilon, one.bank, one.unit)))


_Step = tuple[str, int, str, list[str]]
"""Kind, highest round so far, when the last bank was heard, and the banks."""


def _steps(plan: Plan, events: Iterable[Mapping[str, Any]]) -> Iterator[_Step]:
    """What was heard of one kind in one round, if it cost anything."""
    banks: list[str] = []
    now: tuple[str, int] | None = None
    at, highest = "", 0
    for event in events:
        if event["event"] != "heard" or plan.mechanism(event["kind"]) is None:
            continue
        step = (str(event["kind"]), int(event["round"]))
        if now is not None and step != now:
            yield now[0], highest, at, banks
            banks = []
        now, highest = step, max(highest, step[1])
        banks.append(str(event["bank"]))
        at = now_text(datetime.fromtimestamp(float(event["time"]), UTC))
    if now is not None:
        yield now[0], highest, at, banks


def _spread(steps: int) -> Sequence[int]:
    """Places of the steps that are stated: the first, the last, and others evenly between them."""
    if steps <= MOMENTS:
        return range(steps)
    return sorted({round(part * (steps - 1) / (MOMENTS - 1)) for part in range(MOMENTS)})
