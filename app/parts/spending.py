"""What was spent: at each bank in the course of a phase, and in all phases together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import altair as alt
import pandas as pd
import streamlit as st

from app import reading
from app.parts import charts
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import colour
from app.roles import banks_shown
from fraudfl.report.course import Moment, in_total
from fraudfl.report.facts import Phase
from fraudfl.report.words import count_of, minute, small
from server.store.workspace import Workspace

_MOST, _MIDDLE = "most at one bank", "median of banks"


def over_time(workspace: Workspace, phase: Phase) -> None:
    """How ε grew at the banks of one phase, against what its plan promises."""
    spent = phase.spending
    if spent is None:
        return
    st.header("ε in the course of the phase", anchor=False)
    moments = reading.epsilon_course(workspace, phase.name)
    if not moments:
        st.caption(f"Nothing that costs ε has left in {phase.name} yet.")
        return
    banks = banks_shown(moments[-1].epsilon)
    bank = st.selectbox("Bank", banks, index=None, key="bank", bind="query-params", width=320) if banks else None
    rows = _rows(moments, bank)
    charts.show(
        _chart(rows, spent.cap, bank),
        f"ε spent over time: in the end {moments[-1].most:.3f} at one bank at most, {moments[-1].middle:.3f} in the "
        f"median; the plan allows {spent.cap}.",
    )
    st.caption(
        f"At δ = {small(spent.delta)}, for one {spent.unit}, of {count_of(len(moments[-1].epsilon), 'bank')}; the "
        "dashed line is what the plan allows. By what the coordinator received: what was lost on its way is in the "
        "bank's ledger only."
    )
    each: list[Row] = [
        {"bank": name, "when": minute(moment.at), "after round": moment.round, "ε": epsilon}
        for moment in moments
        for name, epsilon in moment.epsilon.items()
        if name in banks
    ]
    if not each:
        return
    with st.expander("ε by bank over time as a table"):
        table(f"{phase.name}-epsilon-course", each, f"ε of each bank in the course of {phase.name}")


def _rows(moments: Sequence[Moment], bank: str | None) -> list[Row]:
    rows: list[Row] = []
    for moment in moments:
        lines = {_MOST: moment.most, _MIDDLE: moment.middle}
        if bank is not None and bank in moment.epsilon:
            lines[bank] = moment.epsilon[bank]
        rows += [{"when": moment.at, "round": moment.round, "who": who, "ε": spent} for who, spent in lines.items()]
    return rows


def _chart(rows: list[Row], cap: float | None, bank: str | None) -> Drawn:
    inks = {_MOST: colour("blue"), _MIDDLE: colour("green")} | ({} if bank is None else {bank: colour("orange")})
    lines: alt.Chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(point=True, interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("when:T", title="time (UTC)", scale=alt.Scale(type="utc"), axis=_dial(rows)),
            y=alt.Y("ε:Q", title="ε", scale=alt.Scale(zero=True)),
            color=alt.Color(
                "who:N",
                scale=alt.Scale(domain=[*inks], range=[*inks.values()]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=["who", alt.Tooltip("ε", format=".4f"), "round", "when"],
        )
    )
    return charts.under_cap(lines, cap)


def _dial(rows: list[Row]) -> alt.Axis:
    """Labels of an axis of time: the clock for what took less than two days, else the calendar."""
    ends = [datetime.fromisoformat(str(row["when"])) for row in (rows[0], rows[-1])]
    form = "%H:%M:%S" if ends[1] - ends[0] < timedelta(days=2) else "%Y-%m-%d"
    return alt.Axis(format=form, tickCount=6, labelOverlap=True)


def in_all_phases(phases: Sequence[Phase]) -> None:
    """What each bank spent in all phases together."""
    found = in_total(phases)
    if not found:
        return
    st.header("All phases together", anchor=False)
    first = found[0]
    st.caption(
        f"The most that one bank spent is ε = {first.epsilon:.3f} at δ = {small(first.delta)} for one {first.unit}, in "
        f"{count_of(first.phases, 'phase')}. ε and δ are added up, which holds whichever phase was chosen after seeing "
        "another; each bank's own ledger caps its month and its whole history, and may bound them closer."
    )
    shown = {*banks_shown(one.bank for one in found)}
    rows: list[Row] = [
        {"bank": one.bank, "ε": one.epsilon, "δ": small(one.delta), "unit": one.unit, "phases": one.phases}
        for one in found
        if one.bank in shown
    ]
    table("privacy-in-total", rows, "ε and δ of each bank in all phases")
