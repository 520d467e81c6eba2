"""The consortium's life on one page: its phases in order, with their gates and what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fraudfl.results.pictures.canvas import Canvas, Ink, width_of

Sign = Literal["pass", "hold", "fail", "none"]
_WIDTH, _SPINE, _LEFT, _GATES = 720.0, 26.0, 50.0, 400.0
_LINE, _BETWEEN = 17.0, 14.0
_INKS: dict[Sign, Ink] = {"pass": "green", "hold": "orange", "fail": "vermillion", "none": "muted"}


@dataclass(frozen=True)
class Sentry:
    """A gate: what it said, and who released it; empty where nobody did."""

    name: str
    sign: Sign
    released: str = ""


@dataclass(frozen=True)
class Step:
    """One phase.

    Attributes:
        lines: What it came to, a line each.
        inner: Whether another phase started it.
        sign: What its gates said together; `none` where it has not ended.
    """

    name: str
    kind: str
    lines: tuple[str, ...]
    gates: tuple[Sentry, ...]
    sign: Sign
    inner: bool = False


def timeline(steps: Sequence[Step], alt: str) -> str:
    """Draw phases from top to bottom."""
    heights = [_height(step) for step in steps]
    canvas = Canvas(_WIDTH, 44 + sum(heights) + _BETWEEN * len(steps))
    _key(canvas)
    middles = [50 + sum(heights[:place]) + _BETWEEN * place for place in range(len(steps))]
    if middles:
        canvas.line((_SPINE, middles[0]), (_SPINE, middles[-1]), "rule", 3)
    for step, y in zip(steps, middles, strict=True):
        _step(canvas, step, y)
    return canvas.svg(alt)


def _step(canvas: Canvas, step: Step, y: float) -> None:
    left = _LEFT + (26 if step.inner else 0)
    if step.inner:
        canvas.line((_SPINE, y), (left - 16, y), "rule", 3)
    _sign(canvas, left - 16 if step.inner else _SPINE, y, step.sign, 8)
    canvas.text(left, y + 5, step.name, size=14, strong=True)
    canvas.text(left + width_of(step.name, 17) + 10, y + 5, step.kind, size=12, ink="muted")
    for number, words in enumerate(step.lines, start=1):
        canvas.text(left, y + 5 + _LINE * number, words, size=12, ink="muted", room=_GATES - left - 8)
    place = 0
    for gate in step.gates:
        _sign(canvas, _GATES + 6, y + _LINE * place, gate.sign, 5.5)
        canvas.text(_GATES + 20, y + 4 + _LINE * place, f"{gate.name}: {gate.sign}", size=12)
        place += 1
        if gate.released:
            canvas.text(_GATES + 20, y + 4 + _LINE * place, f"released by {gate.released}", size=11.5, ink="muted")
            place += 1


def _height(step: Step) -> float:
    gates = sum(2 if gate.released else 1 for gate in step.gates)
    return _LINE * max(1 + len(step.lines), gates)


def _sign(canvas: Canvas, x: float, y: float, sign: Sign, size: float) -> None:
    """Its shape says as much as its colour: a disc, a diamond, a cross, a ring."""
    ink = _INKS[sign]
    if sign == "pass":
        canvas.circle(x, y, size, ink)
    elif sign == "none":
        canvas.circle(x, y, size - 1, "paper", ink)
    elif sign == "hold":
        reach = size * 1.3
        canvas.path([(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)], ink, closed=True)
    else:
        canvas.circle(x, y, size + 2, "paper")
        for ends in (((x - size, y - size), (x + size, y + size)), ((x - size, y + size), (x + size, y - size))):
            canvas.line(*ends, ink, size / 1.8)


def _key(canvas: Canvas) -> None:
    x = _LEFT
    for sign, words in (("pass", "pass"), ("hold", "hold"), ("fail", "fail"), ("none", "not judged")):
        _sign(canvas, x, 18, sign, 5.5)  # type: ignore[arg-type]
        canvas.text(x + 12, 22, words, size=11, ink="muted")
        x += 34 + width_of(words, 11)
    canvas.text(_GATES, 22, "gates", size=11, ink="muted")
