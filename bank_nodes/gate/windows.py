"""Which windows a monitoring plan has, and from when on a bank says anything about one."""

from __future__ import annotations

from datetime import datetime, time

from fraudfl.errors import NotNow, PlanError, ReleaseRefused
from fraudfl.monitoring.spec import WatchSpec
from fraudfl.plan import Plan
from fraudfl.protocols import Request


def spec_of(plan: Plan) -> WatchSpec:
    """The windows of a plan; raises PlanError when it has none."""
    if plan.watch is None:
        raise PlanError(f"plan {plan.hash[:12]} watches no window")
    return plan.watch


def refuse_early(plan: Plan, request: Request, now: datetime) -> None:
    """Refuse a window that is not over, or whose labels are not known yet, by the bank's own clock.

    Called before anything is charged: later the same request is answered. Other kinds of request pass.

    Raises:
        NotNow: with the day from which on it is answered.
        ReleaseRefused: when the plan has no such window.
    """
    if request.kind not in ("watch", "outcome"):
        return
    spec = spec_of(plan)
    if not 1 <= request.round <= spec.windows:
        raise ReleaseRefused(f"the plan has windows 1 to {spec.windows}; the request is about {request.round}")
    day = spec.ends(request.round) if request.kind == "watch" else spec.labels_known(request.round)
    opens = datetime.combine(day, time(), now.tzinfo)
    if now < opens:
        what = "is not over" if request.kind == "watch" else "has labels that are not known yet"
        raise NotNow(f"window {spec.name_of(request.round)} {what} before {day}", opens.isoformat())
