"""How far each feature moved in each window: a map of cells, darker for more, with the figure where it matters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fraudfl.results.pictures.canvas import Canvas

_STEPS = (
    (0.02, "#f3f5f1", "below 0.02"),
    (0.05, "#dfe9c8", "to 0.05"),
    (0.1, "#a9cfa4", "to 0.1"),
    (0.25, "#4a9db0", "to 0.25"),
)
"""Upper ends of PSI, their colours from light to dark, and what the key says of them."""
_LARGE, _LARGE_NAME = "#1d3f8a", "0.25 or more"
_SHOWN = 0.1
_NAME = 48.0
_LEFT, _WIDTH, _ROW, _TOP = 172.0, 720.0, 19.0, 44.0


@dataclass(frozen=True)
class Cell:
    """How far one feature moved in one window, and whether chance explains it."""

    psi: float
    significant: bool


def heat_map(
    rows: Mapping[str, Sequence[Cell | None]], names: Sequence[str], title: str, alt: str, *, marks: Mapping[int, str]
) -> str:
    """Draw one row of cells for each feature.

    Args:
        rows: Feature to a cell for each window; None where it was compared with nothing.
        names: Of the windows.
        title: Of the windows' axis.
        marks: Place of a window to what stands above it: an alert's number.
    """
    wide = (_WIDTH - _LEFT - 10) / max(1, len(names))
    floor = _TOP + _ROW * len(rows)
    canvas = Canvas(_WIDTH, floor + 74)
    canvas.text(8, 18, "PSI against the quiet windows", size=13, strong=True)
    canvas.text(_WIDTH - 10, 18, "★ chance does not explain it (adjusted p ≤ 0.01)", size=11, ink="muted", anchor="end")
    for place, said in marks.items():
        canvas.circle(_LEFT + wide * (place + 0.5), _TOP - 11, 7, "vermillion")
        canvas.text(_LEFT + wide * (place + 0.5), _TOP - 7, said, size=10, ink="#ffffff", anchor="middle")
    for number, (name, cells) in enumerate(rows.items()):
        y = _TOP + _ROW * number
        canvas.text(_LEFT - 8, y + 14, name, size=11.5, anchor="end", room=_LEFT - 12)
        for place, cell in enumerate(cells):
            _cell(canvas, cell, _LEFT + wide * place, y, wide)
    every = max(1, math.ceil(_NAME / wide))
    for place, name in enumerate(names):
        if place % every == 0:
            canvas.text(_LEFT + wide * (place + 0.5), floor + 15, name, size=11, ink="muted", anchor="middle")
    canvas.text(_WIDTH - 10, floor + 31, title, size=12, ink="muted", anchor="end")
    _key(canvas, floor + 48)
    return canvas.svg(alt)


def _cell(canvas: Canvas, cell: Cell | None, x: float, y: float, wide: float) -> None:
    if cell is None:
        canvas.line((x + wide / 2 - 3, y + _ROW / 2), (x + wide / 2 + 3, y + _ROW / 2), "rule", 1.5)
        return
    canvas.rect(x + 0.5, y + 0.5, wide - 1, _ROW - 1, _colour(cell.psi))
    words = (f"{cell.psi:.2f}" if cell.psi >= _SHOWN and wide >= 24 else "") + ("★" if cell.significant else "")
    if words:
        ink = "#ffffff" if cell.psi >= 0.1 else "#1b1f24"
        canvas.text(x + wide / 2, y + 14, words, size=10.5, ink=ink, anchor="middle")


def _colour(psi: float) -> str:
    return next((colour for end, colour, _ in _STEPS if psi < end), _LARGE)


def _key(canvas: Canvas, y: float) -> None:
    x = _LEFT
    for colour, name in [*((colour, name) for _, colour, name in _STEPS), (_LARGE, _LARGE_NAME)]:
        canvas.rect(x, y, 16, 12, colour, edge="rule")
        canvas.text(x + 22, y + 10, name, size=11, ink="muted")
        x += 92
