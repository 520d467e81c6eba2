"""The ledger's SQLite file: its tables and guards, how it is opened, and how an entry is appended."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fraudfl.errors import PrivacyError
from fraudfl.privacy.ledger_chain import gap_key
from fraudfl.privacy.ledger_entry import COLUMNS, START, Row, row_hash, stamp

VERSION = 2
SELECT = f"SELECT {', '.join(COLUMNS)} FROM entries"
_PAGE = 2000
_BUSY_SECONDS = 30
_BLANK = {name: 0 if name in ("round", "attempt", "bytes") else "" for name in COLUMNS} | {"mechanism": None}

# The guards also stop INSERT OR REPLACE, which deletes rows without asking the trigger on DELETE.
_SCHEMA = {
    "entries": """CREATE TABLE entries (
    entry INTEGER PRIMARY KEY,
    event TEXT NOT NULL,
    key TEXT NOT NULL,
    plan_hash TEXT NOT NULL,
    instance TEXT NOT NULL,
    phase TEXT NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    mechanism TEXT,
    bytes INTEGER NOT NULL,
    digest TEXT NOT NULL,
    note TEXT NOT NULL,
    at TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
)""",
    "replies": "CREATE TABLE replies (key TEXT PRIMARY KEY, reply BLOB NOT NULL)",
    "entries_by_key": "CREATE INDEX entries_by_key ON entries (key, event)",
    "entries_by_time": "CREATE INDEX entries_by_time ON entries (event, kind, at, bytes)",
    "entries_by_plan": "CREATE INDEX entries_by_plan ON entries (plan_hash, event, kind)",
    "entries_are_not_changed": """CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'entries of a ledger are never changed'); END""",
    "entries_are_not_deleted": """CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'entries of a ledger are never deleted'); END""",
    "entries_are_appended": """CREATE TRIGGER entries_are_appended BEFORE INSERT ON entries
WHEN NEW.entry <= (SELECT COALESCE(MAX(entry), 0) FROM entries)
BEGIN SELECT RAISE(ABORT, 'entries of a ledger are only appended'); END""",
    "a_key_is_used_once": """CREATE TRIGGER a_key_is_used_once BEFORE INSERT ON entries
WHEN NEW.event IN ('reserved', 'released')
    AND EXISTS (SELECT 1 FROM entries WHERE key = NEW.key AND event = NEW.event)
