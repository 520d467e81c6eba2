"""Accuracy: what the model finds, round by round, at each bank, and at each threshold."""

from __future__ import annotations

from itertools import pairwise

import altair as alt
import pandas as pd
import streamlit as st

from app import reading, reading_figures
from app.parts import charts, frame
from app.parts.charts import Drawn
from app.parts.figures import figure_rows, ways_chart
from app.parts.tables import Row, table
from app.parts.theme import colour
from app.roles import banks_shown
from app.views.curves import calibration, precision_recall
from app.views.money import money
from fraudfl.metrics.figures import FigureName
from fraudfl.report.words import count_of
from fraudfl.results.facts import PhaseResult
from fraudfl.results.measured import GainBins
from fraudfl.results.spelling import FIGURE_NAMES, SOURCES, WAY_NAMES, estimate
from server.store.workspace import Workspace
from server.trust.decisions import outcome_of

_ALL: tuple[FigureName, ...] = ("auprc", "balanced_accuracy", "recall_at_budget", "auroc")


def show() -> None:
    """Draw the page."""
    frame.page("Accuracy", "How well the models find fraud in later transactions, and what each bank gains.", _draw)


def _draw(workspace: Workspace) -> None:
    found = reading.results(workspace)
    frame.problems(found)
    measured = [phase for phase in found.phases if phase.ways or phase.rounds]
    if not measured:
        frame.empty("No phase has trained yet; figures come with the first pilot or rollout.")
        return
    phase = frame.choose_phase(measured, found.headline)
    if phase.source is not None:
        st.caption(f"Figures are {SOURCES[phase.source]}. Whiskers are 95 % intervals.")
    _ways(phase)
    _scores(workspace, phase)
    _rounds(phase)
    _gains(workspace, phase)


def _ways(phase: PhaseResult) -> None:
    if not phase.ways:
        frame.empty(f"{phase.name} has no figures yet; its banks score the model when it has trained.")
        return
    for pair in (_ALL[:2], _ALL[2:]):
        for cell, name in zip(st.columns(2), pair, strict=True):
            with cell:
                ways_chart(phase, name)
    for one in phase.compared:
        if one.figure in ("auprc", "balanced_accuracy"):
            share = one.figure != "auprc"
            gain = estimate(one.gain, percent=share, signed=True)
            st.markdown(f"{FIGURE_NAMES[one.figure]}: federated less {WAY_NAMES[one.rival]}, {gain} (95 % interval).")
    table(f"{phase.name}-accuracy", figure_rows(phase), f"Figures of {phase.name}, with 95 % intervals")


def _scores(workspace: Workspace, phase: PhaseResult) -> None:
    """Everything that is drawn from score histograms."""
    found = frame.attempt(lambda: reading_figures.way_scores(workspace, phase.name))
    if found is None:
        st.header("Precision and recall, calibration, money saved", anchor=False)
        st.caption(f"{phase.name} holds no score histogram yet; it comes when its banks have scored the model.")
        return
    plan = reading.plan(workspace, phase.name)
    precision_recall(phase.name, found, plan)
    calibration(phase.name, found)
    money(workspace, phase.name, found, plan)


def _rounds(phase: PhaseResult) -> None:
    st.header("Round by round", anchor=False)
    rows: list[Row] = [
        {"round": one.number, "banks": one.banks, "AUPRC": one.auprc, "loss": one.loss} for one in phase.rounds
    ]
    if not rows:
        st.caption(f"{phase.name} has no rounds yet.")
        return
    looked = [row for row in rows if row["AUPRC"] is not None]
    told = [row for row in rows if row["loss"] is not None]
    left, right = st.columns(2)
    with left:
        if looked:
            titles = ("round", "AUPRC on validation rows (0 to 1)")
            drawn = charts.line(looked, along="round", value="AUPRC", titles=titles, ink="blue")
            charts.show(drawn, "AUPRC on validation rows by round.")
        else:
            st.caption("AUPRC by round stayed at the banks: no budget was given for it.")
    with right:
        if told:
            drawn = charts.line(
                told, along="round", value="loss", titles=("round", "training loss (nats)"), ink="orange"
            )
            charts.show(drawn, "Training loss by round.")
        else:
            st.caption("The training loss stayed at the banks: no budget was given for it.")
    with st.expander("Rounds as a table"):
        table(f"{phase.name}-rounds", rows, f"Rounds of {phase.name}")


