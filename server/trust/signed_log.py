"""Signed records of the operator's, one to a line of a file, each chained to the one before."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from fraudfl.errors import ConfigError, TrustError
from fraudfl.trust.chain import NOTHING_BEFORE, ChainedRecord
from fraudfl.trust.keys import load_key, now_text, parse_signed, public_text
from server.store.workspace import Workspace
from server.trust.pki import Pki

Record = TypeVar("Record", bound=ChainedRecord)


class SignedLog(Generic[Record]):
    """The records of one kind in one workspace."""

    def __init__(self, workspace: Workspace, file: str, kind: type[Record], consortium: str) -> None:
        """Name the file, in the coordinator's folder; nothing is read yet."""
        self._path = workspace.coordinator / file
        self._pki = workspace.coordinator / "pki"
        self._kind = kind
        self._consortium = consortium

    def read(self) -> list[Record]:
        """Every record, oldest first, each checked; a line that a crash cut off at the end never happened.

        Raises:
            TrustError: naming the first line that was altered, taken out or moved, or is another operator's.
        """
        operator = Pki(self._pki).operator if self._path.exists() else ""
        found: list[Record] = []
        for number, line in enumerate(self._lines(), start=1):
            origin = f"{self._path}, line {number}"
            record = parse_signed(line, self._kind, origin)
            if record.operator != operator or record.consortium != self._consortium:
                raise TrustError(f"{origin}: is another operator's or consortium's; restore the file from a backup")
            if record.previous != _end(found):
                raise TrustError(f"{origin}: does not follow the line before; one was taken out or moved. Restore it")
            found.append(record)
        return found

    def add(self, facts: dict[str, Any]) -> Record:
        """Sign a record, and bring it to the disk.

        Args:
            facts: The fields that say what was decided.

        Raises:
            ConfigError: when who decided, or why, is not one line of text.
            TrustError: when the operator's key cannot be used.
        """
        key = load_key(Pki(self._pki).operator_key)
        own = {"consortium": self._consortium, "at": now_text(), "previous": _end(self.read())}
        try:
            record = self._kind.model_validate(own | facts | {"operator": public_text(key)}).signed_by(key)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise ConfigError(f"{field}: {problem['msg']}; found {problem['input']!r}. Nothing was changed") from error
        self._append(record.to_bytes() + b"\n")
        return record

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


def _end(records: list[Record]) -> str:
    return records[-1].own_digest if records else NOTHING_BEFORE
