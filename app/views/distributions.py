"""Score distributions of monitored windows."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from app.parts import charts
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import colour, dark
from app.reading_figures import WatchedWindows
from fraudfl.monitoring.distribution import Band, quiet_before, reference_bands, score_bands
from fraudfl.monitoring.observed import Observed
from fraudfl.results.facts import PhaseResult

_WINDOW, _QUIET = "this window", "quiet windows"


def scores_by_window(phase: PhaseResult, found: WatchedWindows) -> None:
    """How scores are distributed in each window, and in one of them beside the quiet ones."""
    st.header("Scores by window", anchor=False)
    bins = found.plan.score_bins
    bands = {one.window: score_bands(one.scores, bins, one.noise) for one in found.observed}
    rows = [row for one in found.observed for row in _band_rows(first_day(found, one), one.model, bands[one.window])]
    if not rows:
        st.caption("No window was scored yet, or noise hides all of its scores.")
        return
    charts.show(_bands_chart(rows), "Share of transactions by probability of fraud, one column for each window.")
    st.caption(
        f"{_summed(found)} The model gives each transaction a probability of fraud; bands are equally wide on the "
        f"logit's axis. Colours are logarithmic. {_versions(found)}"
    )
    _one_window(found)
    with st.expander("Scores as a table"):
        table(f"{phase.name}-scores", rows, f"Scores of {phase.name} by window and probability of fraud")


def _summed(found: WatchedWindows) -> str:
    if found.plan.secure_aggregation is not None:
        words = "Sums over banks: under secure aggregation the coordinator sees nothing else."
    else:
        words = "Sums over banks."
    if any(one.noise for one in found.observed):
        words += " Counts carry noise; what may be noise alone is left blank."
    return words


def _versions(found: WatchedWindows) -> str:
    """Which version scored from which window on, where there were several."""
    begun: dict[int, str] = {}
    for one in found.observed:
        begun.setdefault(one.model, first_day(found, one))
    if len(begun) == 1:
        return f"Version {next(iter(begun))} scored all of them."
    said = ", ".join(f"version {model} from {first}" for model, first in begun.items())
    return f"Scored by {said}: scores of different versions have no common scale."


def first_day(found: WatchedWindows, one: Observed) -> str:
    """When a window begins, as an ISO date."""
    return found.spec.days_of(one.window)[0].isoformat()


def _band_rows(first: str, model: int, bands: Sequence[Band]) -> list[Row]:
    return [
        {
            "window begins": first,
            "model": model,
            "lowest probability": band.low,
            "highest probability": band.high,
            "transactions": round(band.rows),
            "share, %": 100 * band.share,
        }
        for band in bands
        if band.rows is not None and band.share is not None and band.share > 0
    ]


def _bands_chart(rows: list[Row]) -> Drawn:
    ends = [(float(str(row["lowest probability"])), float(str(row["highest probability"]))) for row in rows]
    named = [{**row, "probability": _spelt(*both)} for row, both in zip(rows, ends, strict=True)]
    order = [_spelt(*both) for both in sorted({*ends}, reverse=True)]
    scale = alt.Scale(type="log", scheme="viridis", reverse=not dark())
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame(named))
        .mark_rect()
        .encode(
            x=alt.X("window begins:O", title="window begins", axis=charts.SLANTED),
            y=alt.Y("probability:N", sort=order, title="probability of fraud (%)"),
            color=alt.Color("share, %:Q", scale=scale, legend=alt.Legend(title="share (%)", format="~g", tickCount=5)),
            tooltip=[
                "window begins",
                "model",
                "probability",
                alt.Tooltip("transactions", format=","),
                alt.Tooltip("share, %", format=".3~g"),
            ],
        )
        .properties(height=18 * len(order) + 150)
    )
    return chart


def _spelt(low: float, high: float) -> str:
    """Two probabilities in %."""
    if low == 0:
        return f"below {_percent(high)}"
    return f"above {_percent(low)}" if high == 1 else f"{_percent(low)} to {_percent(high)}"


def _percent(probability: float) -> str:
    """In %, with as many digits as tell it from 0 and from 100."""
    value = 100 * probability
    return f"{value:.2g}" if value < 90 else f"{100 - float(f'{100 - value:.2g}'):.10g}"


def _one_window(found: WatchedWindows) -> None:
    """One window, which the reader chooses, beside the quiet windows of the same model."""
    names = [first_day(found, one) for one in found.observed]
    compared = [
        place for place, one in enumerate(found.observed) if quiet_before(found.observed, one.window, found.spec.quiet)
    ]
    place = max(compared, default=len(names) - 1)
    chosen = st.selectbox(
        "Window beside the quiet ones", names, index=place, key="window", bind="query-params", width=320
    )
    one = found.observed[names.index(chosen or names[place])]
    quiet = quiet_before(found.observed, one.window, found.spec.quiet)
    bins = found.plan.score_bins
    parts = {_WINDOW: score_bands(one.scores, bins, one.noise), _QUIET: reference_bands(quiet, bins)}
    rows = [
        {
            "of": name,
            "logit": band.middle,
            "probability": f"{_spelt(band.low, band.high)} %",
            "share": band.share,
        }
        for name, bands in parts.items()
        for band in bands
        if band.share
    ]
    if not quiet:
        st.caption(
            f"Version {one.model} scored fewer than {found.spec.quiet} windows before this one, so it stands by itself."
        )
    if rows:
        charts.show(_lines(rows, quiet=bool(quiet)), f"Scores of the window from {chosen} beside the quiet windows.")


def _lines(rows: Sequence[Row], *, quiet: bool) -> Drawn:
    names = [_WINDOW, _QUIET] if quiet else [_WINDOW]
    # An axis of logits, told as probabilities in %.
    label = "format(100 / (1 + exp(-datum.value)), '.2~g')"
    share = alt.Axis(format=".2~p", tickCount=6)
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame([*rows]))
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=36))
        .encode(
            x=alt.X(
                "logit:Q",
                title="probability of fraud (%, even steps of the logit)",
                axis=alt.Axis(labelExpr=label, tickCount=10),
            ),
            y=alt.Y("share:Q", title="share of transactions (%)", axis=share, scale=alt.Scale(type="log")),
            color=alt.Color(
                "of:N",
                scale=alt.Scale(domain=names, range=[colour("vermillion"), colour("blue")][: len(names)]),
                legend=alt.Legend(orient="top", title=None, symbolType="stroke"),
            ),
            strokeDash=alt.StrokeDash(
                "of:N",
                scale=alt.Scale(domain=names, range=[[1, 0], [6, 3]][: len(names)]),
                legend=alt.Legend(orient="top", title=None, symbolType="stroke"),
            ),
            tooltip=["of", "probability", alt.Tooltip("share", format=".3~%")],
        )
        .properties(height=320)
    )
    return chart
