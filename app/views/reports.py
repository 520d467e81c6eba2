"""Reports: made here as the command line makes them, downloaded, and checked."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import reading
from app.parts import documents, frame
from app.parts.text import as_text
from app.roles import may
from fraudfl.errors import FraudflError
from fraudfl.report.sealing import SEAL_FILE
from fraudfl.report.words import minute, size
from fraudfl.trust.keys import fingerprint
from server.store.workspace import Workspace

_TITLES: dict[documents.Kind, tuple[str, str]] = {
    "privacy": ("Privacy report", "What was spent, under which definition, who accepted it, what left."),
    "results": ("Report of results", "What the phases came to, for the committee."),
}

_NEWEST = 8


def show() -> None:
    """Draw the page."""
    frame.page("Reports", "Reports as PDF, HTML and JSON, signed with the operator's key where there is one.", _draw)


def _draw(workspace: Workspace) -> None:
    if may("make reports"):
        for cell, kind in zip(st.columns(len(_TITLES)), _TITLES, strict=True):
            with cell:
                _report(workspace, kind)
    else:
        st.caption("Reports hold figures of single banks: the consortium's operator and its compliance make them.")
    _cards(workspace)
    _verify(workspace)


def _cards(workspace: Workspace) -> None:
    st.header("Model cards", anchor=False)
    versions = reading.versions(workspace)
    cards = [(one, text) for one in reversed(versions) if (text := reading.model_card(workspace, one))]
    if not cards:
        st.caption("No registered model has a card yet; a phase that trains writes one at its end.")
    for one, text in cards[:_NEWEST]:
        names = f", {' and '.join(one.aliases)}" if one.aliases else ""
        documents.offer_card(one, text, as_text(f"Version {one.number}{names}: made by {one.phase} (Markdown)"))
    if len(cards) > _NEWEST:
        st.caption("Cards of older versions are on the Models page.")


def _report(workspace: Workspace, kind: documents.Kind) -> None:
    title, about = _TITLES[kind]
    st.header(title, anchor=False)
    st.markdown(about)
    kept = f"report {kind} of {workspace.path}"
    if st.button(f"Make the {title.lower()}", key=f"make-{kind}", icon=":material/description:"):
        st.session_state.pop(kept, None)
        st.caption("Gathering records and setting pages; with 200 banks this takes about a minute.")
        st.session_state[kept] = frame.attempt(lambda: documents.make(workspace, kind))
    files: dict[str, bytes] | None = st.session_state.get(kept)
    if files is None:
        return
    for name, data in files.items():
        mime = documents.MIME.get(Path(name).suffix, "application/octet-stream")
        st.download_button(
            f"{name} ({size(len(data))})",
            data,
            f"{kind}-{name}",
            mime,
            key=f"{kind}-{name}",
            icon=":material/download:",
            on_click="ignore",
        )
    whole = documents.packed(files)
    st.download_button(
        "All as ZIP", whole, f"{kind}-report.zip", "application/zip", key=f"{kind}-zip", on_click="ignore"
    )
    if SEAL_FILE not in files:
        st.warning(f"Not signed: {workspace.coordinator / 'pki'} holds no operator's key.", icon=":material/warning:")


def _verify(workspace: Workspace) -> None:
    st.header("Check a report", anchor=False)
    names = ", ".join(documents.NAMES)
    st.markdown(f"Upload all four files of one report, under their own names: {names}.")
    uploads = st.file_uploader("Files of the report", accept_multiple_files=True, type=["pdf", "html", "json"])
    own = workspace.coordinator / "pki" / "operator.pub"
    ours = own.exists() and st.checkbox("It must be signed by this consortium's operator", value=True)
    if not uploads:
        return
    try:
        seal = documents.verify({one.name: one.getvalue() for one in uploads}, [own] if ours else [])
    except FraudflError as error:
        st.error(as_text(str(error)), icon=":material/gpp_bad:")
        return
    st.success(
        as_text(f"{seal.report}: as it was signed on {minute(seal.at)} with {fingerprint(seal.public_key)}."),
        icon=":material/verified:",
    )
    if not ours:
        st.warning(
            as_text(f"Whose key that is was not checked: compare it with {seal.subject}'s over another channel.")
        )
