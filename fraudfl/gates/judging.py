"""Judges a phase's outcome by its gates: with intervals, and with reasons that a committee can read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fraudfl.gates.config import GateConfig, Verdict
from fraudfl.gates.measures import MEASURES, Measured, PhaseOutcome, Unknown
from fraudfl.metrics.bootstrap import Interval

_SEVERITY: tuple[Verdict, ...] = ("pass", "hold", "fail")


@dataclass(frozen=True)
class GateOutcome:
    """What one gate says.

    Attributes:
        name: The gate's.
        outcome: `pass`, `hold` or `fail`.
        reason: In plain words, with the figures.
        threshold: What was asked for.
        value: The figure; None where the outcome does not hold it.
        interval: Its 95 % interval; None where there is none.
    """

    name: str
    outcome: Verdict
    reason: str
    threshold: float
    value: float | None
    interval: Interval | None

    def to_dict(self) -> dict[str, str]:
        """As `summary.json` lists it."""
        return {"name": self.name, "outcome": self.outcome, "reason": self.reason}


def judge(outcome: PhaseOutcome, gates: Sequence[GateConfig]) -> tuple[GateOutcome, ...]:
    """What each gate says of a phase, in the gates' order.

    Args:
        outcome: One entry of `phases` in `summary.json`, complete: with its metrics and what was spent of ε.
        gates: The phase's.
    """
    return tuple(_judge(outcome, gate) for gate in gates)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """What gates say together: the worst of what each says; `pass` where there is none."""
    return max(verdicts, key=_SEVERITY.index, default="pass")


def _judge(outcome: PhaseOutcome, gate: GateConfig) -> GateOutcome:
    found = MEASURES[gate.measure].read(outcome, gate.more_than or 0.0)
    if isinstance(found, Measured) and not found.exact and found.interval is None and gate.deciding != "point":
        words = f"{_meaning(gate)} is {found.value:.4g}, but the outcome holds no interval for it"
        found = Unknown(f"{words}; `bound: point` would do without")
    if isinstance(found, Unknown):
        reason = f"{found.reason}. Asked for: {_asked(gate)}. The gate says `{gate.missing}` when it cannot tell"
        return GateOutcome(gate.name, gate.missing, reason, gate.threshold, None, None)
    verdict, why = _decide(gate, found)
    note = f" ({found.note})" if found.note else ""
    reason = f"{_meaning(gate)} is {_spelled(found)}{note}. Asked for: {_asked(gate)}, {why}"
    return GateOutcome(gate.name, verdict, reason, gate.threshold, found.value, found.interval)


def _decide(gate: GateConfig, found: Measured) -> tuple[Verdict, str]:
    """The verdict, and the end of the sentence that says why."""
    if found.exact or found.interval is None or gate.deciding == "point":
        by = "" if found.exact else " by the figure itself, whatever its error"
        return ("pass", f"which is met{by}") if gate.met_by(found.value) else ("fail", f"which is missed{by}")
    cautious, other = found.interval if gate.cautious == "lower" else reversed(found.interval)
    ends = ("lower", "upper") if gate.cautious == "lower" else ("upper", "lower")
    if gate.met_by(cautious):
        return "pass", f"which even the interval's {ends[0]} end meets"
    if not gate.met_by(other):
        return "fail", f"which even the interval's {ends[1]} end misses"
    if gate.deciding != gate.cautious:
        return "pass", f"of the interval's {ends[1]} end only: a miss is not shown"
    reason = f"which the interval's {ends[0]} end misses and its {ends[1]} end meets: the data cannot tell"
    return gate.unsure or "hold", reason


def _meaning(gate: GateConfig) -> str:
    loss = f" more than {gate.more_than:g} in AUPRC" if gate.more_than is not None else ""
    return MEASURES[gate.measure].meaning + loss


def _asked(gate: GateConfig) -> str:
    return f"at {'least' if gate.at_least is not None else 'most'} {gate.threshold:g}"


def _spelled(found: Measured) -> str:
    if math.isinf(found.value):
        return "without bound"
    if found.interval is None:
        return f"{found.value:.4g}"
    return f"{found.value:.4g}, with 95 % interval {found.interval[0]:.4g} to {found.interval[1]:.4g}"
