"""Money saved, at costs that the reader sets: by the share of transactions that are alerted."""

from __future__ import annotations

from typing import cast

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import reading_figures
from app.parts import charts, frame
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import colour
from app.roles import may
from app.views.curves import noise_words, way_colour, way_dash
from fraudfl.metrics.money import Alerting, Savings, Stakes, savings
from fraudfl.plan import Plan
from fraudfl.results.measured import Way
from fraudfl.results.spelling import WAY_NAMES
from pipelines.way_scores import WayScores
from server.store.workspace import Workspace

_LOSS = 100.0
_COST = 10.0
_TWO_SIDED = 1.96  # standard deviations to either side of which 95 % lie
_TICKS = [0, 0.1, 0.5, 1, 2, 3, 5, 10, 20, 30, 40, 50, 60, 80, 100]


def money(workspace: Workspace, phase: str, scores: WayScores, plan: Plan) -> None:
    """What alerts save, by how many there are."""
    st.header("Money saved", anchor=False)
    if not scores.federated.positive.any():
        st.caption("No fraud is among the test rows, or none is left in the sums after their noise.")
        return
    stakes = _stakes(workspace)
    # The other ways to train are released without noise, or counted exactly.
    noise = {"federated": scores.noise_variance}
    found = {
        cast(Way, way): savings(one, stakes, noise.get(way, 0.0)) for way, one in scores.by_way.items() if one.total
    }
    own, budget = found["federated"], plan.alert_budget
    _metrics(found, budget)
    furthest = min(1.0, max(4 * budget, 1.5 * max(one.best.share for one in found.values())))
    noisy = scores.noise_variance > 0
    rows = [row for way, one in found.items() for row in _rows(way, one, furthest, noisy=noisy)]
    said = "; ".join(f"{WAY_NAMES[way]} {one.at(budget).saved:,.0f}" for way, one in found.items())
    charts.show(
        _chart(rows, own, budget), f"Money saved by share of transactions alerted. At the alert budget: {said}."
    )
    st.caption(
        f"Frauds found times {stakes.loss_per_fraud:,.2f}, less alerts times {stakes.cost_per_alert:,.2f}, over "
        f"{scores.federated.total:,} test transactions, against having no alerts. The dashed line is the plan's alert "
        f"budget of {budget:.2%}; the dot is where the federated model saves most. Small shares are drawn wider. "
        + ("The band is what noise may make of it, with 95 %. " if noisy else "")
        + noise_words(scores)
    )
    if "alone" not in found:
        st.caption("Scores of the banks' own models are not kept for this phase, so it stands by itself.")
    st.caption(
        "Every fraud counts with the mean loss here. A bank sees its own gain, each fraud with its true amount, with "
        "`bank-node gain DIR --cost-per-alert COST`."
    )
    with st.expander("Money saved as a table"):
        table(f"{phase}-money", rows, f"Money saved in {phase} by share of transactions alerted")


def _stakes(workspace: Workspace) -> Stakes:
    """What the reader sets; the address holds it."""
    known = frame.attempt(lambda: reading_figures.fraud_amounts(workspace)) if may("look at single banks") else None
    left, right = st.columns(2)
    loss = left.number_input(
        "Mean loss per fraud that is not found",
        min_value=0.0,
        value=_LOSS if known is None else round(known.mean, 2),
        step=10.0,
        key="fraud-loss",
        bind="query-params",
    )
    cost = right.number_input(
        "Cost of looking at one alert", min_value=0.0, value=_COST, step=1.0, key="alert-cost", bind="query-params"
    )
    st.caption(
        "Both in one currency, whichever you count in. "
        + (
            "Nothing here tells what a fraud costs: put in your own figures."
            if known is None
            else f"{known.mean:,.2f} is the mean amount of the {known.frauds:,} frauds on this machine, amounts of all "
            "currencies taken as they are. The cost is an example: put in your own."
        )
    )
    return Stakes(_LOSS if loss is None else loss, _COST if cost is None else cost)


