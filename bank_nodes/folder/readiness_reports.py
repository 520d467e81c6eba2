"""What a bank keeps of assessments: `readiness/<instance>.json`, mode 0600: how its data stands to the consortium's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fraudfl.errors import SourceError
from fraudfl.trust.keys import write_secret

FOLDER = "readiness"


def keep_readiness(bank_folder: Path, instance: str, report: Mapping[str, Any]) -> None:
    """Keep the report of one assessment, in place of an earlier one of the same instance."""
    path = bank_folder / FOLDER / f"{instance}.json"
    write_secret(path, json.dumps(report, indent=1).encode() + b"\n", replace=True)


def kept_readiness(bank_folder: Path) -> list[dict[str, Any]]:
    """Every readiness report at a bank, oldest first.

    Raises:
        SourceError: when one cannot be read.
    """
    paths = sorted((bank_folder / FOLDER).glob("*.json"), key=lambda path: path.stat().st_mtime)
    return [_read(path) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path}: cannot be read ({error}); delete it, and take part in the next assessment"
        ) from error
    return facts
