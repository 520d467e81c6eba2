"""Drift of single banks, read from what each bank keeps in its own folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fraudfl.errors import SourceError
from server.reports.bank_windows import bank_drifts
from server.store.workspace import Workspace

INSTANCE = "abc123"
BANKS = ("north", "south")


def keep(workspace: Path, bank: str, number: int, drifts: dict[str, tuple[float, float]], of: str = INSTANCE) -> Path:
    folder = workspace / "banks" / bank
    (folder / "monitoring" / of).mkdir(parents=True, exist_ok=True)
    (folder / "bank.json").write_text("{}")
    phase = workspace / "coordinator" / "phases" / "watch"
    phase.mkdir(parents=True, exist_ok=True)
    (phase / "instance").write_text(f"{INSTANCE}\n")
    found = [{"name": name, "psi": psi, "p_adjusted": p} for name, (psi, p) in drifts.items()]
    path = folder / "monitoring" / of / f"{number}.json"
    path.write_text(json.dumps({"number": number, "window": f"2025-0{number}-01..2025-0{number}-28", "drifts": found}))
    return path


def test_each_figure_is_at_its_bank_window_and_feature(tmp_path: Path) -> None:
    keep(tmp_path, "north", 1, {})
    keep(tmp_path, "north", 2, {"amount": (0.3, 0.001), "score": (0.05, 0.5)})
    keep(tmp_path, "south", 2, {"score": (0.2, 0.2)})
    keep(tmp_path, "south", 2, {"score": (9.0, 0.0)}, of="another-phase")
    found = bank_drifts(Workspace(tmp_path), "watch", BANKS)
    assert found is not None
    assert (found.banks, found.windows) == (("north", "south"), ("2025-01-01", "2025-02-01"))
    np.testing.assert_array_equal(found.of("score"), [[np.nan, 0.05], [np.nan, 0.2]])
    np.testing.assert_array_equal(found.of("amount"), [[np.nan, 0.3], [np.nan, np.nan]])
    np.testing.assert_array_equal(found.largest(0.01), [[np.nan, 0.3], [np.nan, 0.0]])


def test_where_nothing_was_compared_or_banks_are_elsewhere_there_is_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert bank_drifts(workspace, "watch", BANKS) is None
    keep(tmp_path, "north", 1, {})
    assert bank_drifts(workspace, "watch", BANKS) is None


@pytest.mark.parametrize(
    "text", ["{", '{"number": 1}', '{"number": 1, "window": "a..b", "drifts": [{"name": "x"}]}', "[]"]
)
def test_a_report_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    path = keep(tmp_path, "north", 1, {"score": (0.1, 0.1)})
    path.write_text(text)
    with pytest.raises(SourceError, match=str(tmp_path / "banks" / "north")):
        bank_drifts(Workspace(tmp_path), "watch", BANKS)
