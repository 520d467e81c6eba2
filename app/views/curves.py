"""Curves of the accuracy page: precision against recall, and what scores promise against what came."""

from __future__ import annotations

import math
from typing import cast

import altair as alt
import pandas as pd
import streamlit as st

from app.parts import charts
from app.parts.charts import Drawn
from app.parts.tables import Row, table
from app.parts.theme import WAY_INKS, colour
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.monitoring.reliability import Point, ReliabilityCurve, reliability_curve
from fraudfl.monitoring.scores import Scored
from fraudfl.monitoring.settings import ScoringConfig
from fraudfl.plan import Plan
from fraudfl.report.words import NONE, count_of
from fraudfl.results.measured import Way
from fraudfl.results.spelling import WAY_NAMES
from pipelines.way_scores import WayScores

_SHARE = alt.Axis(format=".0%")
_MUCH = 0.1  # noise per fraud


def noise_words(scores: WayScores) -> str:
    """How much noise is in the federated model's counts; empty without any."""
    if not scores.noise_variance:
        return ""
    deviation = math.sqrt(scores.noise_variance)
    whole = math.sqrt(scores.noise_variance * scores.federated.bins.size)
    frauds = int(scores.federated.positive.sum())
    care = " That is much: read curves as rough shapes." if whole > _MUCH * frauds else ""
    return (
        f"Sums are released with noise: a standard deviation of {deviation:.1f} rows in each bin, and of "
        f"{whole:.0f} in all bins together, against {frauds:,} frauds.{care}"
    )


def precision_recall(phase: str, scores: WayScores, plan: Plan) -> None:
    """Precision against recall, of every way to train whose scores are kept."""
    st.header("Precision and recall", anchor=False)
    if not scores.federated.positive.any():
        st.caption("No fraud is among the test rows, or none is left in the sums after their noise: there is no curve.")
        return
    rows = [row for way, histogram in scores.by_way.items() for row in _curve_rows(cast(Way, way), histogram)]
    at_budget = scores.federated.recall_at_budget(plan.alert_budget)
    areas = ", ".join(
        f"{WAY_NAMES[cast(Way, way)]} {area:.3f}"
        for way, one in scores.by_way.items()
        if (area := one.auprc()) is not None
    )
    charts.show(_precision_recall_chart(rows, at_budget), f"Precision against recall in {phase}. AUPRC: {areas}.")
    st.caption(
        f"Over all test transactions of {count_of(scores.banks, 'bank')} together, from score histograms. The dashed "
        f"line is the federated model's recall at the alert budget of {plan.alert_budget:.2%} of transactions. "
        + noise_words(scores)
    )
    if len(scores.by_way) == 1:
        st.caption("Curves of the other ways to train come with phases that are run from now on, and compare them.")
    with st.expander("Curves as a table"):
        table(f"{phase}-curve", rows, f"Precision and recall of {phase} by way to train and threshold")


def _curve_rows(way: Way, histogram: ScoreHistogram) -> list[Row]:
    """One row for each threshold at which something changes."""
    found: dict[tuple[float, float], Row] = {}
    for p, r, t in zip(*histogram.precision_recall_curve(), strict=True):
        row = {"trained": WAY_NAMES[way], "recall": float(r), "precision": float(p), "threshold, logit": float(t)}
        found.setdefault((float(r), float(p)), row)
    return [*found.values()]


def _precision_recall_chart(rows: list[Row], at_budget: float | None) -> Drawn:
    whole = alt.Scale(domain=[0, 1])
    inks = {name: WAY_INKS[way] for way, name in WAY_NAMES.items()}
    shown = [name for name in inks if any(row["trained"] == name for row in rows)]
    line: alt.Chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("recall:Q", title="recall (share of frauds found)", axis=_SHARE, scale=whole),
            y=alt.Y("precision:Q", title="precision (share of alerts that are fraud)", axis=_SHARE, scale=whole),
            color=way_colour(shown),
            strokeDash=way_dash(shown),
            order=alt.Order("recall:Q"),
            tooltip=[
                "trained",
                alt.Tooltip("recall", format=".1%"),
                alt.Tooltip("precision", format=".1%"),
                alt.Tooltip("threshold, logit", format=".2f"),
            ],
        )
    )
    if at_budget is None:
        line = line.properties(height=380)
        return line
    rule = alt.Chart(pd.DataFrame([{"recall": at_budget}])).mark_rule(color=colour("ink"), strokeDash=[6, 3], size=1.5)
    return alt.layer(line, rule.encode(x="recall:Q")).properties(height=380)


def way_colour(names: list[str]) -> alt.Color:
    """Each way to train in its own colour, with a legend."""
    inks = {name: WAY_INKS[way] for way, name in WAY_NAMES.items()}
    scale = alt.Scale(domain=names, range=[colour(inks[name]) for name in names])
    return alt.Color("trained:N", scale=scale, legend=alt.Legend(orient="top", title=None, symbolType="stroke"))


