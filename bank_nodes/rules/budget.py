"""A bank's privacy budget: what its ledger says was spent, the caps that it meets, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from bank_nodes.rules.policy import Policy
from fraudfl.errors import PrivacyError
from fraudfl.plan import Plan
from fraudfl.privacy.accounting import Grouped, Spent, grouped_epsilon
from fraudfl.privacy.filter import RdpFilter, quick_epsilon
from fraudfl.privacy.ledger import Charge, Ledger
from fraudfl.privacy.mechanisms import Mechanism, Unit, mechanism_from_dict

Window = Literal["month", "all"]
# For rounding in composition.
_TOLERANCE = 1 + 1e-6
# Where a bank sets no cap, its history is stated by the first of these that would have let all of it through. Which one
# that is depends on the history, so that each is held at its part of δ.
_LADDER = tuple(2.0**power for power in range(-2, 15))
_WITHIN_ONE_PLAN = "PLD within one plan"
_OF_PLAN = "the plan's own budget"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What was spent in one window, for one unit; nothing in it depends on the bank's rows.

    Attributes:
        window: `plan`, `month` or `all`.
        unit: What is protected; spends on different units are never added up.
        delta: All figures of ε are at this δ.
        epsilon: Against the coordinator and outsiders.
        epsilon_colluding: Against as many colluding banks as the plans name; equal to `epsilon` where they name none.
        method: How mechanisms were composed.
        releases: How many were charged.
        cap: The limit on ε that has least left in this window; None where nothing binds.
        left: What is left of it, at least 0. The policy's cap on a phase is read at the policy's δ, so that there this
            may be other than `cap` less `epsilon`.
    """

    window: str
    unit: Unit
    delta: float
    epsilon: float
    epsilon_colluding: float
    method: str
    releases: int
    cap: float | None
    left: float | None


