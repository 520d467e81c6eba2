"""Figures over time: lines with bands for their intervals, and marks for what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fraudfl.results.measured import Estimate
from fraudfl.results.pictures.axes import Scale, level_axis, scale_over
from fraudfl.results.pictures.canvas import Canvas, Ink, width_of

_LEFT, _RIGHT, _WIDTH = 58.0, 18.0, 720.0
_HEAD, _HIGH, _FOOT = 30.0, 92.0, 26.0
_MOST_NAMES = 12
_MOST_DOTS = 40


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        points: A figure for each place along the axis; None leaves a gap.
    """

    name: str
    ink: Ink
    points: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Chart:
    """Lines that share an axis.

    Attributes:
        percent: Whether figures are shares.
        least: A figure that the axis reaches in any case.
        mark: A figure that lines are measured against, such as a budget; None without.
    """

    title: str
    series: tuple[Series, ...]
    percent: bool = False
    least: float | None = 0.0
    mark: float | None = None


@dataclass(frozen=True)
class Happening:
    """Something that happened at a place along the axis, told by a number in the picture and in words below it."""

    place: int
    words: str
    ink: Ink


def lines(
    charts: Sequence[Chart],
    names: Sequence[str],
    title: str,
    alt: str,
    *,
    happenings: Sequence[Happening] = (),
    shaded: int = 0,
) -> str:
    """Draw charts below each other over one axis.

    Args:
        names: Of the places along the axis; of many, only some are written.
        title: Of that axis.
        happenings: Upright marks through all charts.
        shaded: So many of the first places are shaded: the reference.
    """
    drawn = [chart for chart in charts if any(_known(one.points) for one in chart.series)]
    top = 10.0
    floor = top + len(drawn) * (_HEAD + _HIGH)
    canvas = Canvas(_WIDTH, floor + _FOOT + 20 + 18 * len(happenings))
    along = Scale(0, max(1, len(names) - 1), _LEFT + 8, _WIDTH - _RIGHT)
    if shaded > 1:
        canvas.rect(along.at(0), top + _HEAD, along.at(shaded - 1) - along.at(0), floor - top - _HEAD, "shade")
        canvas.text(along.at(0) + 4, top + _HEAD + 13, "reference", size=11, ink="muted")
    for number, one in enumerate(happenings, start=1):
        _mark(canvas, one, number, along.at(one.place), top + _HEAD - 4, floor)
        canvas.circle(_LEFT + 8, floor + _FOOT + 18 * number + 6, 7, one.ink)
        canvas.text(_LEFT + 8, floor + _FOOT + 18 * number + 10, str(number), size=10, ink="#ffffff", anchor="middle")
        canvas.text(_LEFT + 22, floor + _FOOT + 18 * number + 10, one.words, size=12, room=_WIDTH - _LEFT - 30)
    for number, chart in enumerate(drawn):
        _chart(canvas, chart, along, top + _HEAD + number * (_HEAD + _HIGH))
    _names(canvas, names, along, floor, title)
    return canvas.svg(alt)


def _chart(canvas: Canvas, chart: Chart, along: Scale, top: float) -> None:
    shown = [point for one in chart.series for point in one.points if point is not None]
    ends = [end for point in shown for end in (point.value, point.low, point.high) if end is not None]
    scale = scale_over([*ends, *([] if chart.mark is None else [chart.mark])], top + _HIGH, top, least=chart.least)
    level_axis(canvas, scale, _LEFT, _WIDTH - _RIGHT, percent=chart.percent)
    canvas.text(8, top - 10, chart.title, size=13, strong=True)
    _legend(canvas, chart.series, 8 + width_of(chart.title, 14) + 18, top - 10)
    if chart.mark is not None:
        canvas.line((_LEFT, scale.at(chart.mark)), (_WIDTH - _RIGHT, scale.at(chart.mark)), "ink", 1.5, "4 3")
    for one in chart.series:
        for run in _runs(one.points):
            _band(canvas, run, one.ink, along, scale)
    for one in chart.series:
        for run in _runs(one.points):
            canvas.path([(along.at(place), scale.at(point.value)) for place, point in run], one.ink, width=2)
            for place, point in run if len(one.points) <= _MOST_DOTS else ():
                canvas.circle(along.at(place), scale.at(point.value), 3, one.ink)


def _band(canvas: Canvas, run: Sequence[tuple[int, Estimate]], ink: Ink, along: Scale, scale: Scale) -> None:
    """The interval around a line; a single point has a whisker."""
    known = [(along.at(place), point.low, point.high) for place, point in run if point.low is not None]
    upper = [(x, scale.at(high)) for x, _, high in known if high is not None]
    lower = [(x, scale.at(low)) for x, low, _ in known if low is not None]
    if len(known) == 1:
        canvas.line(upper[0], lower[0], ink, 1.5)
    canvas.path([*upper, *reversed(lower)], ink, closed=True, opacity=0.22)


def _legend(canvas: Canvas, series: Sequence[Series], left: float, y: float) -> None:
    for one in series if len(series) > 1 else ():
        canvas.line((left, y - 4), (left + 18, y - 4), one.ink, 3)
        canvas.text(left + 24, y, one.name, size=12, ink="muted")
        left += 24 + width_of(one.name) + 18


def _mark(canvas: Canvas, one: Happening, number: int, x: float, top: float, floor: float) -> None:
    canvas.line((x, top), (x, floor), one.ink, 1.5, "2 3")
    canvas.circle(x, top, 7, one.ink)
    canvas.text(x, top + 4, str(number), size=10, ink="#ffffff", anchor="middle")


def _names(canvas: Canvas, names: Sequence[str], along: Scale, floor: float, title: str) -> None:
    every = max(1, -(-len(names) // _MOST_NAMES))
    for place in range(0, len(names), every):
        canvas.text(along.at(place), floor + 17, names[place], size=11, ink="muted", anchor="middle")
    canvas.text(_WIDTH - _RIGHT, floor + 33, title, size=12, ink="muted", anchor="end")


def _runs(points: Sequence[Estimate | None]) -> list[list[tuple[int, Estimate]]]:
    """Stretches without a gap."""
    runs: list[list[tuple[int, Estimate]]] = [[]]
    for place, point in enumerate(points):
        if point is not None:
            runs[-1].append((place, point))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _known(points: Sequence[Estimate | None]) -> bool:
    return any(point is not None for point in points)
