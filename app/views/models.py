"""Models: every registered version, where it comes from, what it shows, and who decided on it."""

from __future__ import annotations

import json
from pathlib import Path

import streamlit as st

from app import reading
from app.parts import frame
from app.parts.deciding import decide
from app.parts.documents import offer_card
from app.parts.tables import Row, table
from fraudfl.metrics.figures import FIGURES
from fraudfl.report.words import NONE, count_of, minute, short, small
from fraudfl.results.facts import Results
from fraudfl.results.spelling import FIGURE_NAMES
from server.models.versions import Version, spelled
from server.store.workspace import Workspace


def show() -> None:
    """Draw the page."""
    frame.page("Models", "Registered versions with their origin, figures and plan, and who decided on them.", _draw)


def _draw(workspace: Workspace) -> None:
    versions = reading.versions(workspace)
    if not versions:
        frame.empty("No model is registered yet; a phase that trains registers one at its end.")
        return
    table("models", [_row(one) for one in versions], "Versions, oldest first")
    _one(workspace, versions)
    if len(versions) > 1:
        _compare(versions)
    _decisions(reading.results(workspace))


def _row(one: Version) -> Row:
    value, ends = one.figure("auprc")
    return {
        "version": one.number,
        "is now": ", ".join(one.aliases) or NONE,
        "made by": one.phase,
        "began from": "anew" if one.start is None else f"version {one.start.parent}",
        "AUPRC": value,
        "95 %": NONE if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}",
        "ε promised": one.epsilon,
        "banks": one.banks,
        "tested on": spelled(one.tested),
        "to be unlearned": ", ".join(one.holds) or NONE,
        "created": minute(one.created),
    }


def _one(workspace: Workspace, versions: tuple[Version, ...]) -> None:
    st.header("One version", anchor=False)
    names = [str(one.number) for one in versions]
    place = next((n for n, one in enumerate(versions) if "champion" in one.aliases), len(names) - 1)
    chosen = st.selectbox("Version", names, index=place, key="version", bind="query-params", width=320)
    one = versions[names.index(chosen or names[place])]
    told = {
        "Is now": ", ".join(one.aliases) or "no alias",
        "Made by": f"{one.phase} ({one.kind}), {count_of(one.banks, 'bank')}",
        "Lineage": _lineage(one, versions),
        "Trained on": spelled(one.trained),
        "Tested on": spelled(one.tested),
        "Privacy": _privacy(one),
        "Digest of the bundle": short(one.digest),
        "Plan hash": short(one.plan_hash),
    }
    facts: list[Row] = [{"fact": name, "value": value} for name, value in told.items()]
    table(f"version-{one.number}", facts, f"Version {one.number}", whole=True)
    folder = reading.phase_folder(workspace, one.phase)
    _card(workspace, one)
    _plan(folder / "plan.json", one)
    decide(workspace, one, versions)


def _lineage(one: Version, versions: tuple[Version, ...]) -> str:
    """The way back to the version that began anew."""
    known = {version.number: version for version in versions}
    way, now = [f"version {one.number}"], one
    while now.start is not None and now.start.parent in known:
        now = known[now.start.parent]
        way.append(f"version {now.number}")
    return " from ".join(way) + (", which began anew" if now.start is None else "")


def _privacy(one: Version) -> str:
    if one.epsilon is None:
        return f"mode {one.mode}, no ε promised"
    return f"mode {one.mode}, ε at most {one.epsilon:g} at δ = {small(one.delta or 0)} per {one.unit}"


def _card(workspace: Workspace, one: Version) -> None:
    text = reading.model_card(workspace, one)
    if text:
        with st.expander("Model card"):
            st.markdown(text)
        offer_card(one, text, "Model card (Markdown)")


def _plan(path: Path, one: Version) -> None:
    if not path.exists():
        return
    with st.expander(f"Plan of {one.phase}"):
        st.json(json.loads(path.read_bytes()), expanded=1)


def _compare(versions: tuple[Version, ...]) -> None:
    st.header("Two versions side by side", anchor=False)
    names = [str(one.number) for one in versions]
    left, right = st.columns(2)
    with left:
        first = st.selectbox("First", names, index=len(names) - 2, key="first", bind="query-params")
    with right:
        second = st.selectbox("Second", names, index=len(names) - 1, key="second", bind="query-params")
    pair = [versions[names.index(name or names[-1])] for name in (first, second)]
    rows: list[Row] = [
        {"figure": FIGURE_NAMES[name]} | {f"version {one.number}": _spelled(one, name) for one in pair}
        for name in FIGURES
    ]
    table("two-versions", rows, f"Versions {pair[0].number} and {pair[1].number}", whole=True)
    if pair[0].tested != pair[1].tested:
        st.warning(
            "They were tested on different days, so these figures do not compare. "
            f"`fraudfl models compare {pair[1].number} {pair[0].number}` scores both on the same transactions.",
            icon=":material/warning:",
        )


def _spelled(one: Version, name: str) -> str:
    value, ends = one.figure(name)
    if value is None:
        return NONE
    return f"{value:.3f}" + ("" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})")


def _decisions(found: Results) -> None:
    st.header("Decisions on the champion", anchor=False)
    if not found.decisions:
        frame.empty("Nobody has decided on a champion.", "fraudfl models promote VERSION --by NAME --reason TEXT")
        return
    rows: list[Row] = [
        {
            "when": minute(one.at),
            "decision": f"{one.action}{' by force' if one.forced else ''}",
            "champion": one.champion,
            "in place of": NONE if one.replaced is None else str(one.replaced),
            "by": one.by,
            "reason": one.reason,
            "comparison": one.figures or NONE,
        }
        for one in found.decisions
    ]
    table("decisions", rows, "Signed decisions on the champion, each checked", whole=True)
