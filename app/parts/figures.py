"""Figures of a phase as charts and rows: ways to train side by side, with intervals."""

from __future__ import annotations

import streamlit as st

from app.parts import charts
from app.parts.tables import Row
from app.parts.theme import WAY_INKS
from fraudfl.metrics.figures import FigureName
from fraudfl.results.facts import PhaseResult
from fraudfl.results.measured import Estimate
from fraudfl.results.spelling import FIGURE_NAMES, PERCENT, WAY_NAMES, estimate

_UNITS: dict[FigureName, str] = {
    "balanced_accuracy": "mean of both classes' shares, %",
    "auprc": "area, 0 to 1",
    "auroc": "area, 0 to 1",
    "recall_at_budget": "share of frauds, %",
}


def figure_rows(phase: PhaseResult) -> list[Row]:
    """One row for each way to train and figure, with the ends of its 95 % interval."""
    return [
        {
            "trained": WAY_NAMES[way.way],
            "figure": FIGURE_NAMES[name],
            "value": found.value,
            "low": found.low,
            "high": found.high,
        }
        for way in phase.ways
        for name in FIGURE_NAMES
        if (found := way.figure(name)) is not None
    ]


def ways_chart(phase: PhaseResult, name: FigureName) -> None:
    """Ways to train by one figure."""
    label = FIGURE_NAMES[name]
    rows = [row for row in figure_rows(phase) if row["figure"] == label]
    if not rows:
        return
    share = name in PERCENT
    title = f"{label} ({_UNITS[name]})"
    said = ", ".join(f"{WAY_NAMES[way.way]} {estimate(way.figure(name), percent=share)}" for way in phase.ways)
    inks = {WAY_NAMES[way]: ink for way, ink in WAY_INKS.items()}
    chart = charts.intervals(rows, name="trained", value="value", title=title, inks=inks, percent=share)
    charts.show(chart, f"{label} with 95 % intervals: {said}.")


def figure_metric(
    label: str, found: Estimate | None, *, percent: bool, against: str = "", spread: str = "95 %", help_text: str = ""
) -> None:
    """One figure with its interval below it, and what it is compared with.

    Args:
        spread: What the interval is.
    """
    if found is None:
        st.metric(label, "—", help=help_text or None, border=True)
        return
    whole = estimate(found, percent=percent)
    value, _, ends = whole.partition(" (")
    below = f"{spread}: {ends.removesuffix(')')}" if ends else ""
    st.metric(
        label,
        value,
        delta=" · ".join(part for part in (below, against) if part) or None,
        delta_color="off",
        delta_arrow="off",
        help=help_text or None,
        border=True,
    )
