"""Looking changes nothing: a workspace is the same after every page was opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from looking import opened

from app.pages_of import PAGES


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, those of databases' journals too, with its size and the time of its last change."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return {str(path.relative_to(folder)): (one.st_mtime_ns, one.st_size) for path, one in found}


def look_at_all(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in PAGES:
        assert not opened(page.name, workspace, monkeypatch).exception


def test_looking_changes_no_file_of_a_workspace(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ran, tmp_path / "work")
    before = listing(tmp_path)
    look_at_all(tmp_path / "work", monkeypatch)
    assert listing(tmp_path) == before


def test_looking_makes_no_folder_for_a_phase_that_has_not_begun(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ran, tmp_path / "work")
    folder = tmp_path / "work" / "coordinator" / "phases" / "pilot"
    shutil.rmtree(folder)
    (tmp_path / "work" / "mlflow.db").unlink()
    before = listing(tmp_path)
    look_at_all(tmp_path / "work", monkeypatch)
    assert listing(tmp_path) == before
