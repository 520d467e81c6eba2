"""The frame of every page: its heading, what to run while there is nothing to show, and errors in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

from app import reading
from app.parts.live import live
from app.parts.text import as_text
from app.place import here
from app.roles import demand, may
from fraudfl.errors import AccessRefused, FraudflError
from fraudfl.report.words import count_of
from fraudfl.results.facts import PhaseResult, Results
from server.store.workspace import Workspace

T = TypeVar("T")


def page(title: str, about: str, draw: Callable[[Workspace], None], *, follow: bool = False) -> None:
    """Draw one page; an error of ours becomes a message that names the file, and never a traceback.

    Args:
        about: What the page is for, in one sentence.
        draw: Draws what is below the heading, of a workspace in which something has begun.
        follow: Whether the page follows what goes on, also when nothing has begun yet.
    """
    workspace = here()
    st.title(title, anchor=False)
    st.caption(about)
    try:
        demand("look")
        if follow:
            live(workspace)
        if not reading.exists(workspace):
            nothing_here(workspace)
        elif not reading.begun(workspace):
            empty("No phase has begun here yet.", f"fraudfl run CONFIG --workspace {workspace.path} --resume")
        else:
            draw(workspace)
    except (FraudflError, OSError, ValueError) as error:
        st.error(f"This page cannot be shown. {in_words(error)}", icon=":material/error:")


def nothing_here(workspace: Workspace) -> None:
    """Say that there is no workspace, and how to make one."""
    empty(
        f"Nothing is stored in {workspace.path} yet.",
        f"fraudfl run configs/quickstart.yaml --workspace {workspace.path}",
    )


def empty(words: str, command: str = "") -> None:
    """Say that there is nothing to show, and which command changes that."""
    st.info(words + (" To change that, run:" if command else ""), icon=":material/info:")
    if command:
        # Without a language: its colours would be too pale.
        st.code(command, language=None, wrap_lines=True)


def attempt(read: Callable[[], T]) -> T | None:
    """What a reader gives, or None after a warning that says which file it could not read."""
    try:
        return read()
    except (FraudflError, OSError, ValueError) as error:
        st.warning(in_words(error), icon=":material/warning:")
        return None


def in_words(error: Exception) -> str:
    """What went wrong; in full to those who may look at single banks, for files are named after them."""
    if isinstance(error, AccessRefused) or may("look at single banks"):
        return as_text(str(error))
    return "What it is made of cannot be read; the consortium's operator sees why."


def problems(found: Results) -> None:
    """Say what is wrong with the records that pages are made from."""
    tell(found.problems)


def tell(problems: Sequence[str]) -> None:
    """Say what is wrong; in full to those who may look at single banks, for it names them."""
    if problems and not may("look at single banks"):
        problems = [f"{count_of(len(problems), 'record')} cannot be read; the consortium's operator sees which."]
    for one in problems:
        st.warning(as_text(one), icon=":material/warning:")


def choose_phase(phases: Sequence[PhaseResult], first: str = "") -> PhaseResult:
    """Let the reader choose a phase; the choice is in the page's address.

    Args:
        phases: At least one.
        first: Chosen where the address names none; the last when it is not among them.
    """
    names = [phase.name for phase in phases]
    place = names.index(first) if first in names else len(names) - 1
    chosen = st.selectbox("Phase", names, index=place, key="phase", bind="query-params", width=320)
    return phases[names.index(chosen or names[place])]
