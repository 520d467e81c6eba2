"""What the dashboard's process never loads: it reads what others trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "opacus", "sklearn", "mlflow", "xgboost", "flwr", "ray")


def test_pages_import_nothing_that_trains() -> None:
    script = f"import sys, app.pages_of\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [], "the dashboard imports what it only should where it is needed"


def test_pages_are_loaded_before_the_dashboard_answers() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "app", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "streamlit" in found.stdout.lower()
    assert "app.views.overview" in found.stderr, "the first reader would wait for the pages to be loaded"


def test_reading_a_run_imports_nothing_that_trains(ran: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom app import reading\nfrom server.store.workspace import Workspace\n"
        f"workspace = Workspace(Path({str(ran)!r}))\n"
        "assert reading.results(workspace).phases and reading.privacy_phases(workspace)[0]\n"
        "assert reading.versions(workspace) and reading.records(workspace, 'pilot').rounds\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
