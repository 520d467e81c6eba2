"""How figures with intervals are spelled in the report of results."""

from __future__ import annotations

from collections.abc import Sequence

from fraudfl.metrics.figures import FigureName
from fraudfl.report.sections.phases import KINDS
from fraudfl.report.words import NONE
from fraudfl.results.facts import PhaseResult
from fraudfl.results.measured import Estimate, Way

FIGURE_NAMES: dict[FigureName, str] = {
    "balanced_accuracy": "Balanced accuracy",
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "recall_at_budget": "Recall at alert budget",
}
"""The report's order: first what the committee asks for."""
PERCENT: frozenset[FigureName] = frozenset({"balanced_accuracy", "recall_at_budget"})
WAY_NAMES: dict[Way, str] = {
    "federated": "federated",
    "alone": "alone",
    "xgboost alone": "XGBoost alone",
    "pooled": "pooled",
    "xgboost pooled": "XGBoost pooled",
}
KIND_NAMES = KINDS | {
    "hello": "who is there",
    "profile": "data counted",
    "readiness": "sums made known",
    "watch": "window watched",
    "outcome": "window judged",
}
SOURCES = {
    "exact": "exact: all test rows were at hand, as in simulation only",
    "released": "released: summed from what banks released, and accounted",
}


def estimate(found: Estimate | None, *, percent: bool = False, signed: bool = False) -> str:
    """A figure and its interval, such as `0.627 (0.56 to 0.71)`; a dash where there is none."""
    if found is None:
        return NONE
    value = _spelled(found.value, percent, signed)
    unit = " %" if percent else ""
    if found.low is None or found.high is None:
        return value + unit
    return f"{value}{unit} ({_spelled(found.low, percent, signed)} to {_spelled(found.high, percent, signed)})"


def share(value: float | None) -> str:
    """A share as a percentage; a dash where there is none."""
    return NONE if value is None else f"{value:.1%}".replace("%", " %")


def counted(found: Estimate) -> str:
    """A count, with its interval where noise leaves one."""
    if found.low is None or found.high is None:
        return f"{found.value:,.0f}"
    return f"{found.value:,.0f} ({found.low:,.0f} to {found.high:,.0f})"


def epsilon(phase: PhaseResult) -> str:
    """The ε of a phase: what the plan promises, and what was spent of it."""
    spent = phase.spent
    if spent.promised is None:
        return "none promised"
    used = "" if spent.epsilon is None else f", {spent.epsilon:.3f} spent"
    return f"{spent.promised:g}{used}"


def gates_in_short(phase: PhaseResult) -> str:
    """What the gates said, counted."""
    if not phase.gates:
        return NONE
    said = [gate.outcome for gate in phase.gates]
    released = sum(gate.released is not None for gate in phase.gates)
    counts = [f"{said.count(word)} {word}" for word in ("pass", "hold", "fail") if word in said]
    return ", ".join(counts) + (f", {released} released" if released else "")


def joined(parts: Sequence[str]) -> str:
    """Parts that there are, apart from each other."""
    return " · ".join(part for part in parts if part)


def _spelled(value: float, percent: bool, signed: bool) -> str:
    sign = "+" if signed else ""
    return f"{value * 100:{sign}.1f}" if percent else f"{value:{sign}.3f}"
