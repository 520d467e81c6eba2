"""The operator's signed decisions about the champion, in `coordinator/decisions.jsonl`."""

from __future__ import annotations

from fraudfl.trust.promotion import Promotion
from server.store.workspace import Workspace
from server.trust.signed_log import SignedLog

DECISIONS_FILE = "decisions.jsonl"
"""In the coordinator's folder."""


class DecisionLog(SignedLog[Promotion]):
    """The decisions of one workspace."""

    def __init__(self, workspace: Workspace, consortium: str) -> None:
        """Name the workspace; nothing is read yet."""
        super().__init__(workspace, DECISIONS_FILE, Promotion, consortium)