def way_dash(names: list[str]) -> alt.StrokeDash:
    """Each way to train in its own stroke, the federated one whole: colour alone tells nothing to some."""
    strokes = {"federated": [1, 0], "alone": [8, 3], "pooled": [3, 2], "xgboost alone": [8, 3, 2, 3]}
    by_name = {WAY_NAMES[way]: strokes.get(way, [2, 4]) for way in WAY_NAMES}
    scale = alt.Scale(domain=names, range=[by_name[name] for name in names])
    return alt.StrokeDash("trained:N", scale=scale, legend=alt.Legend(orient="top", title=None, symbolType="stroke"))


def calibration(phase: str, scores: WayScores) -> None:
    """Whether the federated model's scores mean what they say."""
    st.header("Calibration", anchor=False)
    found = reliability_curve(Scored(scores.federated, scores.noise_variance), ScoringConfig())
    if found is None:
        st.caption("No test transaction was scored.")
        return
    if scores.noise_variance:
        st.caption(noise_words(scores))
    _calibration_figures(found)
    if found.left_out:
        st.caption(f"{count_of(found.left_out, 'group')} of scores are not shown: their frauds may be noise alone.")
    if len(found.points) < 2:
        st.caption("Too few frauds stand out to draw what came against what scores promise.")
        return
    charts.show(_calibration_chart(found.points), f"Share of fraud by promised probability: {_said(found.points)}.")
    st.caption(
        "Federated model, test transactions in groups with about as many expected frauds each, at least ten. On the "
        "dashed line scores mean what they say; above it there is more fraud than they promise. Bars are 95 % "
        "intervals, which take rows for independent. Both axes are logarithmic, for fraud is rare."
    )
    rows: list[Row] = [
        {
            "lowest score, %": round(100 * one.low, 5),
            "highest score, %": round(100 * one.high, 5),
            "transactions": one.rows,
            "frauds": one.frauds,
            "promised, %": round(100 * one.predicted, 5),
            "came, %": round(100 * one.observed.value, 5),
            "came, low, %": round(100 * one.observed.low, 5),
            "came, high, %": round(100 * one.observed.high, 5),
        }
        for one in found.points
    ]
    table(f"{phase}-calibration", rows, f"Promised and seen shares of fraud in {phase}, by score")


def _calibration_figures(found: ReliabilityCurve) -> None:
    left, right = st.columns(2)
    error, ratio = found.ece, found.predicted_to_seen
    left.metric(
        "Expected calibration error",
        NONE if error is None else f"{100 * error:.2f} percentage points",
        delta="hidden by noise" if error is None else "mean over transactions",
        delta_color="off",
        delta_arrow="off",
        border=True,
        help="Mean distance of the promised and the seen share of fraud, over transactions.",
    )
    right.metric(
        "Frauds promised per fraud seen",
        NONE if ratio is None else f"{ratio.value:.2f}",
        delta="not to be told" if ratio is None else f"95 %: {ratio.low:.2f} to {ratio.high:.2f}",
        delta_color="off",
        delta_arrow="off",
        border=True,
        help="1: as many as scores promise. Above 1 they promise too many, below 1 too few.",
    )


def _said(points: tuple[Point, ...]) -> str:
    return "; ".join(f"{one.predicted:.2%} promised, {one.observed.value:.2%} came" for one in points)


def _calibration_chart(points: tuple[Point, ...]) -> Drawn:
    seen = [value for one in points for value in (one.predicted, one.observed.value, one.observed.low) if value > 0]
    floor, top = min(seen) / 1.5, min(1.0, 1.5 * max(one.observed.high for one in points))
    rows = [
        {
            "promised": one.predicted,
            "came": one.observed.value,
            "drawn": max(one.observed.value, floor),
            "low": max(one.observed.low, floor),
            "high": one.observed.high,
            "frauds": one.frauds,
            "transactions": one.rows,
        }
        for one in points
    ]
    scale = alt.Scale(type="log", domain=[floor, top], clamp=True, nice=False)
    ticks = [step * 10.0**decade for decade in range(-7, 0) for step in (1, 2, 5)] + [1.0]
    axis = alt.Axis(format=".2~p", values=[tick for tick in ticks if floor <= tick <= top])
    x = alt.X("promised:Q", title="probability of fraud that scores promise (%)", axis=axis, scale=scale)
    y = alt.Y("drawn:Q", title="share of fraud that came (%)", axis=axis, scale=scale)
    tips = [
        *(alt.Tooltip(name, format=".3%") for name in ("promised", "came", "low", "high")),
        *(alt.Tooltip(name, format=",") for name in ("frauds", "transactions")),
    ]
    base = alt.Chart(pd.DataFrame(rows))
    diagonal = alt.Chart(pd.DataFrame([{"promised": end, "drawn": end} for end in (floor, top)])).mark_line(
        color=colour("muted"), strokeDash=[6, 3], strokeWidth=1.5
    )
    bars = base.mark_rule(color=colour("ink"), strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q")
    dots = base.mark_circle(color=colour("blue"), size=90, opacity=1).encode(x=x, y=y, tooltip=tips)
    return alt.layer(diagonal.encode(x=x, y=y), bars, dots).properties(height=380)
