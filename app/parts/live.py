"""What goes on now: looked at every other second, from the events that a phase appends; a page is never reloaded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from app import reading
from app.parts.text import as_text
from app.roles import banks_shown, may
from fraudfl.report.words import count_of, listed, size
from fraudfl.results.spelling import KIND_NAMES
from server.store.events import EventReader
from server.store.told import Told
from server.store.workspace import Workspace

SECONDS = 2
_SILENT_SECONDS = 600
_SEEN = "milestones seen"


@dataclass
class _Followed:
    """One phase's events, read as far as they go."""

    reader: EventReader
    told: Told = field(default_factory=Told)
    last: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        for event in self.reader.new():
            self.told.take(event)
            self.last = event
        return self.told.facts()


def live(workspace: Workspace) -> None:
    """Follow what is under way, and draw the whole page again when a phase begins or ends."""
    st.session_state[_SEEN] = reading.milestones(workspace)
    _follow(workspace)


@st.fragment(run_every=SECONDS)
def _follow(workspace: Workspace) -> None:
    if not may("look") or reading.milestones(workspace) != st.session_state.get(_SEEN):
        st.session_state[_SEEN] = reading.milestones(workspace)
        st.rerun(scope="app")
    for name in reading.under_way(workspace) if reading.exists(workspace) else ():
        _draw(workspace, name)


def _draw(workspace: Workspace, name: str) -> None:
    folder = reading.phase_folder(workspace, name)
    followed = _followed(str(folder / "events.jsonl"), (folder / "roster.json").stat().st_mtime_ns)
    facts = followed.facts()
    roster = reading.roster(workspace, name)
    missing = banks_shown(sorted({*roster} - {*facts["heard"]}))
    waiting = {bank: facts["waiting"][bank] for bank in banks_shown(facts["waiting"])}
    with st.container(border=True):
        st.markdown(f"**:material/sync: {name}** is under way")
        done, planned = facts["round"], facts["rounds"]
        if planned:
            st.progress(min(1.0, done / planned), text=f"{done} of {planned} rounds or windows done")
        st.markdown(" · ".join(_told(facts, followed.last, len(roster))))
        if waiting:
            st.markdown("Waiting for: " + "; ".join(as_text(f"{bank} ({why})") for bank, why in waiting.items()))
        elif facts["heard"] and missing:
            st.markdown(f"Not heard since the last step: {listed(missing, 8)}")
        _silence(followed.last, workspace)


def _told(facts: Mapping[str, Any], last: Mapping[str, Any], roster: int) -> list[str]:
    said = [f"{len(facts['heard'])} of {count_of(roster, 'bank')} heard in this step"]
    if last.get("event") == "heard":
        said.append(f"last: {KIND_NAMES.get(last['kind'], last['kind'])}")
    if "auprc" in facts:
        said.append(f"AUPRC on validation rows {facts['auprc']:.3f}")
    if "bytes_up" in facts:
        said.append(f"{size(facts['bytes_up'])} up, {size(facts['bytes_down'])} down so far")
    if facts["excluded"]:
        said.append(f"left out: {count_of(len(facts['excluded']), 'time')}")
    return said


def _silence(last: Mapping[str, Any], workspace: Workspace) -> None:
    """Nobody tells a file that its writer died: long silence is said as such."""
    age = time.time() - float(last.get("time", time.time()))
    if age > _SILENT_SECONDS:
        st.warning(
            f"No word for {age / 60:,.0f} minutes. If nothing runs any more, go on with "
            f"`fraudfl run CONFIG --workspace {workspace.path} --resume`.",
            icon=":material/hourglass_disabled:",
        )


@st.cache_resource(max_entries=8, show_spinner=False)
def _followed(path: str, began: int) -> _Followed:
    return _Followed(EventReader(Path(path), from_start=True))
