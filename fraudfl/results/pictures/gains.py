"""How many banks gained how much: one bar for each bin, losses on the left and gains on the right."""

from __future__ import annotations

from collections.abc import Sequence

from fraudfl.results.measured import GainBins
from fraudfl.results.pictures.axes import level_axis, scale_over
from fraudfl.results.pictures.canvas import Canvas, Ink

_LEFT, _WIDTH, _TOP, _HIGH = 46.0, 720.0, 40.0, 150.0
_REACH = 1.959963984540054


def gain_bins(bins: GainBins, alt: str) -> str:
    """Draw the bins; whiskers are the noise in each count (95 %)."""
    floor = _TOP + _HIGH
    canvas = Canvas(_WIDTH, floor + 58)
    reach = _REACH * bins.noise
    tops = [max(0.0, count) + reach for count in (*bins.counts, bins.undefined)]
    scale = scale_over([*tops, 1.0], floor, _TOP, least=0.0)
    level_axis(canvas, scale, _LEFT, _WIDTH - 12)
    canvas.text(8, 18, "Banks per gain in AUPRC over training alone", size=13, strong=True)
    wide = (_WIDTH - 12 - _LEFT) / (len(bins.counts) + 1.4)
    for place, count in enumerate(bins.counts):
        _bar(canvas, _LEFT + wide * place, wide, (scale.at(0), scale.at(max(0.0, count))), _ink(bins.edges, place))
        _whisker(canvas, _LEFT + wide * (place + 0.5), [scale.at(max(0.0, count + sign * reach)) for sign in (-1, 1)])
        _count(canvas, count, _LEFT + wide * (place + 0.5), scale.at(max(0.0, count) + reach))
    for place, edge in enumerate(bins.edges, start=1):
        canvas.text(_LEFT + wide * place, floor + 16, f"{edge:+g}", size=11, ink="muted", anchor="middle")
    last = _LEFT + wide * (len(bins.counts) + 0.4)
    _bar(canvas, last, wide, (scale.at(0), scale.at(max(0.0, bins.undefined))), "rule")
    _count(canvas, bins.undefined, last + wide / 2, scale.at(max(0.0, bins.undefined)))
    canvas.text(last + wide / 2, floor + 16, "no fraud", size=11, ink="muted", anchor="middle")
    canvas.text(last + wide / 2, floor + 30, "to test on", size=11, ink="muted", anchor="middle")
    _key(canvas, floor + 44)
    return canvas.svg(alt)


def _ink(edges: Sequence[float], place: int) -> Ink:
    """Below the bin that holds 0 banks lose, above it they gain."""
    zero = sum(1 for edge in edges if edge <= 0)
    return "vermillion" if place < zero else "blue" if place > zero else "muted"


def _bar(canvas: Canvas, x: float, wide: float, ends: tuple[float, float], ink: Ink) -> None:
    canvas.rect(x + 2, min(ends), wide - 4, abs(ends[0] - ends[1]), ink)


def _whisker(canvas: Canvas, x: float, ends: Sequence[float]) -> None:
    if abs(ends[0] - ends[1]) >= 1:
        canvas.line((x, ends[0]), (x, ends[1]), "ink", 1.5)


def _count(canvas: Canvas, count: float, x: float, y: float) -> None:
    if count >= 0.5:
        canvas.text(x, y - 5, f"{count:.0f}", size=11.5, anchor="middle", strong=True)


def _key(canvas: Canvas, y: float) -> None:
    for x, ink, name in (
        (_LEFT, "vermillion", "lose"),
        (_LEFT + 70, "muted", "about even"),
        (_LEFT + 175, "blue", "gain"),
    ):
        canvas.rect(x, y, 12, 10, ink)
        canvas.text(x + 17, y + 9, name, size=11, ink="muted")
