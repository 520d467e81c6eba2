"""What a bank keeps of monitored windows in its own folder, and how it is read: at that bank, and in simulation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fraudfl.errors import SourceError

FOLDER = "monitoring"
"""In a bank's folder; below it one folder for each phase instance."""


def kept_reports(bank_folder: Path, instance: str = "*") -> Iterator[dict[str, Any]]:
    """Every report at a bank, phase after phase, in order of windows.

    Args:
        instance: Of one phase; all by default.

    Raises:
        SourceError: naming the file that cannot be read.
    """
    for phase in sorted((bank_folder / FOLDER).glob(instance)):
        found = [read_kept(path) for path in phase.glob("*.json") if path.stem.isdecimal()]
        yield from sorted((one for one in found if one is not None), key=lambda one: int(one["number"]))


def read_kept(path: Path) -> dict[str, Any] | None:
    """One file of such a folder; None where it is not there.

    Raises:
        SourceError: naming the file when it cannot be read.
    """
    if not path.exists():
        return None
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({error}); delete it, and the window is counted anew") from error
    return facts
