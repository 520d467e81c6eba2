"""Where a row came from, so that an error can name the file, the row and the column as its owner knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fraudfl.errors import SchemaError

_CLOSING = "Nothing was trained and nothing was sent."


@dataclass(frozen=True)
class Origin:
    """The files (or the query) behind a table, in row order.

    Attributes:
        parts: Name and number of rows of each file, in the order in which they were put together.
        names: The source's own name of a contract column, where it differs.
    """

    parts: tuple[tuple[str, int], ...]
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, where: str | Origin) -> Origin:
        """Takes a plain name as an origin of one part."""
        return cls(((where, 0),)) if isinstance(where, str) else where

    @property
    def name(self) -> str:
        """The first part's name, and how many more there are."""
        first = self.parts[0][0] if self.parts else "the source"
        return first if len(self.parts) < 2 else f"{first} (and {len(self.parts) - 1} more)"

    def locate(self, row: int) -> tuple[str, int]:
        """Finds the part that holds a row of the whole table.

        Args:
            row: Position in the whole table, from 0.

        Returns:
            The part's name, and the row in it counted from 1, a CSV header not counted.
        """
        start = 0
        for name, rows in self.parts:
            if row < start + rows:
                return name, row - start + 1
            start += rows
        return self.name, row + 1

    def title(self, column: str) -> str:
        """Names a contract column as the source does."""
        source = self.names.get(column, column)
        return f"column '{source}'" if source == column else f"column '{source}' ({column})"

    def error(self, column: str, row: int, found: str, *, expected: str, advice: str) -> SchemaError:
        """Builds the error for one cell.

        Args:
            column: Contract column.
            row: Position in the whole table, from 0.
            found: What the cell holds, as the predicate: `holds text ('12,50')`.
            expected: What it should hold.
            advice: What to do, as sentences.
        """
        name, number = self.locate(row)
        return SchemaError(
            f"{name}: {self.title(column)} {found} in row {number}; expected {expected}. {advice} {_CLOSING}"
        )

    def refusal(self, found: str, *, expected: str, advice: str) -> SchemaError:
        """Builds the error for the table as a whole."""
        return SchemaError(f"{self.name}: {found}; expected {expected}. {advice} {_CLOSING}")
