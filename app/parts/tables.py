"""Tables with their rows as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app.parts.text import as_text
from fraudfl.report.words import NONE

Row = Mapping[str, object]
MB = 1e6
_WHOLE = 20
"""Tables up to so many rows do not scroll."""
_SPREADSHEET = ("=", "+", "-", "@")


def table(
    name: str, rows: Sequence[Row], about: str, *, columns: Mapping[str, Any] | None = None, whole: bool = False
) -> None:
    """Show rows, and offer them as CSV.

    Args:
        name: Of the file, without its ending; unique on a page.
        rows: By heading, with units in the headings; all with the same ones.
        about: What the table shows, also for those who hear it read.
        columns: Streamlit's settings by heading.
        whole: Whether every word is to be read at once: for few rows with sentences in them.
    """
    if not rows:
        return
    if whole:
        st.table(pd.DataFrame([*rows]).map(_escaped), hide_index=True, border="horizontal", alt=about)
    else:
        shown, settings = pd.DataFrame([*rows]), dict(columns or {})
        st.dataframe(
            shown,
            height="content" if len(rows) <= _WHOLE else "auto",
            hide_index=True,
            column_config=settings,
            alt=about,
            key=f"t-{name}",
            placeholder=NONE,
        )
    st.download_button(
        f"{about} (CSV)",
        as_csv(rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"csv-{name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV with a heading; text that a spreadsheet would take for a formula is kept text."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*rows[0]])
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _escaped(value: object) -> object:
    return as_text(value) if isinstance(value, str) else value


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_SPREADSHEET) else value
