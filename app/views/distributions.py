"""Score distributions of monitored windows, and how soon labels come."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from app import reading_figures
from app.parts import charts, frame
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import colour, dark
from app.reading_figures import WatchedWindows
from fraudfl.monitoring.distribution import Band, known_labels, quiet_before, reference_bands, score_bands
from fraudfl.monitoring.observed import Observed
from fraudfl.report.words import NONE, count_of
from fraudfl.results.facts import PhaseResult
from server.reports.label_delays import LabelDelays
from server.store.workspace import Workspace

_WINDOW, _QUIET = "this window", "quiet windows"


def scores_by_window(phase: PhaseResult, found: WatchedWindows) -> None:
    """How scores are distributed in each window, and in one of them beside the quiet ones."""
    st.subheader("Scores by window", anchor=False)
    bins = found.plan.score_bins
    bands = {one.window: score_bands(one.scores, bins, one.noise) for one in found.observed}
    rows = [row for one in found.observed for row in _band_rows(_first(found, one), one.model, bands[one.window])]
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
        begun.setdefault(one.model, _first(found, one))
    if len(begun) == 1:
        return f"Version {next(iter(begun))} scored all of them."
    said = ", ".join(f"version {model} from {first}" for model, first in begun.items())
    return f"Scored by {said}: scores of different versions have no common scale."


def _first(found: WatchedWindows, one: Observed) -> str:
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
            x=alt.X("window begins:O", title="window begins", axis=alt.Axis(labelAngle=-45, labelOverlap=True)),
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
    names = [_first(found, one) for one in found.observed]
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


def label_delay(workspace: Workspace, phase: PhaseResult, found: WatchedWindows) -> None:
    """When labels are taken to be known, how many were, and how long they took where that was counted."""
    st.subheader("Label delay", anchor=False)
    days, after = found.plan.split.label_delay_days, found.spec.labels_after_days
    cells = st.columns(2)
    cells[0].metric(
        "Labels are asked for, after a window's end",
        f"{after:g} days",
        border=True,
        help="`labels_after_days` of the monitoring phase; labels that come later are in no figure.",
    )
    cells[1].metric(
        "Delay of labels that have no time of their own",
        f"{days:g} days",
        border=True,
        help="`split.label_delay_days`; training uses no label before it is known.",
    )
    rows = [_label_row(found, one) for one in found.observed]
    known = [{**row, "low": None, "high": None} for row in rows if row["labels known, %"] is not None]
    left, right = st.columns(2)
    with left:
        if known:
            drawn = charts.line(
                known, along="window begins", value="labels known, %", ink="green",
                titles=("window begins", "labels known when asked (%)"),
            )  # fmt: skip
            charts.show(drawn, f"Labels known when they were asked for, in each of {len(known)} windows.")
        else:
            st.caption("Labels of no window were asked for yet, or not the same banks answered with scores and labels.")
    with right:
        delays = frame.attempt(lambda: reading_figures.label_delays(workspace))
        if delays is None:
            st.caption(
                "How long labels take is counted by an assessment, of banks that map a `label_time`. Add a phase of "
                "kind `assessment` to the consortium's file to see it here."
            )
        else:
            charts.show(_delay_chart(delays, days), f"Share of labels known by age: {_delay_words(delays)}.")
            st.caption(
                f"Counted in {delays.phase}, summed over banks. The dashed line is the plan's {days:g} days. "
                f"{_delay_words(delays)}."
            )
    table(f"{phase.name}-labels", rows, f"Labels of {phase.name} by window")


def _label_row(found: WatchedWindows, one: Observed) -> Row:
    share = known_labels(one)
    counted = None if one.outcome is None else round(float(one.outcome.sum()))
    return {
        "window begins": _first(found, one),
        "window is over": found.spec.ends(one.window).isoformat(),
        "labels asked for": found.spec.labels_known(one.window).isoformat(),
        "transactions": round(float(one.scores.sum())),
        "with a label": counted,
        "labels known, %": None if share is None else 100 * share,
    }


def _delay_words(found: LabelDelays) -> str:
    picked = [days for days in found.within if days in (1.0, 7.0, 14.0, 30.0)]
    return ", ".join(f"{found.within[days].value:.1%} within {count_of(int(days), 'day')}" for days in picked) or NONE


def _delay_chart(found: LabelDelays, planned: float) -> Drawn:
    rows = [{"days": days, "share": one.value, "low": one.low, "high": one.high} for days, one in found.within.items()]
    marks = [days for days in (*found.within, planned) if days >= 1]
    scale = alt.Scale(type="log", nice=False)
    axis = alt.Axis(format=".1~f", values=sorted({*marks}), labelOverlap=True)
    x = alt.X("days:Q", title="days after the transaction (logarithmic)", scale=scale, axis=axis)
    y = alt.Y("share:Q", title="labels known (%)", axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1]))
    tips = [alt.Tooltip("days", format=".3~g"), *(alt.Tooltip(name, format=".2%") for name in ("share", "low", "high"))]
    base = alt.Chart(pd.DataFrame(rows))
    band = base.mark_area(opacity=0.22, color=colour("green")).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(color=colour("green"), strokeWidth=2).encode(x=x, y=y)
    dots = base.mark_circle(color=colour("green"), size=40, opacity=1).encode(x=x, y=y, tooltip=tips)
    layers = [band, line, dots]
    if planned > 0:
        rule = alt.Chart(pd.DataFrame([{"days": planned}])).mark_rule(color=colour("ink"), strokeDash=[6, 3], size=1.5)
        layers.append(rule.encode(x=x))
    return alt.layer(*layers).properties(height=290)
