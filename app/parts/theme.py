"""Colours: those of the reports' pictures, which people with any colour vision can tell apart, light and dark."""

from __future__ import annotations

import streamlit as st

from fraudfl.results.measured import Way
from fraudfl.results.pictures.canvas import Ink, colours

WAY_INKS: dict[Way, Ink] = {
    "federated": "blue",
    "alone": "orange",
    "xgboost alone": "yellow",
    "pooled": "green",
    "xgboost pooled": "purple",
}
"""The same in every chart."""


def dark() -> bool:
    """Whether the reader's page is dark."""
    return st.context.theme.type == "dark"


def colour(ink: Ink) -> str:
    """An ink's colour on the reader's page, as `#rrggbb`."""
    return colours(dark=dark())[ink]


def style() -> None:
    """Mend Streamlit's own style: room for tables, sizes, contrast of captions and JSON, a rim on what keys reached."""
    st.html(
        f"""<style>
[data-testid="stMainBlockContainer"] {{ padding: 3.5rem 2.5rem 3rem; }}
[data-testid="stHeading"] h2 {{ font-size: 1.6rem; }}
[data-testid="stCaptionContainer"] {{ color: {colour("muted")}; opacity: 1; }}
[data-testid="stCaptionContainer"] :is(p, li) {{ color: inherit; }}
[data-testid="stJson"] .variable-value :is(div, span) {{ color: {colour("ink")} !important; }}
:focus-visible {{ outline: 2px solid {colour("blue")} !important; outline-offset: 2px; }}
</style>"""
    )
