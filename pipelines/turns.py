"""Whose turn it is: which banks are asked in one attempt at one question, and how many of them must answer."""

from __future__ import annotations

import math
from collections.abc import Iterable

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
    ready = circle.ready(number, phase.world.fleet.present())
    if len(ready) < least:
        circle.rests.clear()
        ready = circle.ready(number, phase.world.fleet.present())
    if len(ready) < least:
        # Those that are away are waited for as long as the terms say.
        ready = circle.ready(number, phase.world.fleet.banks())
    if len(ready) < least:
        raise QuorumError(
            f"round {number}: {len(ready)} banks can be asked, and a sum needs {least}. {_others(phase, ready)}"
        )
    return circle.draw(ready, cohort_size(phase, kind), phase.plan.seed, number, attempt)


def why_left_out(phase: Phase, since: int) -> str:
    """Which banks were left out since the list of them was so long, and why."""
    said = {item["bank"]: item["reason"] for item in phase.state.excluded[since:]}
    return _listed(f"{bank}: {reason}" for bank, reason in said.items())


def _others(phase: Phase, ready: list[str]) -> str:
    gone = phase.state.circle.gone
    return _listed(
        f"{bank}: {'said no' if bank in gone else 'has no keys of this phase'}"
        for bank in phase.world.fleet.banks()
        if bank not in ready
    )


def _listed(parts: Iterable[str]) -> str:
    named = list(parts)
    more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return "; ".join(named[:_NAMED]) + more
