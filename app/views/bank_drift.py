"""Drift at single banks over time: for those who may look at them, where banks' folders are on this machine."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app import reading, reading_figures
from app.parts import charts, frame
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import dark
from app.roles import banks_shown
from fraudfl.monitoring.settings import SIGNIFICANCE
from fraudfl.report.words import count_of
from fraudfl.results.facts import PhaseResult
from server.reports.bank_windows import BankDrifts
from server.store.workspace import Workspace

_LARGEST = "largest that is no chance"


def drift_by_bank(workspace: Workspace, phase: PhaseResult) -> None:
    """PSI of each bank in each window, of a feature that the reader chooses."""
    st.header("Drift by bank", anchor=False)
    found = _shown(workspace, phase)
    if found is None:
        st.caption(
            "What moved at a single bank stays at that bank: no plan lists it as released. Each sees its own with "
            "`bank-node monitoring DIR`. In a simulation, where all banks' folders are on one machine, it is shown."
        )
        return
    names = [_LARGEST, *sorted(found.names, key=lambda name: name != "score")]
    chosen = st.selectbox("What moved", names, key="moved", bind="query-params", width=320) or _LARGEST
    rows = _rows(found, found.largest(SIGNIFICANCE) if chosen == _LARGEST else found.of(chosen))
    if not rows:
        st.caption("No bank has windows enough yet to compare one with its own quiet ones.")
        return
    worst = max(rows, key=lambda row: float(str(row["PSI"])))
    said = (
        f"PSI ({chosen}) of {count_of(len(found.banks), 'bank')} by window; most: {worst['PSI']:.3g} at {worst['bank']}"
    )
    charts.show(_chart(rows), f"{said}, window from {worst['window begins']}.")
    st.caption(
        "Each bank's windows are compared with its own quiet windows, from its exact counts. PSI: population stability "
        "index, no unit; 0.1 is worth a look, 0.25 is large. No chance: p at most "
        f"{SIGNIFICANCE:.0%} after adjustment."
    )
    with st.expander("Drift by bank as a table"):
        table(f"{phase.name}-bank-drift", rows, f"Drift ({chosen}) of {phase.name} by bank and window")


def _shown(workspace: Workspace, phase: PhaseResult) -> BankDrifts | None:
    """The banks that the reader may see; None where there are none."""
    banks = banks_shown(reading.roster(workspace, phase.name))
    return frame.attempt(lambda: reading_figures.bank_drifts(workspace, phase.name, banks))


def _rows(found: BankDrifts, psi: NDArray[np.float64]) -> list[Row]:
    return [
        {"window begins": window, "bank": bank, "PSI": float(psi[place, number])}
        for number, window in enumerate(found.windows)
        for place, bank in enumerate(found.banks)
        if np.isfinite(psi[place, number])
    ]


def _chart(rows: list[Row]) -> Drawn:
    banks = sorted({str(row["bank"]) for row in rows})
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_rect()
        .encode(
            x=alt.X("window begins:O", title="window begins", axis=charts.SLANTED),
            y=alt.Y("bank:N", sort=banks, title="bank", axis=charts.banks_axis(banks, angle=0)),
            color=alt.Color(
                "PSI:Q", scale=alt.Scale(scheme="viridis", reverse=not dark()), legend=alt.Legend(title="PSI")
            ),
            tooltip=["bank", "window begins", alt.Tooltip("PSI", format=".3g")],
        )
        .properties(height=charts.rows_height(banks))
    )
    return chart
