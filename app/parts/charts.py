"""Charts: Vega-Lite as Streamlit ships it, with units on their axes, and words for those who do not see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from app.parts.tables import Row
from app.parts.theme import colour
from fraudfl.results.pictures.canvas import Ink

Drawn = alt.Chart | alt.LayerChart | alt.FacetChart
_ROW = 34
_MOST_NAMES = 40
SLANTED = alt.Axis(labelAngle=-45, labelOverlap=True)  # for days and other short words along the lower axis


def show(chart: Drawn, alt_text: str) -> None:
    """Draw a chart as wide as the page, with words on it that stand out from the page."""
    ink = colour("ink")
    drawn = chart.configure_axis(labelColor=ink, titleColor=ink).configure_legend(labelColor=ink, titleColor=ink)
    st.altair_chart(drawn, width="stretch", alt=alt_text)


def banks_axis(names: Sequence[str], angle: int = -45) -> alt.Axis:
    """An axis of banks, whose names are left out where there are too many to be read."""
    few = len(names) <= _MOST_NAMES
    return alt.Axis(labels=few, ticks=few, labelAngle=angle, labelLimit=220)


def rows_height(names: Sequence[str]) -> int:
    """Pixels for a row of each bank, with room for its name where names are written."""
    return (20 if len(names) <= _MOST_NAMES else 5) * len(names) + 150


def under_cap(chart: alt.Chart, cap: float | None, *, height: int = 300) -> Drawn:
    """A chart of ε with a dashed line where its cap is, if there is one."""
    if cap is None:
        plain: alt.Chart = chart.properties(height=height)
        return plain
    rule = alt.Chart(pd.DataFrame([{"cap": cap}])).mark_rule(color=colour("vermillion"), strokeDash=[6, 3], size=2)
    return alt.layer(chart, rule.encode(y="cap:Q", tooltip=["cap"])).properties(height=height)


def intervals(
    rows: Sequence[Row], *, name: str, value: str, title: str, inks: Mapping[str, Ink], percent: bool = False
) -> Drawn:
    """One bar for each row, with a whisker for its interval.

    Args:
        rows: With `low` and `high`, None where there is no interval.
        name: Heading of what a bar is, in the order of `rows`.
        value: Heading of its figure.
        title: Of the axis, with its unit.
        inks: By name.
        percent: Whether figures are shares.
    """
    data = pd.DataFrame([*rows])
    y = alt.Y(f"{name}:N", sort=[str(row[name]) for row in rows], title=None, axis=alt.Axis(labelLimit=220))
    axis = alt.Axis(format=".0%" if percent else ".2f", tickCount=6)
    base = alt.Chart(data)
    scale = alt.Scale(domain=[*inks], range=[colour(ink) for ink in inks.values()])
    tips = [name, *(alt.Tooltip(one, format=".1%" if percent else ".4f") for one in (value, "low", "high"))]
    bars = base.mark_bar(height=18).encode(
        y=y,
        x=alt.X(f"{value}:Q", title=title, axis=axis, scale=alt.Scale(zero=True)),
        color=alt.Color(f"{name}:N", scale=scale, legend=None),
        tooltip=tips,
    )
    # A rim in the page's colour: the whisker is seen on the bar and beyond it.
    rims = base.mark_rule(color=colour("paper"), strokeWidth=5).encode(y=y, x="low:Q", x2="high:Q")
    whiskers = base.mark_rule(color=colour("ink"), strokeWidth=2).encode(y=y, x="low:Q", x2="high:Q")
    return alt.layer(bars, rims, whiskers).properties(height=_ROW * len(rows) + 70)


def stacked(
    rows: Sequence[Row], *, name: str, value: str, part: str, titles: tuple[str, str], inks: Mapping[str, Ink]
) -> Drawn:
    """Upright bars of parts on top of each other, in the order of `rows`.

    Args:
        titles: Of the axes: names, values with their unit.
        inks: By part.
    """
    numeric = all(isinstance(row[name], int) for row in rows)
    names = [*dict.fromkeys(str(row[name]) for row in rows)]
    labels = alt.Axis(
        labels=len(names) <= _MOST_NAMES or numeric, ticks=len(names) <= _MOST_NAMES, labelAngle=0 if numeric else -45,
        labelOverlap=True, labelLimit=220,
    )  # fmt: skip
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame([*rows]))
        .mark_bar()
        .encode(
            x=alt.X(f"{name}:O", sort=None if numeric else names, title=titles[0], axis=labels),
            y=alt.Y(f"{value}:Q", title=titles[1]),
            color=alt.Color(
                f"{part}:N",
                scale=alt.Scale(domain=[*inks], range=[colour(ink) for ink in inks.values()]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=[name, part, alt.Tooltip(value, format=",.3f")],
        )
        .properties(height=360)
    )
    return chart


def lying(rows: Sequence[Row], *, name: str, value: str, part: str, title: str, inks: Mapping[str, Ink]) -> Drawn:
    """Lying bars, the parts of each beside each other.

    Args:
        title: Of the axis of values, with its unit.
        inks: By part, in order.
    """
    names = [*dict.fromkeys(str(row[name]) for row in rows)]
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame([*rows]))
        .mark_bar()
        .encode(
            y=alt.Y(f"{name}:N", sort=names, title=None, axis=alt.Axis(labelLimit=220)),
            yOffset=alt.YOffset(f"{part}:N", sort=[*inks]),
            x=alt.X(f"{value}:Q", title=title),
            color=alt.Color(
                f"{part}:N",
                sort=[*inks],
                scale=alt.Scale(domain=[*inks], range=[colour(ink) for ink in inks.values()]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=[name, part, alt.Tooltip(value, format=",.3f")],
        )
        .properties(height=14 * len(inks) * len(names) + 150)
    )
    return chart


def line(
    rows: Sequence[Row], *, along: str, value: str, titles: tuple[str, str], ink: Ink, percent: bool = False
) -> Drawn:
    """A line with its points, and a band where rows have `low` and `high`.

    Args:
        along: Heading of the place on the lower axis; numbers, or names in order.
        titles: Of the axes, with units.
    """
    data = pd.DataFrame([{"low": None, "high": None} | dict(row) for row in rows])
    counted = all(isinstance(row[along], int) for row in rows)
    names = [str(row[along]) for row in rows]
    x = (
        alt.X(f"{along}:Q", title=titles[0], axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False))
        if counted
        else alt.X(f"{along}:O", title=titles[0], sort=names, axis=SLANTED)
    )
    form = ".1%" if percent else ".4f"
    axis = alt.Axis(format=".1%") if percent else alt.Axis()
    y = alt.Y(f"{value}:Q", title=titles[1], axis=axis, scale=alt.Scale(zero=True))
    base = alt.Chart(data)
    layers: list[alt.Chart] = []
    if data["low"].notna().any():
        layers.append(base.mark_area(opacity=0.22, color=colour(ink)).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"))
    tips = [along, alt.Tooltip(value, format=form)]
    layers.append(base.mark_line(color=colour(ink), strokeWidth=2).encode(x=x, y=y, tooltip=tips))
    layers.append(base.mark_circle(color=colour(ink), size=40, opacity=1).encode(x=x, y=y, tooltip=tips))
    return alt.layer(*layers).properties(height=290)
