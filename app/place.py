"""What this dashboard shows, and to whom: the command that starts it says so in the environment."""

from __future__ import annotations

import os
from pathlib import Path

from server.store.workspace import Workspace

WORKSPACE = "FRAUDFL_DASHBOARD_WORKSPACE"
"""Names the folder; `work` where it is not set, as for every other command."""
BANK = "FRAUDFL_DASHBOARD_BANK"
"""Names the one bank as which the only user looks, where nobody signs in."""
ACCESS = "FRAUDFL_DASHBOARD_ACCESS"
"""Names the access file; where it is not set, whoever sits at this machine is the only user."""


def here() -> Workspace:
    """The workspace shown; nothing is read yet."""
    return Workspace(Path(os.environ.get(WORKSPACE, "work")))
