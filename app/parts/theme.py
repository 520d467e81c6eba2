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
