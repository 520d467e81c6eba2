"""A drawing surface that writes SVG: shapes, text, and inks that have a light and a dark form.

Inks are those of Okabe and Ito 2008, which people with any colour vision can tell apart; what they mean is also said by
shape, place or words. Colours are attributes of each shape, so that every renderer knows them, and carry a class, by
which `standalone` gives them their dark form where the page is dark.
"""

from __future__ import annotations

from html import escape
from typing import Final, Literal

from fraudfl.report.blocks import seen, shown

Ink = Literal[
    "ink", "muted", "rule", "shade", "paper", "blue", "sky", "orange", "vermillion", "green", "purple", "yellow", "none"
]
Anchor = Literal["start", "middle", "end"]

_LIGHT: Final[dict[str, str]] = {
    "ink": "#1b1f24",
    "muted": "#5b6470",
    "rule": "#c9d0d7",
    "shade": "#eef1f4",
    "paper": "#ffffff",
    "blue": "#0072b2",
    "sky": "#56b4e9",
    "orange": "#e69f00",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "purple": "#b4508d",
    "yellow": "#f0e442",
}
_DARK: Final[dict[str, str]] = {
    "ink": "#e8ecf1",
    "muted": "#a9b3bf",
    "rule": "#465160",
    "shade": "#232a33",
    "paper": "#14181d",
    "blue": "#4ba3dd",
    "sky": "#8fd0f5",
    "orange": "#f0b429",
    "vermillion": "#f5853f",
    "green": "#2bbd92",
    "purple": "#dd8fbd",
    "yellow": "#f5ec6b",
}
_SERIF = "Libertinus Serif, Georgia, serif"
_SANS = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"
_WIDE = 0.54
"""Width of a letter, in sizes of the type: a little too much for most words."""


class Canvas:
    """Shapes on a white ground; the origin is the upper left corner, and y grows downwards."""

    def __init__(self, width: float, height: float) -> None:
        """Make an empty one, in pixels."""
        self.width, self.height = width, height
        self._shapes: list[str] = []
        self.rect(0, 0, width, height, "paper", round_by=4)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], ink: Ink = "rule", width: float = 1, dash: str = ""
    ) -> None:
        """A straight line."""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        ends = "".join(f' {name}="{_n(at)}"' for name, at in zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True))
        self._shapes.append(f'<line{ends} {_paint(stroke=ink)} stroke-width="{_n(width)}"{dashes}/>')

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: Ink | str,
        *,
        round_by: float = 0,
        edge: Ink = "none",
    ) -> None:
        """A rectangle; a fill that is no ink is a colour by itself, the same on any page."""
        corner = f' rx="{_n(round_by)}"' if round_by else ""
        size = f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(0, width))}" height="{_n(max(0, height))}"'
        self._shapes.append(f"<rect {size}{corner} {_paint(fill, edge)}/>")

    def path(
        self, points: list[tuple[float, float]], ink: Ink, *, width: float = 2, closed: bool = False, opacity: float = 1
    ) -> None:
        """A line through points, or a filled shape."""
        if not points:
            return
        places = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        if closed:
            faint = "" if opacity == 1 else f' fill-opacity="{_n(opacity)}"'
            self._shapes.append(f'<polygon points="{places}" {_paint(ink)}{faint}/>')
        else:
            drawn = f'{_paint("none", ink)} stroke-linejoin="round" stroke-width="{_n(width)}"'
            self._shapes.append(f'<polyline points="{places}" {drawn}/>')

    def circle(self, x: float, y: float, radius: float, fill: Ink, edge: Ink = "none") -> None:
        """A disc, or a ring where it is filled with paper and has an edge."""
        place = f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"'
        self._shapes.append(f'<circle {place} {_paint(fill, edge)} stroke-width="2"/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 12,
        ink: Ink | str = "ink",
        anchor: Anchor = "start",
        strong: bool = False,
        room: float = 0,
    ) -> None:
        """Words on a line.

        Args:
            room: Cut what is longer than so many pixels; 0 never cuts.
        """
        most = int(room / (size * _WIDE)) if room else 0
        words = shown(words)
        words = f"{words[: most - 1]}…" if most and len(words) > most else words
        weight = ' font-weight="600"' if strong else ""
        place = f'x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="{anchor}"'
        self._shapes.append(f"<text {place}{weight} {_paint(ink)}>{escape(words)}</text>")

    def svg(self, alt: str) -> str:
        """The whole as an `svg` element.

        Args:
            alt: What it shows, for those who do not see it.
        """
        box = f'viewBox="0 0 {_n(self.width)} {_n(self.height)}" style="max-width:100%;height:auto"'
        size = f'width="{_n(self.width)}" height="{_n(self.height)}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} role="img" aria-label="{escape(seen(alt))}"'
        return "\n".join([f'{head} font-family="{_SERIF}">', *self._shapes, "</svg>"])


def colours(*, dark: bool) -> dict[str, str]:
    """Each ink's colour on a light or a dark page, as `#rrggbb`."""
    return dict(_DARK if dark else _LIGHT)


def on_page(svg: str, *, dark: bool) -> str:
    """A picture for a page that is known to be light, or dark: in the reader's sans-serif type."""
    inks = "".join(f".f-{ink}{{fill:{colour}}}.s-{ink}{{stroke:{colour}}}" for ink, colour in _DARK.items())
    head, _, rest = svg.partition("\n")
    return f"{head}\n<style>text{{font-family:{_SANS}}}{inks if dark else ''}</style>\n{rest}\n"


def standalone(svg: str) -> str:
    """A picture as a file of its own: in the reader's sans-serif type, and dark where the reader's pages are."""
    dark = "".join(f".f-{ink}{{fill:{colour}}}.s-{ink}{{stroke:{colour}}}" for ink, colour in _DARK.items())
    style = f"<style>text{{font-family:{_SANS}}}@media (prefers-color-scheme: dark){{{dark}}}</style>"
    head, _, rest = svg.partition("\n")
    return f"{head}\n{style}\n{rest}\n"


def width_of(words: str, size: float = 12) -> float:
    """About how wide words are, in pixels."""
    return len(words) * size * _WIDE


def _paint(fill: Ink | str = "", stroke: Ink | str = "") -> str:
    """Attributes for a shape's inside and its edge, and the classes of those that are inks."""
    parts = [f'{what}="{_LIGHT.get(ink, ink)}"' for what, ink in (("fill", fill), ("stroke", stroke)) if ink]
    classes = [f"{letter}-{ink}" for letter, ink in (("f", fill), ("s", stroke)) if ink in _LIGHT]
    return " ".join([*parts, *([f'class="{" ".join(classes)}"'] if classes else [])])


def _n(number: float) -> str:
    """A number without noise in its last digits."""
    return f"{number:.1f}".removesuffix(".0")
