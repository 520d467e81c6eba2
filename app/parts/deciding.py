"""Promotion and rollback: asked for and confirmed here, done by the command, which judges, signs and records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from app.parts import deeds
from app.parts.deeds import Command
from app.parts.text import as_text
from app.roles import demand, may
from fraudfl.access.roles import Deed
from fraudfl.command import EXIT_GATED
from fraudfl.errors import FraudflError
from server.models.versions import CHAMPION, PREVIOUS, Version
from server.store.workspace import Workspace

_DEED: Deed = "promote or roll back"
_ASKED, _BEGUN, _ENDED = "decision asked", "decision begun", "decision ended"


@dataclass(frozen=True)
class Question:
    """What an operator is asked before the champion changes.

    Attributes:
        button: What the operator wants, and what confirms it.
        about: What happens then.
        words: What the command does while it runs.
        arguments: Of the command, without name and reason.
    """

    button: str
    about: str
    words: str
    arguments: tuple[str, ...]


def decide(workspace: Workspace, chosen: Version, versions: Sequence[Version]) -> None:
    """Let an operator promote the chosen version, or roll back to the one before."""
    if not may(_DEED):
        return
    st.header("Change the champion", anchor=False)
    ended: Command | None = st.session_state.get(_ENDED)
    if ended is not None:
        _tell(ended)
    left: Command | None = st.session_state.get(_BEGUN)
    if left is not None:
        _finish(left)
    other = deeds.under_way(workspace)
    if other is not None:
        st.info(f"{as_text(other.words)}, since {other.since}; look again when it has ended.", icon=":material/sync:")
    for question in _questions(chosen, versions):
        if st.button(question.button, disabled=other is not None):
            st.session_state[_ASKED] = question
            st.session_state.pop(_ENDED, None)
    asked: Question | None = st.session_state.get(_ASKED)
    if asked is not None:
        st.dialog(f"{asked.button}?", on_dismiss=_take_back)(_confirm)(workspace, asked)


def _questions(chosen: Version, versions: Sequence[Version]) -> list[Question]:
    asked = []
    if CHAMPION not in chosen.aliases:
        about = (
            f"Version {chosen.number} is compared with the champion on the same later transactions, and becomes "
            "champion if it is better; otherwise nothing changes. The decision is signed with the operator's key."
        )
        name = f"Promote version {chosen.number}"
        arguments = ("models", "promote", str(chosen.number))
        asked.append(Question(name, about, f"Promoting version {chosen.number}", arguments))
    before = next((one.number for one in versions if PREVIOUS in one.aliases), None)
    if before is not None:
        about = (
            f"Version {before}, which was champion before, becomes champion again; nothing is compared. "
            "The decision is signed with the operator's key."
        )
        name = f"Roll back to version {before}"
        asked.append(Question(name, about, f"Rolling back to version {before}", ("models", "rollback")))
    return asked


def _confirm(workspace: Workspace, question: Question) -> None:
    """The dialog: a reason and a name, then the command until it ends."""
    st.markdown(question.about)
    known = demand(_DEED).name
    with st.form("decision", border=False):
        typed = st.text_input("Your name", known, disabled=bool(known), max_chars=120)
        reason = st.text_area("Reason", max_chars=500, help="Name and reason stand in the signed record.")
        sure = st.form_submit_button(question.button, type="primary")
    if sure:
        _begin(workspace, question, known or _line(typed), _line(reason))
    begun: Command | None = st.session_state.get(_BEGUN)
    if begun is not None:
        _finish(begun)


def _begin(workspace: Workspace, question: Question, by: str, reason: str) -> None:
    if not by or not reason:
        st.error("Give your name and a reason: both stand in the signed record.", icon=":material/edit_note:")
        return
    # Each question is answered once: another click on the same button finds nothing to answer.
    if st.session_state.pop(_ASKED, None) is None:
        return
    arguments = [*question.arguments, f"--by={by}", f"--reason={reason}"]
    try:
        st.session_state[_BEGUN] = deeds.begin(_DEED, workspace, question.words, arguments)
    except FraudflError as error:
        st.error(as_text(str(error)), icon=":material/block:")


def _take_back() -> None:
    st.session_state.pop(_ASKED, None)


def _finish(command: Command) -> None:
    deeds.follow(command)
    st.session_state.pop(_BEGUN, None)
    st.session_state[_ENDED] = command
    st.rerun()


def _tell(command: Command) -> None:
    said = as_text(command.said())
    if command.code == 0:
        st.success(said, icon=":material/verified:")
    elif command.code == EXIT_GATED:
        st.warning(f"{as_text(command.words)}: the gate says no, and nothing changed. {said}", icon=":material/block:")
    else:
        st.error(f"{as_text(command.words)} did not work. {said}", icon=":material/error:")


def _line(text: str) -> str:
    """One line, without characters that nobody sees."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
