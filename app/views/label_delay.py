"""How soon labels of monitored windows come."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from app import reading_figures
from app.parts import charts, frame
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import colour
from app.reading_figures import WatchedWindows
from app.views.distributions import first_day
from fraudfl.monitoring.distribution import known_labels
from fraudfl.monitoring.observed import Observed
from fraudfl.report.words import NONE, count_of
from fraudfl.results.facts import PhaseResult
from server.reports.label_delays import LabelDelays
from server.store.workspace import Workspace


def label_delay(workspace: Workspace, phase: PhaseResult, found: WatchedWindows) -> None:
    """When labels are taken to be known, how many were, and how long they took where that was counted."""
    st.header("Label delay", anchor=False)
    days, after = found.plan.split.label_delay_days, found.spec.labels_after_days
    cells = st.columns(2)
    cells[0].metric(
        "Labels are asked for, after a window's end",
        f"{after:g} days",
        border=True,
        help="`labels_after_days` of the monitoring phase; labels that come later are in no figure.",
    )
    cells[1].metric(
        "Delay of labels that have no time of their own",
        f"{days:g} days",
        border=True,
        help="`split.label_delay_days`; training uses no label before it is known.",
    )
    rows = [_label_row(found, one) for one in found.observed]
    known = [{**row, "low": None, "high": None} for row in rows if row["labels known, %"] is not None]
    if any(one.outcome_noise for one in found.observed):
        st.caption("Counts of labels carry noise: shares are near to the true ones.")
    left, right = st.columns(2)
    with left:
        if known:
            drawn = charts.line(
                known, along="window begins", value="labels known, %", ink="green",
                titles=("window begins", "labels known when asked (%)"),
            )  # fmt: skip
            charts.show(drawn, f"Labels known when they were asked for, in each of {len(known)} windows.")
        else:
            st.caption("Labels of no window were asked for yet, or not the same banks answered with scores and labels.")
    with right:
        delays = frame.attempt(lambda: reading_figures.label_delays(workspace))
        if delays is None:
            st.caption(
                "How long labels take is counted by an assessment, of banks that map a `label_time`. Add a phase of "
                "kind `assessment` to the consortium's file to see it here."
            )
        else:
            charts.show(_delay_chart(delays, days), f"Share of labels known by age: {_delay_words(delays)}.")
            st.caption(
                f"Counted in {delays.phase}, summed over banks. The dashed line is the plan's {days:g} days. "
                f"{_delay_words(delays)}."
            )
    table(f"{phase.name}-labels", rows, f"Labels of {phase.name} by window")


def _label_row(found: WatchedWindows, one: Observed) -> Row:
    share = known_labels(one)
    counted = None if one.outcome is None else round(float(one.outcome.sum()))
    return {
        "window begins": first_day(found, one),
        "window is over": found.spec.ends(one.window).isoformat(),
        "labels asked for": found.spec.labels_known(one.window).isoformat(),
        "transactions": round(float(one.scores.sum())),
        "with a label": counted,
        "labels known, %": None if share is None else 100 * share,
    }


def _delay_words(found: LabelDelays) -> str:
    picked = [days for days in found.within if days in (1.0, 7.0, 14.0, 30.0)]
    return ", ".join(f"{found.within[days].value:.1%} within {count_of(int(days), 'day')}" for days in picked) or NONE


def _delay_chart(found: LabelDelays, planned: float) -> Drawn:
    rows = [{"days": days, "share": one.value, "low": one.low, "high": one.high} for days, one in found.within.items()]
    marks = [days for days in (*found.within, planned) if days >= 1]
    scale = alt.Scale(type="log", nice=False)
    axis = alt.Axis(format=".1~f", values=sorted({*marks}), labelOverlap=True)
    x = alt.X("days:Q", title="days after the transaction (logarithmic)", scale=scale, axis=axis)
    y = alt.Y("share:Q", title="labels known (%)", axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1]))
    tips = [alt.Tooltip("days", format=".3~g"), *(alt.Tooltip(name, format=".2%") for name in ("share", "low", "high"))]
    base = alt.Chart(pd.DataFrame(rows))
    band = base.mark_area(opacity=0.22, color=colour("green")).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(color=colour("green"), strokeWidth=2).encode(x=x, y=y)
    dots = base.mark_circle(color=colour("green"), size=40, opacity=1).encode(x=x, y=y, tooltip=tips)
    layers = [band, line, dots]
    if planned > 0:
        rule = alt.Chart(pd.DataFrame([{"days": planned}])).mark_rule(color=colour("ink"), strokeDash=[6, 3], size=1.5)
        layers.append(rule.encode(x=x))
    return alt.layer(*layers).properties(height=290)