def _gains(workspace: Workspace, phase: PhaseResult) -> None:
    st.header("What banks gain", anchor=False)
    ended = phase.status != "begun"
    metrics = outcome_of(workspace, phase.name)["metrics"] if ended else None
    every_bank = (metrics or {}).get("per_bank") or {}
    per_bank = {bank: every_bank[bank] for bank in banks_shown(every_bank)}
    if per_bank:
        _gain_of_banks(phase, per_bank)
    elif phase.gains is not None:
        _gain_bins(phase, phase.gains)
    else:
        said = "are not shown to you" if every_bank else "stay at the banks"
        st.caption(f"Figures of single banks {said}, and this phase's plan does not count their gains.")


def _gain_of_banks(phase: PhaseResult, per_bank: dict[str, dict[str, float | list[float] | None]]) -> None:
    rows: list[dict[str, object]] = []
    for bank, one in per_bank.items():
        alone, own, ends = one["alone"], one["federated"], one["interval"]
        if isinstance(alone, float) and isinstance(own, float):
            low, high = ends if isinstance(ends, list) else (None, None)
            rows.append({"bank": bank, "alone": alone, "federated": own, "gain": own - alone, "low": low, "high": high})
    if not rows:
        st.caption("No bank has frauds to test on, alone and federated.")
        return
    rows.sort(key=lambda row: (-float(str(row["gain"])), str(row["bank"])))
    better = sum(float(str(row["gain"])) > 0 for row in rows)
    charts.show(_gain_chart(rows), f"Gain in AUPRC of {count_of(len(rows), 'bank')}, with 95 % intervals.")
    if len(rows) > 1:
        st.caption(
            f"{better} of {count_of(len(rows), 'bank')} have a higher AUPRC with the federated model than alone."
        )
    table(f"{phase.name}-gains", rows, f"AUPRC of each bank in {phase.name}, and its gain with a 95 % interval")


def _gain_chart(rows: list[dict[str, object]]) -> Drawn:
    names = [str(row["bank"]) for row in rows]
    x = alt.X("bank:O", sort=names, title="banks, by gain", axis=charts.banks_axis(names))
    base = alt.Chart(pd.DataFrame(rows))
    tips = ["bank", *(alt.Tooltip(name, format=".3f") for name in ("alone", "federated", "gain", "low", "high"))]
    ends = base.mark_rule(color=colour("muted")).encode(
        x=x, y=alt.Y("low:Q", title="AUPRC federated less alone"), y2="high:Q", tooltip=tips
    )
    points = base.mark_circle(color=colour("blue"), size=55, opacity=1).encode(x=x, y="gain:Q", tooltip=tips)
    zero = alt.Chart(pd.DataFrame([{"gain": 0}])).mark_rule(color=colour("ink"), size=1).encode(y="gain:Q")
    return alt.layer(ends, points, zero).properties(height=360)


def _gain_bins(phase: PhaseResult, found: GainBins) -> None:
    if not found.tell(phase.took_part.banks):
        st.caption(f"Banks were counted by gain, but the noise of {found.noise:.0f} in each count hides them.")
        return
    ends = [f"{edge:+g}" for edge in found.edges]
    names = [f"below {ends[0]}", *(f"{a} to {b}" for a, b in pairwise(ends)), f"from {ends[-1]}"]
    rows: list[Row] = [
        {"gain": name, "banks": count, "part": "banks"} for name, count in zip(names, found.counts, strict=True)
    ]
    titles = ("gain in AUPRC over training alone", "banks")
    drawn = charts.stacked(rows, name="gain", value="banks", part="part", titles=titles, inks={"banks": "blue"})
    charts.show(drawn, "Banks by their gain in AUPRC over training alone.")
    st.caption(f"Counted in public bins; {found.undefined:.0f} have no fraud to test on. Noise: {found.noise:.1f}.")
    table(f"{phase.name}-gain-bins", [{"gain": row["gain"], "banks": row["banks"]} for row in rows], "Banks by gain")