class Budget:
    """Says before any work whether a release can be paid for, and afterwards what was spent."""

    def __init__(self, ledger: Ledger, policy: Policy, clock: Callable[[], datetime] = lambda: datetime.now(UTC)):
        """Read spends from `ledger` and caps from `policy`; `clock` says which month it is."""
        self._ledger = ledger
        self._policy = policy
        self._clock = clock

    def refuse_overspending(self, plan: Plan, mechanism: Mechanism, what: str) -> None:
        """Refuse a release that is not paid for, before any work.

        The plan's own ε binds all its releases, of whatever kind; the policy's caps bind them, the month and the
        bank's whole history. Whoever calls must hold the gate's lock until the release is reserved.

        Args:
            plan: The plan whose ε pays. By plan, not by phase instance: the coordinator names instances.
            mechanism: What the release costs.
            what: How to call it in the message: `round 3, attempt 1`.

        Raises:
            PrivacyError: naming the cap, what is spent of it and what is left.
        """
        caps = self._policy.caps.epsilon
        phase = _spent(self._ledger.charges(plan.hash), mechanism.unit)
        own = _Limit(_OF_PLAN, plan.privacy.epsilon, plan.delta)
        for limit in (own, _Limit("caps.epsilon.phase", caps.phase, caps.delta)):
            limit.refuse_above(phase, mechanism, plan, what)
        for name, cap, since in (("month", caps.month, self._month()), ("total", caps.total, None)):
            if cap is None:
                continue
            charges = self._ledger.charges(since=since)
            history = _spent(charges, mechanism.unit)
            if {charge.plan_hash for charge in charges} <= {plan.hash}:
                _Limit(f"caps.epsilon.{name}", cap, caps.delta).refuse_above(history, mechanism, plan, what)
            elif not RdpFilter(cap, caps.delta).allows(history.add(mechanism)):
                kept = RdpFilter(cap, caps.delta)
                before, after = kept.epsilon(history), kept.epsilon(history.add(mechanism))
                raise _over(what, f"caps.epsilon.{name}", cap, (before, after), caps.delta)

    def statement(self, plan: Plan) -> Statement | None:
        """What one plan has spent, all kinds of release together; None where it promises nothing."""
        if not plan.private:
            return None
        caps, spent = self._policy.caps.epsilon, _spent(self._ledger.charges(plan.hash), plan.privacy.unit)
        own = spent.epsilon(plan.delta)
        limits = [] if plan.privacy.epsilon is None else [(plan.privacy.epsilon - own, plan.privacy.epsilon)]
        if caps.phase is not None:
            limits.append((caps.phase - spent.epsilon(caps.delta), caps.phase))
        left, cap = min(limits, default=(None, None))
        return Statement(
            window="plan",
            unit=plan.privacy.unit,
            delta=plan.privacy.delta,
            epsilon=own,
            epsilon_colluding=spent.against_colluders().epsilon(plan.delta),
            method=_WITHIN_ONE_PLAN,
            releases=_count(spent),
            cap=cap,
            left=None if left is None else max(0.0, left),
        )

    def statements(self, window: Window, delta: float) -> tuple[Statement, ...]:
        """What was spent this month, or ever, across all plans: one statement for each unit there is.

        Args:
            window: This month, or ever.
            delta: δ of the figures where no cap binds; where one does, they are at the policy's, as the cap is.
        """
        caps = self._policy.caps.epsilon
        charges = self._ledger.charges(since=self._month() if window == "month" else None)
        cap = caps.month if window == "month" else caps.total
        at = delta if cap is None else caps.delta
        return tuple(_of_window(window, charges, unit, at, cap) for unit in _units(charges))

    def _month(self) -> datetime:
        here = self._clock().astimezone(ZoneInfo(self._policy.hours.zone))
        return here.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class _Limit:
    """A limit on ε within one plan, which was fixed beforehand, so that privacy loss distributions apply."""

    name: str
    cap: float | None
    delta: float

    def refuse_above(self, spent: Spent, mechanism: Mechanism, plan: Plan, what: str) -> None:
        """Refuse one more release that the limit leaves no room for.

        A limit below what the plan comes to ends it half-way. A coordinator that saw the first rounds may then choose
        of what kind the rest is, and no composition of distributions is proven for a mix chosen like that. So sketches
        and other counts are paid for from the start, as often as the plan has them: what is left to choose is how
        many rounds there are, up to a number that the limit alone fixes.
        """
        if self.cap is None:
            return
        after = _with_counts(plan, spent.add(mechanism))
        if not _fits(after, mechanism, self.cap, self.delta):
            before = _with_counts(plan, spent)
            raise _over(what, self.name, self.cap, (before.epsilon(self.delta), after.epsilon(self.delta)), self.delta)


def _with_counts(plan: Plan, spent: Spent) -> Spent:
    """What was spent, and what the plan's counts may still cost."""
    counts = dict(spent.entries)
    planned: Counter[Mechanism] = Counter()
    for kind in plan.releases:
        mechanism = plan.mechanism(kind) if kind != "train" else None
        if mechanism is not None:
            planned[mechanism] += plan.paid_releases(kind)
    for mechanism, times in planned.items():
        missing = times - counts.get(mechanism, 0)
        spent = spent.add(mechanism, missing) if missing > 0 else spent
    return spent


def epsilon_of_history(
    charges: Iterable[Charge], unit: Unit, delta: float, cap: float | None = None
) -> tuple[float, float, str]:
    """Compose what was charged under any number of plans, for one unit.

    Args:
        charges: As the ledger counts them.
        unit: Mechanisms that protect another unit are left out.
        delta: δ.
        cap: The cap that fixed the filter's order; without one, the first power of two that would have been kept.

    Returns:
        ε against the coordinator and outsiders, ε against colluding banks, and the method in words.
    """
    listed = list(charges)
    spent = _spent(listed, unit)
    if len({charge.plan_hash for charge in listed}) <= 1:
        return spent.epsilon(delta), spent.against_colluders().epsilon(delta), _WITHIN_ONE_PLAN
    one = _ladder(spent, delta) if cap is None else RdpFilter(cap, delta)
    method = f"RDP filter at order {one.order:g}, fixed by a cap of {one.cap:g}"
    return one.epsilon(spent), one.epsilon(spent.against_colluders()), method


