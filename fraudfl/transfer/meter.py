"""Bytes that crossed each bank's border, as measured: per bank, direction and kind of message.

Not per round: a phase's meter is in each of its checkpoints, and must not grow with them. Events tell of rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from fraudfl.errors import CheckpointError

Direction = Literal["up", "down"]
"""Seen from the bank: `up` leaves it, `down` comes to it."""


class Row(TypedDict):
    """One line of the meter, as it is kept in a checkpoint."""

    bank: str
    direction: Direction
    kind: str
    messages: int
    bytes: int


@dataclass(frozen=True)
class Traffic:
    """Bytes both ways."""

    up: int = 0
    down: int = 0

    @property
    def total(self) -> int:
        """Bytes of both directions together."""
        return self.up + self.down

    def plus(self, direction: Direction, size: int) -> Traffic:
        """This traffic and `size` bytes more."""
        return Traffic(self.up + size, self.down) if direction == "up" else Traffic(self.up, self.down + size)

    def minus(self, before: Traffic) -> Traffic:
        """What came since there was `before`."""
        return Traffic(self.up - before.up, self.down - before.down)


Key = tuple[str, Direction, str]


@dataclass
class ByteMeter:
    """Counts the messages and bytes of a phase."""

    _counts: dict[Key, tuple[int, int]] = field(default_factory=dict)

    def add(self, bank: str, direction: Direction, kind: str, size: int) -> None:
        """Count one message of `size` bytes.

        Raises:
            ValueError: if the size is negative or the direction is unknown.
        """
        if size < 0 or direction not in ("up", "down"):
            raise ValueError(f"cannot count {size} bytes {direction!r}; expected a size >= 0, and `up` or `down`")
        messages, counted = self._counts.get((bank, direction, kind), (0, 0))
        self._counts[bank, direction, kind] = (messages + 1, counted + size)

    @property
    def bytes_up(self) -> int:
        """All bytes that left a bank."""
        return self.total().up

    @property
    def bytes_down(self) -> int:
        """All bytes that came to a bank."""
        return self.total().down

    def total(self) -> Traffic:
        """Both directions over all banks and rounds."""
        return self._grouped(lambda _: "").get("", Traffic())

    def by_bank(self) -> dict[str, Traffic]:
        """Traffic of each bank, sorted by name."""
        return dict(sorted(self._grouped(lambda key: key[0]).items()))

    def by_kind(self) -> dict[str, Traffic]:
        """Traffic of each kind of message, sorted by name."""
        return dict(sorted(self._grouped(lambda key: key[2]).items()))

    def to_rows(self) -> list[Row]:
        """Everything counted so far, as JSON values in a fixed order."""
        return [
            Row(bank=bank, direction=direction, kind=kind, messages=messages, bytes=size)
            for (bank, direction, kind), (messages, size) in sorted(self._counts.items())
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, object]]) -> ByteMeter:
        """Go on counting where `to_rows` left off.

        Raises:
            CheckpointError: if a row is not what `to_rows` writes.
        """
        meter = cls()
        for number, row in enumerate(rows, start=1):
            key, value = _read_row(row, number)
            if key in meter._counts:
                raise CheckpointError(f"byte meter, row {number}: {key} is there twice")
            meter._counts[key] = value
        return meter

    def _grouped(self, group: Callable[[Key], str]) -> dict[str, Traffic]:
        result: dict[str, Traffic] = {}
        for key, (_, size) in self._counts.items():
            name = group(key)
            result[name] = result.get(name, Traffic()).plus(key[1], size)
        return result


def _read_row(row: Mapping[str, object], number: int) -> tuple[Key, tuple[int, int]]:
    match dict(row):
        case {
            "bank": str(bank),
            "direction": ("up" | "down") as direction,
            "kind": str(kind),
            "messages": int(messages),
            "bytes": int(size),
            **rest,
        } if not rest and messages >= 0 and size >= 0:
            return (bank, direction, kind), (messages, size)
    fields = ", ".join(Row.__annotations__)
    raise CheckpointError(f"byte meter, row {number}: found {dict(row)}; expected the fields {fields}")
