"""Gates at the end of a phase: what they say of its outcome, and what the operator's decisions make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fraudfl.gates.config import GateConfig
from fraudfl.gates.decision import GateDecision, still_holds
from fraudfl.gates.judging import judge, worst

STATUS = {"pass": "completed", "hold": "held", "fail": "gated"}
"""Status of a phase that came to its end, by what its gates say together."""


def gated(outcome: Mapping[str, Any], gates: Sequence[GateConfig]) -> dict[str, Any]:
    """The outcome with what its gates say of it, and the status that follows.

    Args:
        outcome: A phase's, complete: with its metrics and what was spent of ε. One that did not come to its end is
            given back as it is: there is nothing to judge.
        gates: The phase's.
    """
    if outcome["status"] != "completed":
        return dict(outcome)
    said = judge(outcome, gates)
    status = STATUS[worst(one.outcome for one in said)]
    return {**outcome, "status": status, "gates": [one.to_dict() for one in said]}


def released(outcome: Mapping[str, Any], decisions: Iterable[GateDecision]) -> dict[str, Any]:
    """The outcome with the decisions that are about it; `completed` once each hold in it is released.

    A gate that held goes on saying so; beside it, `released` tells by whom, why and when it was released. A decision
    about other figures, or another plan, changes nothing.

    Args:
        outcome: A phase's, as `gated` or this function gave it.
        decisions: Checked ones, of this phase instance.
    """
    if outcome["status"] != "held":
        return dict(outcome)
    about = [decision for decision in decisions if decision.plan_hash == outcome["plan_hash"]]
    gates = [_released(gate, about) for gate in outcome["gates"]]
    waiting = any(still_holds(gate) for gate in gates)
    return {**outcome, "status": "held" if waiting else "completed", "gates": gates}


def _released(gate: Mapping[str, Any], decisions: Iterable[GateDecision]) -> dict[str, Any]:
    decision = next((one for one in decisions if one.covers(gate)), None) if still_holds(gate) else None
    if decision is None:
        return dict(gate)
    return {**gate, "released": {"by": decision.by, "reason": decision.reason, "at": decision.at}}
