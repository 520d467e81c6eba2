"""Figures side by side: bars with intervals, one panel for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fraudfl.results.measured import Estimate
from fraudfl.results.pictures.axes import Scale, upright_axis
from fraudfl.results.pictures.canvas import Canvas, Ink

_NAMES, _ROW, _TOP, _BOTTOM = 152.0, 26.0, 34.0, 28.0
_WIDTH, _FIGURES = 720.0, 46.0


@dataclass(frozen=True)
class Bar:
    """One row: what it is, and its figure in each panel; None where there is none."""

    name: str
    ink: Ink
    figures: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Panel:
    """One column of bars.

    Attributes:
        low, high: Ends of its axis.
        mark: A figure that all are measured against, such as the story's; None without.
    """

    title: str
    low: float = 0.0
    high: float = 1.0
    percent: bool = False
    mark: float | None = None


def bars(rows: Sequence[Bar], panels: Sequence[Panel], alt: str) -> str:
    """Draw one row of bars for each way, in one panel for each figure; whiskers are 95 % intervals."""
    bottom = _TOP + _ROW * len(rows)
    canvas = Canvas(_WIDTH, bottom + _BOTTOM)
    for place, row in enumerate(rows):
        strong = place == 0
        canvas.text(_NAMES - 10, _middle(place) + 4, row.name, anchor="end", strong=strong, room=_NAMES - 12)
    wide = (_WIDTH - _NAMES - 8) / len(panels)
    for number, panel in enumerate(panels):
        left = _NAMES + number * wide
        _panel(canvas, panel, rows, number, Scale(panel.low, panel.high, left, left + wide - _FIGURES - 14))
    return canvas.svg(alt)


def _panel(canvas: Canvas, panel: Panel, rows: Sequence[Bar], number: int, scale: Scale) -> None:
    bottom = _TOP + _ROW * len(rows)
    canvas.text(scale.start, 18, panel.title, size=13, strong=True)
    upright_axis(canvas, scale, _TOP - 6, bottom, percent=panel.percent)
    if panel.mark is not None:
        canvas.line((scale.at(panel.mark), _TOP - 6), (scale.at(panel.mark), bottom), "ink", 1.5, "4 3")
    for place, row in enumerate(rows):
        found = row.figures[number]
        if found is None:
            canvas.text(scale.end + _FIGURES, _middle(place) + 4, "–", ink="muted", anchor="end")
            continue
        _bar(canvas, scale, _middle(place), found, row.ink)
        shown = f"{found.value:.1%}" if panel.percent else f"{found.value:.3f}"
        canvas.text(scale.end + _FIGURES, _middle(place) + 4, shown, anchor="end", strong=place == 0)


def _bar(canvas: Canvas, scale: Scale, y: float, found: Estimate, ink: Ink) -> None:
    start = scale.at(max(scale.low, min(0.0, scale.high)))
    ends = sorted((start, scale.at(found.value)))
    canvas.rect(ends[0], y - 7, ends[1] - ends[0], 14, ink)
    if found.low is None or found.high is None:
        return
    low, high = scale.at(found.low), scale.at(found.high)
    canvas.line((low, y), (high, y), "ink", 1.5)
    for end in (low, high):
        canvas.line((end, y - 4), (end, y + 4), "ink", 1.5)


def _middle(place: int) -> float:
    return _TOP + _ROW * (place + 0.5)
