"""Which workspace this dashboard shows: the command that starts it says so in the environment."""

from __future__ import annotations

import os
from pathlib import Path

from server.store.workspace import Workspace

WORKSPACE = "FRAUDFL_DASHBOARD_WORKSPACE"
"""Names the folder; `work` where it is not set, as for every other command."""


def here() -> Workspace:
    """The workspace shown; nothing is read yet."""
    return Workspace(Path(os.environ.get(WORKSPACE, "work")))
