"""Overview: where the consortium stands, and what the federation gives."""

from __future__ import annotations

import streamlit as st

from app import reading
from app.parts import frame
from app.parts.figures import figure_metric, figure_rows, ways_chart
from app.parts.tables import Row, table
from app.parts.text import as_text
from app.parts.theme import dark
from fraudfl.metrics.figures import FigureName
from fraudfl.report.words import NONE, count_of, minute, size, small
from fraudfl.results.drawn import pictures
from fraudfl.results.facts import Model, PhaseResult, Results
from fraudfl.results.pictures.canvas import on_page
from fraudfl.results.spelling import FIGURE_NAMES, PERCENT, SOURCES, estimate, share
from server.store.workspace import Workspace

_HEADLINE: tuple[FigureName, ...] = ("auprc", "balanced_accuracy", "recall_at_budget")


def show() -> None:
    """Draw the page."""
    about = "Where the consortium stands, and what the federation gives over training alone."
    frame.page("Overview", about, _draw, follow=True)


def _draw(workspace: Workspace) -> None:
    frame.attempt(lambda: reading.summary(workspace))
    found = reading.results(workspace)
    frame.problems(found)
    phase = _headline(found)
    if phase is not None:
        _figures(phase)
    _champion(found)
    _timeline(found)
    _gates(found)


def _headline(found: Results) -> PhaseResult | None:
    """The phase shown: the reader's choice, else the one whose figures stand for the whole."""
    measured = [phase for phase in found.phases if phase.ways]
    if not measured:
        frame.empty("No phase has figures yet; they come when one has trained, and its banks have scored the model.")
        return None
    return frame.choose_phase(measured, found.headline)


def _figures(phase: PhaseResult) -> None:
    better = {one.figure: one for one in phase.compared}
    own = next(way for way in phase.ways if way.way == "federated")
    for cell, name in zip(st.columns(len(_HEADLINE)), _HEADLINE, strict=True):
        share_of = name in PERCENT
        gain = better.get(name)
        against = "" if gain is None else f"better alone {estimate(gain.alone, percent=share_of).partition(' (')[0]}"
        with cell:
            figure_metric(FIGURE_NAMES[name], own.figure(name), percent=share_of, against=against)
    cells = st.columns(3)
    with cells[0]:
        figure_metric(
            "Transfer saved against CSV",
            phase.transfer.vs_csv,
            percent=True,
            spread="banks",
            against=f"{size(phase.transfer.up + phase.transfer.down)} sent",
            help_text="Bytes of all messages, both ways, against the banks' training windows as CSV; the interval is "
            "2.5 % to 97.5 % of the banks.",
        )
    with cells[1]:
        _spent(phase)
    part = phase.took_part
    missed = f"left out of a round {count_of(part.left_out, 'time')}" if part.left_out else "nobody was left out"
    cells[2].metric(
        "Banks taking part",
        f"{part.banks} of {part.asked}",
        delta=missed,
        delta_color="off",
        delta_arrow="off",
        border=True,
    )
    st.caption(f"95 % intervals. Figures are {SOURCES[phase.source] if phase.source else 'of unknown source'}.")
    left, right = st.columns(2)
    with left:
        ways_chart(phase, "auprc")
    with right:
        ways_chart(phase, "balanced_accuracy")
    with st.expander("Figures as a table"):
        table(f"{phase.name}-figures", figure_rows(phase), f"Figures of {phase.name}")


def _spent(phase: PhaseResult) -> None:
    spent = phase.spent
    if spent.promised is None:
        value, below = "none promised", f"mode {spent.mode}: everything that left is uncovered"
    else:
        value = f"{NONE if spent.epsilon is None else format(spent.epsilon, '.3f')} of {spent.promised:g}"
        below = f"δ = {small(spent.delta or 0)} per {spent.unit}"
    st.metric(
        "ε spent of budget",
        value,
        delta=below,
        delta_color="off",
        delta_arrow="off",
        border=True,
        help="The most that one bank spent in this phase, of what its plan promises.",
    )


def _champion(found: Results) -> None:
    st.header("Champion and challenger", anchor=False)
    named = [one for one in found.models if {"champion", "challenger"} & {*one.aliases}]
    if not named:
        frame.empty(
            "No model is champion yet."
            if found.models
            else "No model is registered yet; a phase registers one at its end.",
            "fraudfl models promote VERSION --by NAME --reason TEXT" if found.models else "",
        )
        return
    for cell, one in zip(st.columns(max(2, len(named))), named, strict=False):
        with cell.container(border=True):
            _model(one)
    if found.decisions:
        last = found.decisions[-1]
        said = (
            f"Last decision, {minute(last.at)}: {last.action} of version {last.champion}, by {last.by}: {last.reason}"
        )
        st.caption(as_text(said))


def _model(one: Model) -> None:
    st.markdown(f"**Version {one.version}** is {' and '.join(one.aliases)}")
    privacy = "no ε promised" if one.epsilon is None else f"ε at most {one.epsilon:g}"
    st.markdown(f"AUPRC {estimate(one.auprc)} · made by {one.phase} · {count_of(one.banks, 'bank')} · {privacy}")
    if one.holds:
        st.warning(as_text(f"Holds what {', '.join(one.holds)} released, which is to be unlearned."))


def _timeline(found: Results) -> None:
    st.header("Phases and their gates", anchor=False)
    drawn = pictures(found)["timeline"]
    st.image(on_page(drawn.svg, dark=dark()), alt=drawn.alt, width=900)


def _gates(found: Results) -> None:
    rows: list[Row] = [
        {
            "phase": phase.name,
            "gate": gate.name,
            "said": gate.outcome,
            "reason": gate.reason,
            "released by": "" if gate.released is None else f"{gate.released.by}: {gate.released.reason}",
        }
        for phase in found.phases
        for gate in phase.gates
    ]
    if not rows:
        st.caption("No gate has judged a phase yet.")
    table("gates", rows, "What gates said, and why", whole=True)
    phases: list[Row] = [
        {
            "phase": phase.name,
            "kind": phase.kind,
            "status": phase.status,
            "began": minute(phase.began),
            "ended": minute(phase.ended),
            "banks": phase.took_part.banks,
            "rounds": len(phase.rounds),
            "seconds": round(phase.seconds, 1),
            "transfer saved": share(None if phase.transfer.vs_csv is None else phase.transfer.vs_csv.value),
        }
        for phase in found.phases
    ]
    table("phases", phases, "Phases")
