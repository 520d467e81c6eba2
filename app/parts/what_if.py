"""What if: the ε of another number of rounds, or of other noise, by the accounting that the ledgers use."""

from __future__ import annotations

from collections.abc import Iterable

import altair as alt
import pandas as pd
import streamlit as st

from app import reading
from app.parts import charts
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import colour
from fraudfl.plan import Plan
from fraudfl.report.facts import Phase
from fraudfl.report.words import small
from server.phases.budgeting import what_if
from server.store.workspace import Workspace

_PLANNED, _ASKED = "as planned", "what if"
_POINTS = 5


def ask(workspace: Workspace, phase: Phase) -> None:
    """Let the reader change rounds and noise of a private phase, and say what that would cost."""
    if phase.promise is None or phase.promise.epsilon is None:
        return
    plan = reading.plan(workspace, phase.name)
    if plan.noise_multiplier is None:
        return
    st.header("What if", anchor=False)
    if not st.toggle("Ask what other rounds or noise would cost", key="what-if", bind="query-params"):
        return
    left, right = st.columns(2)
    rounds = left.number_input(
        "Rounds that one bank takes part in", 1, 100_000, plan.rounds_per_bank, key="rounds", bind="query-params"
    )
    noise = right.number_input(
        "Noise multiplier of training", 0.05, 1e4, plan.noise_multiplier, 0.05, key="noise", bind="query-params",
        format="%.4f", help="The noise's standard deviation over the clipping norm, as all banks add it together.",
    )  # fmt: skip
    _answer(plan, rounds, noise, plan.noise_multiplier)


def _answer(plan: Plan, rounds: int, noise: float, planned: float) -> None:
    with st.spinner("Accounting"):
        asked = what_if(plan, rounds, noise)
        rows = [
            *_curve(plan, _PLANNED, sorted({*_up_to(plan.rounds_per_bank)}), planned),
            *_curve(plan, _ASKED, sorted({*_up_to(rounds)}), noise),
        ]
    cap = plan.privacy.epsilon
    cells = st.columns(3)
    cells[0].metric("ε at one bank", f"{asked.epsilon:.3f}", border=True)
    cells[1].metric(
        "δ, and the unit it protects",
        f"{small(plan.privacy.delta)}, {plan.privacy.unit}",
        border=True,
    )
    cells[2].metric("ε that the plan allows", f"{cap:g}", border=True)
    if plan.privacy.mode == "distributed" and asked.epsilon_colluding > asked.epsilon:
        st.caption(
            f"Against the coordinator with as many colluding banks as planned: ε = {asked.epsilon_colluding:.3f}."
        )
    charts.show(_chart(rows, cap), f"ε by rounds: {asked.epsilon:.3f} after {rounds} rounds at noise {noise:g}.")
    st.caption(
        "Everything else as planned: sampling, clipping, sketches, evaluation. The same composition as in the banks' "
        "ledgers, without repeated attempts. The model's accuracy changes with the noise, too; this does not say how."
    )
    table("what-if", rows, "ε by rounds, as planned and as asked")


def _up_to(rounds: int) -> Iterable[int]:
    return (max(1, round(rounds * part / _POINTS)) for part in range(1, _POINTS + 1))


def _curve(plan: Plan, name: str, rounds: Iterable[int], noise: float) -> list[Row]:
    return [
        {"curve": name, "rounds": number, "noise multiplier": noise, "ε": what_if(plan, number, noise).epsilon}
        for number in rounds
    ]


def _chart(rows: list[Row], cap: float | None) -> Drawn:
    scale = alt.Scale(domain=[_PLANNED, _ASKED], range=[colour("blue"), colour("orange")])
    lines: alt.Chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(point=True, strokeWidth=2)
        .encode(
            x=alt.X("rounds:Q", title="rounds that one bank takes part in", scale=alt.Scale(zero=True)),
            y=alt.Y("ε:Q", title="ε", scale=alt.Scale(zero=True)),
            color=alt.Color("curve:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
            tooltip=["curve", "rounds", alt.Tooltip("ε", format=".4f"), alt.Tooltip("noise multiplier", format=".4f")],
        )
    )
    return charts.under_cap(lines, cap)
