"""The operator's signed decisions about the champion, one to a line of `coordinator/decisions.jsonl`, each chained."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from fraudfl.errors import ConfigError, TrustError
from fraudfl.trust.keys import load_key, now_text, parse_signed, public_text
from fraudfl.trust.promotion import NOTHING_BEFORE, Promotion
from server.pki import Pki
from server.workspace import Workspace

DECISIONS_FILE = "decisions.jsonl"
"""In the coordinator's folder."""


class DecisionLog:
    """The decisions of one workspace."""

    def __init__(self, workspace: Workspace, consortium: str) -> None:
        """Name the workspace; nothing is read yet."""
        self._path = workspace.coordinator / DECISIONS_FILE
        self._pki = workspace.coordinator / "pki"
        self._consortium = consortium

    def read(self) -> list[Promotion]:
        """Every decision, oldest first, each checked; a line that a crash cut off at the end never happened.

        Raises:
            TrustError: naming the first line that was altered, taken out or moved, or is another operator's.
        """
        operator = Pki(self._pki).operator if self._path.exists() else ""
        found: list[Promotion] = []
        for number, line in enumerate(self._lines(), start=1):
            origin = f"{self._path}, line {number}"
            decision = parse_signed(line, Promotion, origin)
            if decision.operator != operator or decision.consortium != self._consortium:
                raise TrustError(f"{origin}: is another operator's or consortium's; restore the file from a backup")
            if decision.previous != _end(found):
                raise TrustError(f"{origin}: does not follow the line before; one was taken out or moved. Restore it")
            found.append(decision)
        return found

    def add(self, facts: dict[str, Any]) -> Promotion:
        """Sign a decision, and bring it to the disk.

        Args:
            facts: The fields of `Promotion` that say what was decided.

        Raises:
            ConfigError: when who decided, or why, is not one line of text.
            TrustError: when the operator's key cannot be used.
        """
        key = load_key(Pki(self._pki).operator_key)
        own = {"consortium": self._consortium, "at": now_text(), "previous": _end(self.read())}
        try:
            decision = Promotion.model_validate(own | facts | {"operator": public_text(key)}).signed_by(key)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise ConfigError(f"{field}: {problem['msg']}; found {problem['input']!r}. Nothing was changed") from error
        self._append(decision.to_bytes() + b"\n")
        return decision

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait for other commands on this log."""
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lines(self) -> list[bytes]:
        """The whole lines."""
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        return [line for line in lines if line.endswith(b"\n")]

    def _append(self, line: bytes) -> None:
        """Add a line in place of one that a crash cut off."""
        kept = sum(map(len, self._lines()))
        with self._path.open("ab") as log:
            log.truncate(kept)
            log.write(line)
            log.flush()
            os.fsync(log.fileno())


def _end(decisions: list[Promotion]) -> str:
    return decisions[-1].own_digest if decisions else NOTHING_BEFORE