def _ladder(spent: Spent, delta: float) -> RdpFilter:
    filters = [RdpFilter(cap, delta / len(_LADDER)) for cap in _LADDER]
    return next((one for one in filters if one.allows(spent)), filters[-1])


def _of_window(window: Window, charges: list[Charge], unit: Unit, delta: float, cap: float | None) -> Statement:
    epsilon, colluding, method = epsilon_of_history(charges, unit, delta, cap)
    return Statement(
        window=window,
        unit=unit,
        delta=delta,
        epsilon=epsilon,
        epsilon_colluding=colluding,
        method=method,
        releases=_count(_spent(charges, unit)),
        cap=cap,
        left=None if cap is None else max(0.0, cap - epsilon),
    )


def _count(spent: Spent) -> int:
    return sum(count for _, count in spent.entries)


def _spent(charges: Iterable[Charge], unit: Unit) -> Spent:
    spent = Spent()
    for charge in charges:
        mechanism = mechanism_from_dict(charge.mechanism)
        if mechanism.unit == unit:
            spent = spent.add(mechanism, charge.count)
    return spent


def _units(charges: Iterable[Charge]) -> list[Unit]:
    return sorted({mechanism_from_dict(charge.mechanism).unit for charge in charges})


def _over(what: str, name: str, cap: float, both: tuple[float, float], delta: float) -> PrivacyError:
    before, after = both
    left = f"{before:.4f} is spent and {max(0.0, cap - before):.4f} is left"
    if name == _OF_PLAN:
        return PrivacyError(
            f"{what} would bring ε to {after:.4f} of {cap:g} (δ = {delta:g}), {name}; {left}; nothing was trained"
        )
    return PrivacyError(
        f"this bank's policy: {name} is {cap:g}; this release would bring ε to {after:.4f}; nothing was trained. It is "
        f"{what}; {left} (δ = {delta:g})"
    )


def _fits(spent: Spent, mechanism: Mechanism, cap: float, delta: float) -> bool:
    """Whether ε of a spend that has this mechanism in it is within the cap, for mechanisms fixed beforehand."""
    after = spent.grouped()
    # Takes microseconds, and lets nearly all rounds through.
    if quick_epsilon(after, delta) <= cap:
        return True
    times = dict(after)
    key = (mechanism.sampling_rate, mechanism.noise_multiplier)
    wanted = times.pop(key)
    return wanted <= _most(tuple(times.items()), key, cap, delta)


@lru_cache(maxsize=256)
def _most(others: Grouped, key: tuple[float, float], cap: float, delta: float) -> int:
    """How often in all a mechanism can be used beside others within a cap, so that the last rounds compare counts."""

    def within(times: int, epsilon: Callable[[Grouped, float], float]) -> bool:
        return epsilon(tuple(sorted((*others, (key, times)))), delta) <= cap * _TOLERANCE

    enough, too_many = 0, 1
    while within(too_many, quick_epsilon):
        enough, too_many = too_many, 2 * too_many
    enough = _last(lambda times: within(times, quick_epsilon), enough, too_many)
    # The quick bound is a little too high, by far less than a factor of two in how often.
    return _last(lambda times: within(times, grouped_epsilon), enough, 2 * enough + 16)


def _last(holds: Callable[[int], bool], enough: int, too_many: int) -> int:
    """The last number from `enough` to below `too_many` for which a falling condition holds; it does for `enough`."""
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        enough, too_many = (middle, too_many) if holds(middle) else (enough, middle)
    return enough