def _metrics(found: dict[Way, Savings], budget: float) -> None:
    own = found["federated"]
    cells = st.columns(3)
    _metric(cells[0], "Saved at the alert budget", own.at(budget))
    _metric(cells[1], "Most that can be saved", own.best)
    if "alone" in found:
        more = own.at(budget).saved - found["alone"].at(budget).saved
        cells[2].metric(
            "Federated less alone, at the budget",
            f"{more:+,.0f}",
            delta=f"{own.at(budget).found - found['alone'].at(budget).found:+,.0f} frauds found",
            delta_color="off",
            delta_arrow="off",
            border=True,
            help="Alone: each transaction is scored by its own bank's model.",
        )


def _metric(cell: DeltaGenerator, label: str, found: Alerting) -> None:
    below = f"{found.alerts:,.0f} alerts, {found.found:,.0f} frauds found"
    if found.noise:
        below = "with noise {:,.0f} to {:,.0f} (95 %)".format(*_ends(found))
    cell.metric(label, f"{found.saved:,.0f}", delta=below, delta_color="off", delta_arrow="off", border=True)


def _ends(found: Alerting) -> tuple[float, float]:
    """Between which what is saved lies, as far as noise goes."""
    return found.saved - _TWO_SIDED * found.noise, found.saved + _TWO_SIDED * found.noise


def _rows(way: Way, found: Savings, furthest: float, *, noisy: bool) -> list[Row]:
    """Points of one curve; with the ends of their intervals where noise is in any of the curves."""
    return [
        {
            "trained": WAY_NAMES[way],
            "alerted, %": 100 * one.share,
            "alerts": round(one.alerts),
            "frauds found": round(one.found),
            "money saved": round(one.saved, 2),
            **(dict(zip(("low", "high"), _ends(one), strict=True)) if noisy else {}),
        }
        for one in (*(point for point in found.points if point.share < furthest), found.at(furthest))
    ]


def _chart(rows: list[Row], own: Savings, budget: float) -> Drawn:
    names = [name for name in WAY_NAMES.values() if any(row["trained"] == name for row in rows)]
    axis = alt.Axis(values=_TICKS, format=".1~f", labelOverlap=True)
    x = alt.X("alerted, %:Q", title="transactions alerted (%)", axis=axis, scale=alt.Scale(type="sqrt", nice=False))
    y = alt.Y("money saved:Q", title="money saved (currency of the costs)", axis=alt.Axis(format=",.0f"))
    tips = [
        "trained",
        alt.Tooltip("alerted, %", format=".3f"),
        alt.Tooltip("alerts", format=","),
        "frauds found",
        alt.Tooltip("money saved", format=",.0f"),
    ]
    lines = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(strokeWidth=2)
        .encode(x=x, y=y, color=way_colour(names), strokeDash=way_dash(names), tooltip=tips)
    )
    best = pd.DataFrame([{"alerted, %": 100 * own.best.share, "money saved": own.best.saved}])
    dot = alt.Chart(best).mark_circle(color=colour("blue"), size=110, opacity=1).encode(x=x, y=y)
    at = alt.Chart(pd.DataFrame([{"alerted, %": 100 * budget}])).mark_rule(
        color=colour("ink"), strokeDash=[6, 3], size=1.5
    )
    zero = alt.Chart(pd.DataFrame([{"money saved": 0.0}])).mark_rule(color=colour("muted"), size=1).encode(y=y)
    layers = [zero, lines, at.encode(x=x), dot]
    if "low" in rows[0]:
        told = alt.Chart(pd.DataFrame([row for row in rows if row["trained"] == WAY_NAMES["federated"]]))
        layers.insert(0, told.mark_area(opacity=0.2, color=colour("blue")).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"))
    return alt.layer(*layers).properties(height=380)
