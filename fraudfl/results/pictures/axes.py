"""Scales from figures to places, with round numbers on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fraudfl.results.pictures.canvas import Canvas

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """Figures from `low` to `high` lie from `start` to `end`, in pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a figure lies; what is beyond an end lies at it."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round numbers within the scale, at most so many, evenly apart."""
        wide = (self.high - self.low) / max(1, most - 1)
        power = 10.0 ** math.floor(math.log10(wide))
        step = next(step * power for step in _STEPS if step * power >= wide * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def scale_over(values: Sequence[float], start: float, end: float, *, least: float | None = None) -> Scale:
    """A scale that all values lie on, with round ends.

    Args:
        least: A figure that the scale reaches down to in any case, such as 0.
    """
    low, high = min([*values, *([] if least is None else [least])]), max(values)
    if high - low < 1e-12:
        low, high = low - abs(low or 1.0) / 2, high + abs(high or 1.0) / 2
    ticks = Scale(low, high, 0, 1).ticks()
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(round(first * step, 12), round(last * step, 12), start, end)


def spelled(value: float, *, percent: bool = False) -> str:
    """A figure on an axis."""
    return f"{value * 100:.4g} %" if percent else f"{value:.4g}"


def level_axis(canvas: Canvas, scale: Scale, left: float, right: float, *, percent: bool = False) -> None:
    """Level lines across a drawing, with their figures on the left."""
    for tick in scale.ticks():
        y = scale.at(tick)
        canvas.line((left, y), (right, y), "rule")
        canvas.text(left - 6, y + 4, spelled(tick, percent=percent), size=11, ink="muted", anchor="end")


def upright_axis(canvas: Canvas, scale: Scale, top: float, bottom: float, *, percent: bool = False) -> None:
    """Upright lines down a drawing, with their figures below."""
    for tick in scale.ticks(3 if percent else 5):
        x = scale.at(tick)
        canvas.line((x, top), (x, bottom), "rule")
        canvas.text(x, bottom + 15, spelled(tick, percent=percent), size=11, ink="muted", anchor="middle")
