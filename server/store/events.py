"""Progress as JSON lines: written by the phase, followed by whoever watches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
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
