"""What releases cost, in the report's values; the composition itself is `fraudfl.privacy`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fraudfl.plan import Plan
from fraudfl.privacy.accounting import Spent
from fraudfl.privacy.ledger import Charge
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.report.facts import Basis, Spending
from fraudfl.report.words import small

_WITHIN_PLAN = "privacy loss distributions (PLD) over all releases of the plan, which was fixed beforehand"


def method_of(plan: Plan) -> str:
    """How the releases of one plan are composed, in words."""
    if plan.delta == plan.privacy.delta:
        return _WITHIN_PLAN
    rest = plan.privacy.delta - plan.delta
    return f"{_WITHIN_PLAN}, at δ = {small(plan.delta)}; {small(rest)} of δ is set aside for adding up in whole numbers"


def charged(charges: Iterable[Charge]) -> Spent:
    """What a ledger counts as charged; raises PrivacyError when a mechanism cannot be read."""
    spent = Spent()
    for charge in charges:
        spent = spent.add(mechanism_from_dict(charge.mechanism), charge.count)
    return spent


def spent_as_heard(plan: Plan, replies: Mapping[str, int]) -> Spent:
    """What one bank spent at least, by its replies of each kind that came.

    A reply that came twice counts twice, but no more than the bank's gate lets through.
    """
    spent = Spent()
    for kind, count in sorted(replies.items()):
        mechanism = plan.mechanism(kind)
        if mechanism is not None:
            spent = spent.add(mechanism, min(count, plan.paid_releases(kind)))
    return spent


def phase_spending(plan: Plan, spent: Spent, basis: Basis) -> Spending | None:
    """What one bank spent under a plan; None where the plan promises nothing.

    Args:
        basis: Where `spent` was read.

    Raises:
        PrivacyError: when the mechanisms protect different units.
    """
    cap = plan.privacy.epsilon
    if not plan.private or cap is None:
        return None
    epsilon = spent.epsilon(plan.delta)
    colluding = max((mechanism.colluding for mechanism, _ in spent.entries), default=0)
    return Spending(
        unit=plan.privacy.unit,
        delta=plan.privacy.delta,
        epsilon=epsilon,
        epsilon_colluding=spent.against_colluders().epsilon(plan.delta) if colluding else None,
        colluding=colluding,
        cap=cap,
        left=max(0.0, cap - epsilon),
        charges=sum(count for _, count in spent.entries),
        method=method_of(plan),
        basis=basis,
    )
