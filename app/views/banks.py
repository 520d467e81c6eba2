"""Banks: who is on the roster, who took part, who was left out and why, and whose data is ready."""

from __future__ import annotations

import streamlit as st

from app import reading
from app.parts import charts, frame
from app.parts.tables import Row, table
from app.roles import banks_shown
from fraudfl.report.heard import BankHeard
from fraudfl.report.words import NONE, count_of, minute
from fraudfl.results.facts import PhaseResult, Results
from fraudfl.results.kinds import Readiness
from fraudfl.results.pictures.canvas import Ink
from fraudfl.results.spelling import counted
from server.store.workspace import Workspace
from server.trust.pki import Pki

_PART: dict[str, Ink] = {"took part": "blue", "asked, did not": "orange"}


def show() -> None:
    """Draw the page."""
    frame.page("Banks", "Who is there, who took part, who was left out and why, and whose data is ready.", _draw)


def _draw(workspace: Workspace) -> None:
    found = reading.results(workspace)
    frame.problems(found)
    _participation(found)
    phase = frame.choose_phase(found.phases, found.headline)
    _banks(workspace, phase)
    _left_out(workspace, phase)
    _roster(workspace)
    _ready(found)


def _participation(found: Results) -> None:
    st.header("Participation, phase by phase", anchor=False)
    rows: list[Row] = [
        {"phase": phase.name, "part": part, "banks": count}
        for phase in found.phases
        for part, count in zip(
            _PART, (phase.took_part.banks, max(0, phase.took_part.asked - phase.took_part.banks)), strict=True
        )
    ]
    drawn = charts.stacked(rows, name="phase", value="banks", part="part", titles=("phase", "banks"), inks=_PART)
    charts.show(drawn, "Banks that took part in each phase, of those that were asked.")
    table(
        "participation",
        [
            {
                "phase": phase.name,
                "asked": phase.took_part.asked,
                "took part": phase.took_part.banks,
                "rounds, fewest": phase.took_part.fewest,
                "rounds, median": phase.took_part.median,
                "rounds, most": phase.took_part.most,
                "left out, times": phase.took_part.left_out,
            }
            for phase in found.phases
        ],
        "Participation by phase",
    )


def _banks(workspace: Workspace, phase: PhaseResult) -> None:
    st.header(f"Banks of {phase.name}", anchor=False)
    heard = reading.records(workspace, phase.name).heard.banks
    everybody = sorted({*reading.roster(workspace, phase.name), *heard})
    silent = sum(bank not in heard or heard[bank].replies.total() == 0 for bank in everybody)
    said = f"{count_of(silent, 'bank')} not heard from." if silent else "Every bank was heard from."
    st.caption(f"{count_of(len(everybody), 'bank')} on this phase's roster. {said}")
    releases = sorted({one.software for one in heard.values() if one.software})
    if len(releases) > 1:
        st.warning(f"Banks run different releases of fraudfl: {', '.join(releases)}.", icon=":material/difference:")
    rows: list[Row] = [
        {
            "bank": bank,
            "last heard": minute(one.last_at),
            "runs fraudfl": one.software or NONE,
            "works": one.hours or NONE,
            "plan accepted": minute(one.accepted_at),
            "rounds": len(one.rounds),
            "left out, times": one.missed,
            "replies": one.replies.total(),
        }
        for bank in banks_shown(everybody)
        for one in (heard.get(bank, BankHeard()),)
    ]
    table(f"{phase.name}-banks", rows, f"Banks of {phase.name}")


def _left_out(workspace: Workspace, phase: PhaseResult) -> None:
    excluded = reading.records(workspace, phase.name).state.excluded
    if not excluded:
        st.caption(f"No bank was left out of a round of {phase.name}.")
        return
    shown = {*banks_shown(one["bank"] for one in excluded)}
    rows: list[Row] = [
        {"bank": one["bank"], "round": one["round"], "reason": one["reason"]}
        for one in excluded
        if one["bank"] in shown
    ]
    st.caption(f"Left out of rounds of {phase.name}: {count_of(len(excluded), 'time')}.")
    table(f"{phase.name}-left-out", rows, f"Left out of rounds of {phase.name}, and why")


def _roster(workspace: Workspace) -> None:
    st.header("Roster", anchor=False)
    if not (workspace.coordinator / "pki" / "roster.json").exists():
        frame.empty("There is no signed roster here.", f"fraudfl bank add REQUEST --workspace {workspace.path}")
        return
    roster = frame.attempt(lambda: Pki(workspace.coordinator / "pki").roster())
    if roster is None:
        return
    st.caption(f"Roster {roster.number} of {roster.consortium}, signed on {minute(roster.issued)}.")
    members: list[Row] = [{"bank": one.bank, "on the roster since": minute(one.since)} for one in roster.members]
    table("roster", members, "Members on the signed roster")
    gone: list[Row] = [{"bank": one.bank, "left": minute(one.at), "key": one.fingerprint} for one in roster.removed]
    table("roster-removed", gone, "Keys that left the roster")


def _ready(found: Results) -> None:
    st.header("Data readiness", anchor=False)
    assessed = [phase.readiness for phase in found.phases if phase.readiness is not None]
    if not assessed:
        st.caption(
            "No assessment has ended here: add a phase of kind `assessment` as the first of the consortium's file."
        )
        return
    _readiness(assessed[-1])


def _readiness(one: Readiness) -> None:
    cells = st.columns(3)
    cells[0].metric("Banks with frauds enough", f"{counted(one.ready)} of {one.banks}")
    cells[1].metric("Rows", counted(one.rows))
    cells[2].metric("Frauds in the training windows", counted(one.train_frauds))
    st.markdown(one.power)
    rows: list[Row] = [
        {
            "column": column.name,
            "banks that have it": counted(column.banks),
            "kept": "yes" if column.kept else "no",
            "reason": column.reason or NONE,
        }
        for column in one.columns
    ]
    table("columns", rows, "Columns, as the assessment found them")
