"""Whose turn it is: which banks are asked in one attempt at one question, and how many of them must answer."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from fraudfl.errors import QuorumError
from fraudfl.protocols import Kind
from pipelines.world import Phase

_NAMED = 20


def cohort_size(phase: Phase, kind: Kind) -> int | None:
    """Rounds of training take turns; what is counted once in a phase is counted at every bank."""
    return phase.terms.cohort if kind == "train" else None


def fewest(phase: Phase, kind: Kind) -> int:
    """Fewest banks that must answer: the quorum of those that are asked, and of a sum the plan's minimum cohort."""
    there = len(phase.world.fleet.banks())
    asked = min(there, cohort_size(phase, kind) or there)
    return max(phase.plan.min_cohort, math.ceil(phase.terms.quorum * asked - 1e-9), 1)


def whose_turn(phase: Phase, kind: Kind, number: int, attempt: int) -> tuple[str, ...]:
    """The members to ask now; where too few are ready, those who sit out are called back, and those away waited for.

    Raises:
        QuorumError: when too few are members at all; it names the others.
    """
    circle, least = phase.state.circle, fewest(phase, kind)
    ready = _ready(phase, kind, number, phase.world.fleet.present())
    if len(ready) < least:
        circle.rests.clear()
        ready = _ready(phase, kind, number, phase.world.fleet.present())
    if len(ready) < least:
        # Those that are away are waited for as long as the terms say.
        ready = _ready(phase, kind, number, phase.world.fleet.banks())
    if len(ready) < least:
        raise QuorumError(
            f"round {number}: {len(ready)} banks can be asked, and a sum needs {least}. {_others(phase, ready)}"
        )
    return circle.draw(ready, cohort_size(phase, kind), phase.plan.seed, number, attempt)


def _ready(phase: Phase, kind: Kind, number: int, present: Collection[str]) -> list[str]:
    """Members that can be asked; with a cohort none that took part in as many rounds as its noise is calibrated for."""
    ready = phase.state.circle.ready(number, present)
    if cohort_size(phase, kind) is None:
        return ready
    return phase.state.circle.with_turns_left(ready, phase.plan.rounds_per_bank)


def why_left_out(phase: Phase, since: int) -> str:
    """Which banks were left out since the list of them was so long, and why."""
    said = {item["bank"]: item["reason"] for item in phase.state.excluded[since:]}
    return _listed(f"{bank}: {reason}" for bank, reason in said.items())


def _others(phase: Phase, ready: list[str]) -> str:
    return _listed(f"{bank}: {_why_not(phase, bank)}" for bank in phase.world.fleet.banks() if bank not in ready)


def _why_not(phase: Phase, bank: str) -> str:
    circle, most = phase.state.circle, phase.plan.rounds_per_bank
    if bank in circle.gone:
        return "said no"
    if bank in circle.members and not circle.with_turns_left([bank], most):
        return f"had its {most} rounds"
    return "has no keys of this phase"


def _listed(parts: Iterable[str]) -> str:
    named = list(parts)
    more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return "; ".join(named[:_NAMED]) + more
