"""Privacy: what was spent of what was promised, at which δ and for which unit, and what left."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from app import reading
from app.parts import charts, frame, spending, what_if
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import colour
from app.roles import banks_shown, may
from fraudfl.report.audit_file import read_audit
from fraudfl.report.facts import Phase
from fraudfl.report.words import NONE, count_of, eps, mechanism, minute, size, small
from fraudfl.results.spelling import KIND_NAMES
from server.store.workspace import Workspace

_BASIS = {
    "ledger": "the bank's ledger",
    "ledgers-on-this-machine": "the banks' ledgers on this machine",
    "heard-by-coordinator": "what the coordinator received: at least this",
}


def show() -> None:
    """Draw the page."""
    about = "What each phase spent of what its plan promises, who accepted it, and what left the banks."
    frame.page("Privacy", about, _draw)


def _draw(workspace: Workspace) -> None:
    phases, problems = reading.privacy_phases(workspace)
    frame.tell(problems)
    if not phases:
        frame.empty("No plan can be read here.", f"fraudfl run CONFIG --workspace {workspace.path} --resume")
        return
    _phases(phases)
    names = [phase.name for phase in phases]
    private = [phase.name for phase in phases if phase.spending is not None]
    place = names.index((private or names)[-1])
    chosen = st.selectbox("Phase", names, index=place, key="phase", bind="query-params", width=320)
    phase = phases[names.index(chosen or names[place])]
    _promise(phase)
    _banks(phase)
    spending.over_time(workspace, phase)
    spending.in_all_phases(phases)
    what_if.ask(workspace, phase)
    _left(phase)
    if may("look at records"):
        _audit(workspace)


def _phases(phases: tuple[Phase, ...]) -> None:
    st.header("Spent of budget, phase by phase", anchor=False)
    rows: list[Row] = [
        {
            "phase": phase.name,
            "ε promised": None if phase.promise is None else phase.promise.epsilon,
            "ε spent, most at one bank": None if phase.spending is None else phase.spending.epsilon,
            "δ": NONE if phase.spending is None else small(phase.spending.delta),
            "unit": NONE if phase.promise is None else phase.promise.unit,
            "mode": NONE if phase.promise is None else phase.promise.mode,
            "secure aggregation": "sums over banks only" if phase.secure is not None else "no",
            "last record": minute(phase.ended),
        }
        for phase in phases
    ]
    private = [phase for phase in phases if phase.spending is not None]
    if private:
        charts.show(_spent_chart(private), _said(private))
        st.caption("Upright marks are what the plans promise. Each phase has its own δ and its own budget.")
    else:
        st.caption("No phase promises an ε: everything that left is uncovered.")
    table("privacy-phases", rows, "Privacy by phase")


def _spent_chart(phases: list[Phase]) -> Drawn:
    rows = [
        {
            "phase": f"{phase.name}, δ = {small(phase.spending.delta)} per {phase.spending.unit}",
            "ε": phase.spending.epsilon,
            "cap": phase.spending.cap,
        }
        for phase in phases
        if phase.spending is not None
    ]
    base = alt.Chart(pd.DataFrame(rows))
    y = alt.Y("phase:N", sort=[str(row["phase"]) for row in rows], title=None, axis=alt.Axis(labelLimit=320))
    tips = ["phase", alt.Tooltip("ε", format=".4f"), "cap"]
    # Room for the mark at the end.
    most = 1.02 * max(max(one.spending.epsilon, one.spending.cap or 0) for one in phases if one.spending is not None)
    x = alt.X("ε:Q", title="ε", scale=alt.Scale(domain=[0, most], nice=False))
    bars = base.mark_bar(height=18, color=colour("blue")).encode(y=y, x=x, tooltip=tips)
    caps = base.mark_tick(color=colour("vermillion"), thickness=3, size=26).encode(y=y, x="cap:Q", tooltip=tips)
    return alt.layer(bars, caps).properties(height=44 * len(rows) + 70)


def _said(phases: list[Phase]) -> str:
    spent = (
        f"{phase.name} {eps(phase.spending.epsilon)} of {phase.spending.cap:g}"
        for phase in phases
        if phase.spending is not None and phase.spending.cap is not None
    )
    return f"ε spent of the promised, most at one bank: {'; '.join(spent)}."


def _promise(phase: Phase) -> None:
    found, spent = phase.promise, phase.spending
    if found is None:
        return
    promised = NONE if found.epsilon is None else f"{found.epsilon:g}"
    cells = st.columns(4)
    cells[0].metric("ε spent of promised", f"{eps(None if spent is None else spent.epsilon)} of {promised}")
    cells[1].metric("δ", small(found.delta) if found.epsilon is not None else NONE)
    cells[2].metric("Protected unit", found.unit)
    cells[3].metric("Who adds the noise", found.mode)
    if spent is not None:
        st.caption(f"{spent.method}. Read from {_BASIS[spent.basis]}; {count_of(spent.charges, 'release')} charged.")
    if spent is not None and spent.epsilon_colluding is not None:
        st.caption(
            f"Against the coordinator together with {count_of(spent.colluding, 'bank')}: ε = "
            f"{spent.epsilon_colluding:.3f}."
        )


def _banks(phase: Phase) -> None:
    st.header("By bank", anchor=False)
    shown = {*banks_shown(one.bank for one in phase.participants)}
    rows: list[Row] = [
        {
            "bank": one.bank,
            "ε": one.epsilon,
            "rounds": one.rounds,
            "left out": one.missed,
            "plan accepted": minute(one.accepted_at),
        }
        for one in phase.participants
        if one.bank in shown
    ]
    known = [row for row in rows if row["ε"] is not None]
    if known and phase.spending is not None:
        ordered = sorted(known, key=lambda row: (-float(str(row["ε"])), str(row["bank"])))
        charts.show(_banks_chart(ordered, phase.spending.cap), f"ε of {count_of(len(known), 'bank')}, and the cap.")
        st.caption(f"At δ = {small(phase.spending.delta)}, for one {phase.spending.unit}.")
    accepted = sum(bool(one.accepted_at) for one in phase.participants)
    st.caption(f"{accepted} of {count_of(phase.roster or 0, 'bank')} accepted plan {phase.plan_hash[:16]}….")
    table(f"{phase.name}-privacy-banks", rows, f"Banks of {phase.name}: ε, and when each accepted the plan")


def _banks_chart(rows: list[Row], cap: float | None) -> Drawn:
    names = [str(row["bank"]) for row in rows]
    base = alt.Chart(pd.DataFrame(rows))
    points: alt.Chart = base.mark_circle(color=colour("blue"), size=55, opacity=1).encode(
        x=alt.X("bank:O", sort=names, title="banks, by ε", axis=charts.banks_axis(names)),
        y=alt.Y("ε:Q", title="ε", scale=alt.Scale(zero=True)),
        tooltip=["bank", alt.Tooltip("ε", format=".4f"), "rounds"],
    )
    return charts.under_cap(points, cap)


def _left(phase: Phase) -> None:
    st.header("What left, by kind of release", anchor=False)
    rows: list[Row] = [
        {
            "kind": KIND_NAMES.get(one.kind, one.kind),
            "releases": one.releases,
            "bytes": NONE if one.bytes is None else size(one.bytes),
            "covered by ε": ", ".join(c.name for c in one.contents if c.covered) or NONE,
            "not covered": ", ".join(c.name for c in one.contents if not c.covered) or NONE,
            "coordinator gets": "sums over banks" if any(c.summed for c in one.contents) else "each bank's",
            "mechanism": mechanism(one.mechanism),
        }
        for one in phase.left
    ]
    if not rows:
        st.caption(f"Nothing has left in {phase.name} yet.")
    table(f"{phase.name}-releases", rows, f"Releases of {phase.name}", whole=True)


def _audit(workspace: Workspace) -> None:
    st.header("Audit", anchor=False)
    path = workspace.coordinator / "audit.json"
    if not path.exists():
        frame.empty(
            "No audit was run here: nobody has tried yet to see more than the accounting says.",
            f"fraudfl privacy audit --workspace {workspace.path} --phase PHASE",
        )
        return
    found = frame.attempt(lambda: read_audit(path))
    rows: list[Row] = [
        {
            "audit": one.name,
            "claimed ε": NONE if one.claimed is None else f"{one.claimed:.3f}",
            "lower bound of ε, measured": NONE if one.lower_bound is None else f"{one.lower_bound:.3f}",
            "confidence": NONE if one.confidence is None else f"{one.confidence:.0%}",
            "verdict": one.verdict,
            "detail": str(one.detail),
        }
        for one in found or ()
    ]
    table("audit", rows, "Results of the audit", whole=True)
