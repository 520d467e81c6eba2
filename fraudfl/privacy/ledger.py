"""A bank's durable record of releases: what left, what it cost, and the reply's bytes until they are acknowledged."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS releases (
    entry INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    plan_hash TEXT NOT NULL,
    instance TEXT NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    mechanism TEXT,
    bytes INTEGER NOT NULL,
    digest TEXT NOT NULL,
    reply BLOB,
    released_at TEXT NOT NULL
)
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One release.

    Attributes:
        key: What makes a redelivery the same release.
        mechanism: The serialised mechanism that paid for it, or None where nothing is promised.
        size: Length of the reply in bytes.
        digest: SHA-256 (hex) of the reply's bytes.
        reply: The bytes, until the coordinator has acknowledged them.
    """

    key: str
    plan_hash: str
    instance: str
    round: int
    attempt: int
    kind: str
    mechanism: dict[str, Any] | None
    size: int
    digest: str
    reply: bytes | None


class Ledger:
    """One SQLite file in the bank's folder; each call is its own durable transaction."""

    def __init__(self, path: Path) -> None:
        """Open the ledger, creating it when there is none."""
        self._path = path
        with self._open() as connection:
            connection.execute(_SCHEMA)

    def find(self, key: str) -> Entry | None:
        """The release made under this key, or None."""
        with self._open() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM releases WHERE key = ?", (key,)).fetchone()
        return _entry(row) if row else None

    def record(self, entry: Entry) -> None:
        """Write a release down, durably, before it leaves. Raises sqlite3.IntegrityError when the key exists."""
        mechanism = None if entry.mechanism is None else json.dumps(entry.mechanism, sort_keys=True)
        values = (entry.key, entry.plan_hash, entry.instance, entry.round, entry.attempt, entry.kind, mechanism)
        with self._open() as connection:
            connection.execute(
                "INSERT INTO releases (key, plan_hash, instance, round, attempt, kind, mechanism, bytes, digest, reply,"
                " released_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, entry.size, entry.digest, entry.reply, datetime.now(UTC).isoformat(timespec="seconds")),
            )

    def acknowledge(self, instance: str, round_number: int) -> None:
        """Drop the bytes of replies that the coordinator has stored for good; the entries stay."""
        with self._open() as connection:
            connection.execute(
                "UPDATE releases SET reply = NULL"
                " WHERE instance = ? AND round <= ? AND kind = 'train' AND reply IS NOT NULL",
                (instance, round_number),
            )

    def mechanisms(self, plan_hash: str | None = None) -> list[dict[str, Any]]:
        """Every mechanism released, in order; under one plan, whatever the instance, or in the bank's whole history."""
        query = "SELECT mechanism FROM releases WHERE mechanism IS NOT NULL AND (? IS NULL OR plan_hash = ?)"
        with self._open() as connection:
            rows = connection.execute(f"{query} ORDER BY entry", (plan_hash, plan_hash)).fetchall()
        return [json.loads(text) for (text,) in rows]

    def entries(self) -> list[Entry]:
        """All releases, in order."""
        with self._open() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM releases ORDER BY entry").fetchall()
        return [_entry(row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            # FULL: a commit is on disk before it returns, so what left is never forgotten.
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                yield connection


_COLUMNS = "key, plan_hash, instance, round, attempt, kind, mechanism, bytes, digest, reply"


def _entry(row: tuple[Any, ...]) -> Entry:
    key, plan_hash, instance, round_number, attempt, kind, mechanism, size, digest, reply = row
    return Entry(
        key=key,
        plan_hash=plan_hash,
        instance=instance,
        round=round_number,
        attempt=attempt,
        kind=kind,
        mechanism=None if mechanism is None else json.loads(mechanism),
        size=size,
        digest=digest,
        reply=reply,
    )


def digest(data: bytes) -> str:
    """SHA-256 (hex)."""
    return hashlib.sha256(data).hexdigest()
