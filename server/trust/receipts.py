"""The coordinator's receipts for what banks released: signed once, and kept for good before a bank gets one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fraudfl.errors import CheckpointError
from fraudfl.protocols import Reply
from fraudfl.trust.keys import PrivateKey
from fraudfl.trust.receipts import sign_receipt
from server.store.workspace import Workspace

RECEIPTS_FILE = "receipts.db"
"""In the coordinator's folder."""

_SCHEMA = """CREATE TABLE IF NOT EXISTS receipts (
    bank TEXT NOT NULL, entry INTEGER NOT NULL, key TEXT NOT NULL, hash TEXT NOT NULL, receipt BLOB NOT NULL,
    PRIMARY KEY (bank, entry, hash)
) WITHOUT ROWID"""
_BUSY_SECONDS = 30
_PAGE = 1000


def receipts_file(workspace: Workspace) -> Path:
    """Where a coordinator keeps its receipts."""
    return workspace.coordinator / RECEIPTS_FILE


class Receipts:
    """Implements `Notary`: one SQLite file for all banks of a consortium."""

    def __init__(self, path: Path, key: PrivateKey | None = None) -> None:
        """Open the file, creating it when there is none.

        Args:
            path: The file.
            key: The operator's private key; not needed to read.

        Raises:
            CheckpointError: when the file cannot be used.
        """
        self._path = path
        self._key = key
        with self._connected() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)

    def receipt(self, reply: Reply) -> bytes:
        """Sign for one release that is stored; the same release gets the same receipt.

        Raises:
            TrustError: when the reply names no entry of its bank's ledger.
            CheckpointError: when there is no key to sign with, or the receipt cannot be kept; then none is given.
        """
        place = (reply.bank, reply.entry, reply.entry_hash)
        with self._connected() as connection:
            kept = connection.execute(
                "SELECT receipt FROM receipts WHERE bank = ? AND entry = ? AND hash = ? AND key = ?",
                (*place, reply.key),
            ).fetchone()
            if kept is not None:
                return bytes(kept[0])
            if self._key is None:
                raise CheckpointError(f"{self._path}: was opened without the operator's key, so nothing can be signed")
            data = sign_receipt(self._key, reply).to_bytes()
            connection.execute(
                "INSERT OR IGNORE INTO receipts (bank, entry, hash, key, receipt) VALUES (?, ?, ?, ?, ?)",
                (*place, reply.key, data),
            )
        return data

    def of_bank(self, bank: str) -> Iterator[bytes]:
        """Every receipt that a bank was given, in the order of its ledger."""
        found, digest = -1, ""
        while True:
            with self._connected() as connection:
                page = connection.execute(
                    "SELECT entry, hash, receipt FROM receipts WHERE bank = ? AND (entry, hash) > (?, ?)"
                    " ORDER BY entry, hash LIMIT ?",
                    (bank, found, digest, _PAGE),
                ).fetchall()
            yield from (bytes(receipt) for _, _, receipt in page)
            if len(page) < _PAGE:
                return
            found, digest = page[-1][0], page[-1][1]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                with connection:
                    yield connection
        except sqlite3.Error as error:
            raise CheckpointError(
                f"{self._path}: receipts cannot be kept or read ({error}); see to the file and its disk"
            ) from error
