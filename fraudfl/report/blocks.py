"""The pages of a report before they are set in type: sections of paragraphs, lists of facts, tables, and pictures.

PDF and HTML are two renderings of the same blocks, so that they cannot say different things. Text is data here: neither
rendering ever reads markup from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Style = Literal["plain", "strong", "muted", "code", "red"]
Align = Literal["left", "right"]
_LONGEST = 400


@dataclass(frozen=True)
class Text:
    """A run of text in one style; `red` is for what no ε covers, and for nothing else."""

    text: str
    style: Style = "plain"


Cell = tuple[Text, ...]
Words = str | Text | Sequence[Text]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; a boxed one is what nobody should overlook."""

    words: Cell
    boxed: bool = False
    kind: Literal["paragraph"] = "paragraph"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: Literal["heading"] = "heading"


@dataclass(frozen=True)
class Facts:
    """Names and values, one pair a line."""

    rows: tuple[tuple[str, Cell], ...]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Column:
    """A table's column.

    Attributes:
        share: Its part of the width, relative to the other columns; 0 is as wide as what is in it.
    """

    heading: str
    align: Align = "left"
    share: float = 0


@dataclass(frozen=True)
class Table:
    """A table whose heading is repeated on every page that it reaches."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Picture:
    """A picture, drawn by this program: unlike text it is markup, and nothing from elsewhere may be in it unescaped.

    Attributes:
        svg: An `svg` element, without anything that is loaded from elsewhere.
        alt: What it shows, for those who do not see it.
        caption: Stands above it.
    """

    svg: str
    alt: str
    caption: str = ""
    kind: Literal["picture"] = "picture"


Block = Paragraph | Heading | Facts | Table | Picture


@dataclass(frozen=True)
class Section:
    """A numbered section.

    Attributes:
        number: Such as `3` or `3.1`.
        apart: Whether it begins on a new page.
    """

    number: str
    title: str
    blocks: tuple[Block, ...]
    apart: bool = False

    @property
    def level(self) -> int:
        """1 for a section, 2 for a part of one."""
        return self.number.count(".") + 1


def cell(words: Words) -> Cell:
    """Any words as a cell; what is too long for a page is cut, and control characters are spelled out."""
    parts = (words,) if isinstance(words, Text) else (Text(words),) if isinstance(words, str) else tuple(words)
    return tuple(Text(shown(part.text), part.style) for part in parts)


def shown(text: str) -> str:
    """Text that others wrote, fit to print: one line, of bearable length, with what cannot be seen spelled out."""
    whole = seen(text)
    return whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 1]}…"


def seen(text: str) -> str:
    """Text of any length on one line, with what cannot be seen spelled out."""
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text)


def paragraph(*words: str | Text, boxed: bool = False) -> Paragraph:
    """A paragraph of these words; ours are never cut."""
    return Paragraph(tuple(Text(word) if isinstance(word, str) else word for word in words), boxed)


def facts(rows: Iterable[tuple[str, Words]]) -> Facts:
    """Names and values."""
    return Facts(tuple((name, cell(words)) for name, words in rows))


def table(columns: Sequence[Column], rows: Iterable[Sequence[Words]], caption: str = "") -> Table:
    """A table; every row has as many cells as there are columns."""
    made = tuple(tuple(cell(words) for words in row) for row in rows)
    assert all(len(row) == len(columns) for row in made), "a row does not fit its table"
    return Table(tuple(columns), made, caption)


def as_data(sections: Iterable[Section]) -> list[dict[str, Any]]:
    """Sections as JSON values, for renderings that are not Python."""
    return [asdict(section) | {"level": section.level} for section in sections]