BEGIN SELECT RAISE(ABORT, 'a key is reserved and released once'); END""",
}


class Store:
    """One ledger file. Every call opens it anew, so threads, forks and other processes need no care; see `held`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file, creating it when there is none.

        Args:
            read_only: Whether to open it so that it cannot be written to, nor made.

        Raises:
            PrivacyError: if it is no ledger of this version, lacks a guard, or its last entry was altered.
        """
        # The bank's folder is enough of a name: messages may reach the coordinator.
        self._name = f"{path.parent.name}/{path.name}"
        self._uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        self._read_only = read_only
        try:
            os.close(os.open(path, os.O_RDONLY if read_only else os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise PrivacyError(
                f"{self._name}: the ledger cannot be opened ({error.strerror}); see to its folder"
            ) from None
        self._path = path
        self._held: _Held | None = None
        with self.held():
            with self.reading() as connection:
                empty = not _objects(connection)
            if empty and not read_only:
                with self.writing() as connection:
                    self._create(connection)
            with self.reading() as connection:
                self._check_schema(connection)
                self.head(connection)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the file open between this thread's transactions within; each is as durable as by itself.

        One that was put in the file's place meanwhile is opened in its stead.
        """
        if self._held is not None:
            yield
            return
        self._held = _Held(threading.get_ident())
        try:
            yield
        finally:
            held, self._held = self._held, None
            held.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the file."""
        with self._connected("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction; other writers wait. It is on disk when this returns, or it never was."""
        with self._connected("BEGIN IMMEDIATE") as connection:
            yield connection

    def head(self, connection: sqlite3.Connection) -> tuple[int, str]:
        """Number and hash of the last entry, whose hash is checked; (0, 64 zeros) when there is none."""
        row = connection.execute(f"{SELECT} ORDER BY entry DESC LIMIT 1").fetchone()
        if row is None:
            return 0, START
        if row_hash(row) != row[-1]:
            raise PrivacyError(
                f"{self._name}: the last entry, {row[0]}, was altered: its hash does not fit what it holds. Restore "
                "the file from a backup; nothing leaves this bank until then."
            )
        return row[0], row[-1]

    def append(self, connection: sqlite3.Connection, at: datetime, facts: dict[str, Any], above: int = 0) -> Row:
        """Add one entry within `writing`; its number is the next one, and above `above`, with the gap in its key."""
        last, previous = self.head(connection)
        entry = max(last, above) + 1
        if entry > last + 1:
            facts = facts | {"key": gap_key(last + 1, entry - 1)}
        values = _BLANK | facts | {"entry": entry, "at": stamp(at), "previous": previous}
        row = tuple(values[name] for name in COLUMNS)
        row = (*row[:-1], row_hash(row))
        connection.execute(f"INSERT INTO entries VALUES ({', '.join('?' * len(COLUMNS))})", row)
        return row

    def rows(self, since: float = -math.inf) -> Iterator[Row]:
        """Rows with numbers above `since`, in order; no lock is held between pages, as entries never change.

        All of them by default, not those from 1 on: a forger may have moved one below the first.
        """
        while True:
            with self.reading() as connection:
                # Text that is no UTF-8 any more must fail as one altered entry, not as an unreadable file.
                connection.text_factory = _decoded
                page = connection.execute(f"{SELECT} WHERE entry > ? ORDER BY entry LIMIT {_PAGE}", (since,)).fetchall()
                connection.text_factory = str
            yield from page
            if len(page) < _PAGE:
                return
            since = page[-1][0]

    def check(self) -> None:
        """Check that the guards stand and that indexes fit the table; raises PrivacyError."""
        with self.reading() as connection:
            self._check_schema(connection)
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise PrivacyError(f"{self._name}: the file is damaged ({found}); restore it from a backup")

    @contextmanager
    def _connected(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection() as connection:
                connection.execute(begin)
                try:
                    yield connection
                except BaseException:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise PrivacyError(
                f"{self._name}: the ledger cannot be used ({error}); nothing was written and nothing left. See to the "
                "file and its disk, then ask again."
            ) from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The one that is held, where it is free and the file is still the same; else one of its own."""
        held = self._held
        if held is None or not held.free:
            with closing(self._open()) as connection:
                yield connection
            return
        stamp = _stamp(self._path)
        if held.connection is None or held.stamp != stamp:
            held.close()
            held.connection, held.stamp = self._open(), stamp
        yield held.connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        if self._read_only:
            return connection
        try:
            # A rollback journal, not a WAL: between transactions the one file is the whole ledger, so copying it
            # is a backup. TRUNCATE with FULL syncs the journal's end too; DELETE would need EXTRA for that.
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        if _objects(connection):
            return  # another process was first
        for statement in _SCHEMA.values():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        found = _objects(connection)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if "releases" in found and "entries" not in found:
            raise PrivacyError(
                f"{self._name}: a ledger of an earlier version (its table is `releases`). Move it aside, keep it as "
                "a record, and put what it charged into the new ledger that begins in its place."
            )
        if version != VERSION:
            raise PrivacyError(f"{self._name}: not a ledger of version {VERSION} (found {version}); restore the file")
        for name, statement in _SCHEMA.items():
            if found.get(name) != statement:
                state = "was changed" if name in found else "is missing"
                raise PrivacyError(f"{self._name}: `{name}` {state}, so entries may have been edited; restore the file")


@dataclass
class _Held:
    """A connection that is kept for one thread.

    Attributes:
        stamp: Which file it is open on.
    """

    thread: int
    connection: sqlite3.Connection | None = None
    stamp: tuple[int, int] | None = None

    @property
    def free(self) -> bool:
        """Whether the present thread may begin a transaction on it."""
        busy = self.connection is not None and self.connection.in_transaction
        return self.thread == threading.get_ident() and not busy

    def close(self) -> None:
        """Close what is open."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _stamp(path: Path) -> tuple[int, int] | None:
    """Device and number of a file, by which one in its place is told from it; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _objects(connection: sqlite3.Connection) -> dict[str, str | None]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
