"""Monitoring: what moved since the model was trained, what it still finds, and what rules did about it."""

from __future__ import annotations

from collections.abc import Callable

import altair as alt
import pandas as pd
import streamlit as st

from app import reading, reading_figures
from app.parts import charts, frame
from app.parts.tables import Row, table
from app.parts.theme import dark
from app.views.bank_drift import drift_by_bank
from app.views.distributions import scores_by_window
from app.views.label_delay import label_delay
from fraudfl.monitoring.settings import SIGNIFICANCE
from fraudfl.report.words import NONE, count_of
from fraudfl.results.facts import PhaseResult
from fraudfl.results.kinds import WatchedWindow, Watching
from fraudfl.results.measured import Estimate
from fraudfl.results.pictures.canvas import Ink
from server.store.workspace import Workspace

_FIGURES: tuple[tuple[str, str, Ink, bool, Callable[[WatchedWindow], Estimate | None]], ...] = (
    ("AUPRC", "AUPRC (0 to 1)", "blue", False, lambda one: one.auprc),
    ("recall", "recall at alert budget (%)", "green", True, lambda one: one.recall_at_budget),
    ("missed", "missed frauds (quiet = 1)", "vermillion", False, lambda one: one.missed),
    ("alerts", "alerts per transaction (%)", "purple", True, lambda one: one.alert_rate),
)


def show() -> None:
    """Draw the page."""
    frame.page("Monitoring", "Whether the model still finds what it found when it was trained.", _draw)


def _draw(workspace: Workspace) -> None:
    found = reading.results(workspace)
    frame.problems(found)
    watched = [phase for phase in found.phases if phase.watching is not None]
    if not watched:
        frame.empty(
            "No monitoring has ended here yet. Add a phase of kind `monitoring` to the consortium's file.",
            f"fraudfl run CONFIG --workspace {workspace.path} --resume",
        )
        return
    phase = frame.choose_phase(watched)
    if phase.watching is not None:
        _watched(workspace, phase, phase.watching)


def _watched(workspace: Workspace, phase: PhaseResult, found: Watching) -> None:
    cells = st.columns(3)
    cells[0].metric("Windows watched", f"{len(found.windows)} of {found.planned}", border=True)
    cells[1].metric("Alerts", len(found.alerts), border=True)
    cells[2].metric("Challengers and rollbacks", len(found.actions), border=True)
    st.caption(f"The first {count_of(found.quiet, 'window')} are the reference that later ones are compared with.")
    _alerts(phase, found)
    _figures(found)
    _drift(phase, found)
    drift_by_bank(workspace, phase)
    counted = frame.attempt(lambda: reading_figures.windows(workspace, phase.name))
    if counted is not None and counted.observed:
        scores_by_window(phase, counted)
        label_delay(workspace, phase, counted)
    _windows(phase, found)


def _alerts(phase: PhaseResult, found: Watching) -> None:
    st.header("Alerts, and what was done", anchor=False)
    if not found.alerts:
        st.caption("No rule raised an alert.")
    alerts: list[Row] = [
        {"day": one.day, "rule": one.rule, "severity": one.severity, "window": one.window, "reason": one.reason}
        for one in found.alerts
    ]
    table(f"{phase.name}-alerts", alerts, f"Alerts of {phase.name}", whole=True)
    actions: list[Row] = [
        {
            "day": one.day,
            "action": one.action,
            "after alert": one.alert,
            "phase": one.phase or NONE,
            "version": NONE if one.version is None else str(one.version),
            "another model in use since": "yes" if one.done else "no",
            "reason": one.reason,
        }
        for one in found.actions
    ]
    table(f"{phase.name}-actions", actions, f"Challengers and rollbacks of {phase.name}", whole=True)


def _figures(found: Watching) -> None:
    st.header("Figures by window", anchor=False)
    cells = st.columns(2)
    for place, (name, title, ink, percent, of) in enumerate(_FIGURES):
        rows: list[Row] = [
            {"window begins": one.first, name: figure.value, "low": figure.low, "high": figure.high}
            for one in found.windows
            if (figure := of(one)) is not None
        ]
        if rows:
            titles = ("window begins", title)
            drawn = charts.line(rows, along="window begins", value=name, titles=titles, ink=ink, percent=percent)
            with cells[place % 2]:
                charts.show(drawn, f"{title} in each of {count_of(len(rows), 'window')}, with 95 % intervals.")
    st.caption("Bands are 95 % intervals. Figures of a window come when its labels are known.")


def _drift(phase: PhaseResult, found: Watching) -> None:
    st.header("Drift by feature", anchor=False)
    rows: list[Row] = [
        {
            "window begins": window.first,
            "feature": one.name,
            "PSI": one.psi,
            "p, adjusted": one.p,
            "sign": "•" if one.p <= SIGNIFICANCE else "",
        }
        for window in found.windows
        for one in window.drifts
    ]
    if not rows:
        st.caption("No window was compared with the reference yet.")
        return
    worst: dict[str, float] = {}
    for row in rows:
        worst[str(row["feature"])] = max(worst.get(str(row["feature"]), 0.0), float(str(row["PSI"])))
    names = sorted(worst, key=lambda name: (name != "score", -worst[name]))
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("window begins:O", title="window begins", axis=charts.SLANTED),
        y=alt.Y("feature:N", sort=names, title=None, axis=alt.Axis(labelLimit=240)),
    )
    scale = alt.Scale(scheme="viridis", reverse=not dark())
    tips = ["feature", "window begins", *(alt.Tooltip(name, format=".3g") for name in ("PSI", "p, adjusted"))]
    cells = base.mark_rect().encode(
        color=alt.Color("PSI:Q", scale=scale, legend=alt.Legend(title="PSI")),
        tooltip=tips,
    )
    # A white disc with a black rim is seen on every colour of the scale.
    marks = base.mark_circle(size=42, color="#ffffff", stroke="#000000", strokeWidth=1, opacity=1)
    signs = marks.transform_filter("datum.sign != ''")
    drawn = alt.layer(cells, signs).properties(height=22 * len(names) + 110)
    charts.show(drawn, f"PSI of the score and of features by window; {names[0]} stands first, then what moved most.")
    st.caption(
        "PSI: population stability index, no unit. A dot: moved beyond chance, p at most "
        f"{SIGNIFICANCE:.0%} after adjustment."
    )
    with st.expander("Drift as a table"):
        plain = [{name: value for name, value in row.items() if name != "sign"} for row in rows]
        table(f"{phase.name}-drift", plain, f"Drift of {phase.name} by window and feature")


def _windows(phase: PhaseResult, found: Watching) -> None:
    st.header("Windows", anchor=False)
    rows: list[Row] = [
        {
            "window": one.number,
            "begins": one.first,
            "model": one.model,
            "rows": one.rows,
            "largest PSI": max((drift.psi for drift in one.drifts), default=None),
            **{title: _cell(of(one), percent) for _, title, _, percent, of in _FIGURES},
        }
        for one in found.windows
    ]
    table(f"{phase.name}-windows", rows, f"Windows of {phase.name}")


def _cell(figure: Estimate | None, percent: bool) -> float | None:
    """A figure in the unit of its heading."""
    return None if figure is None else figure.value * (100 if percent else 1)
