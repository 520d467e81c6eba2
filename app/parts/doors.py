"""The doors: signing in and out, and what those see who may not come in."""

from __future__ import annotations

import streamlit as st

from app.parts.text import as_text
from app.roles import reader
from fraudfl.access.roles import Reader
from fraudfl.errors import AccessRefused, NotSignedIn


def let_in() -> Reader | None:
    """The reader, or None after saying why nobody comes in."""
    try:
        return reader()
    except NotSignedIn as refusal:
        _sign_in(str(refusal))
    except AccessRefused as refusal:
        _refuse(str(refusal))
    return None


def signed_in_as(found: Reader) -> None:
    """Say who looks and in which role, with the way out."""
    whose = f" of {found.bank}" if found.bank else ""
    if not found.name:
        st.caption(f"On this machine alone, as {found.role}{whose}")
        return
    st.caption(as_text(f"{found.name}, {found.role}{whose}"))
    _log_out()


def _sign_in(words: str) -> None:
    st.title("fraudfl", anchor=False)
    st.markdown(words)
    # A click leads to the issuer; nothing is asked of it before.
    st.button("Log in", on_click=st.login, icon=":material/login:", type="primary")


def _refuse(words: str) -> None:
    st.title("fraudfl", anchor=False)
    st.error(as_text(words), icon=":material/block:")
    if st.user.get("is_logged_in"):
        _log_out()


def _log_out() -> None:
    st.button("Log out", on_click=st.logout, icon=":material/logout:")
