"""Progress as JSON lines: written by the phase, followed by whoever watches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


class EventLog:
    """Appends events to a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        """Append to `path`."""
        self._path = path

    def event(self, name: str, **facts: Any) -> None:
        """Record that something happened."""
        line = json.dumps({"event": name, "time": round(time.time(), 3), **facts})
        with self._path.open("a") as file:
            file.write(line + "\n")


def read_lines(path: Path) -> list[str]:
    """The whole lines of a file of events, in order; one that is being written just now is left out."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole, _, _ = text.rpartition("\n")
    return whole.splitlines()


def events_named(name: str, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events of one name, in order, of lines as `EventLog` writes them; damaged ones are left out.

    Only lines that begin as such an event does are read as JSON: few of a phase's events tell of its rounds.
    """
    beginning = f'{{"event": {json.dumps(name)},'
    for line in lines:
        if line.startswith(beginning):
            with suppress(ValueError):
                yield json.loads(line)


class EventReader:
    """Reads what was appended since the last look."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        """Start at the end of what is there now, or at the beginning."""
        self._path = path
        self._position = path.stat().st_size if path.exists() and not from_start else 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Whole lines that were not read yet."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._position += len(line)
                yield json.loads(line)
