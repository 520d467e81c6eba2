"""A bank's ledger: an append-only chain of what was reserved, released, resent and refused, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from fraudfl.errors import PrivacyError, ReleaseRefused
from fraudfl.privacy.ledger_chain import verify_chain, verify_lines
from fraudfl.privacy.ledger_entry import (
    COLUMNS,
    Charge,
    Entry,
    Event,
    Release,
    Row,
    digest,
    entry_from_row,
    mechanism_from_text,
    mechanism_text,
    printable,
    row_to_line,
    stamp,
)
from fraudfl.privacy.ledger_store import SELECT, Store
from fraudfl.privacy.ledger_totals import UNKNOWN, LedgerTotals, count

__all__ = ["Charge", "Entry", "Event", "Ledger", "LedgerTotals", "Release", "digest", "verify_lines"]

FAILED = "the work failed; errors.log has the details"
"""Note of a release whose work failed."""
_LONGEST_NOTE = 2000
_LARGEST_ENTRY = 2**53
_RELEASE = COLUMNS[2:9]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """One SQLite file in the bank's folder; each call is its own durable transaction.

    A release is reserved before its work starts, and charged from then on. It is completed once, under the same key,
    when its bytes exist; a reservation left open by a crash stays charged and may still be completed: nothing had left.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = _utc_now, *, read_only: bool = False) -> None:
        """Open the ledger, creating it when there is none.

        Args:
            path: The file.
            clock: Says the time of new entries, as an aware datetime.
            read_only: Whether to open it so that nothing can be written, for whoever only looks.

        Raises:
            PrivacyError: if the file is no ledger of this version, lacks a guard, or its last entry was altered.
        """
        self._store = Store(path, read_only=read_only)
        self._clock = clock

    def held(self) -> AbstractContextManager[None]:
        """Keep the file open for a row of calls by this thread; each is a durable transaction as before."""
        return self._store.held()

    def reserve(self, release: Release, stored: int = 0) -> Entry:
        """Charge a release before its work starts; the same facts again change nothing.

        Args:
            release: What is about to leave.
            stored: In the same transaction, `acknowledge` rounds of the release's instance up to this one.

        Raises:
            ReleaseRefused: if the key was reserved with other facts, or left open before a restoration.
        """
        if not (release.key and release.plan_hash and release.kind):
            raise ReleaseRefused(f"a release needs a key, a plan and a kind to be reserved; found {release}")
        facts = release.facts()
        with self._store.writing() as connection:
            if stored:
                _drop(connection, release.instance, stored)
            row = self._row(connection, release.key, "reserved")
            if row is None:
                self._refuse_put_back(connection, release.key)
                return self._append(connection, "reserved", facts)
            self._refuse_forgotten(connection, row)
        found = dict(zip(COLUMNS, row, strict=True))
        differing = [name for name, value in facts.items() if found[name] != value]
        if differing:
            name = differing[0]
            raise ReleaseRefused(
                f"key {release.key!r} was reserved in entry {row[0]} with {name} {found[name]!r}, now {facts[name]!r}; "
                "another release needs another key"
            )
        return entry_from_row(row)

    def release(self, key: str, data: bytes) -> Entry:
        """Write down that the bytes of a reserved release exist, and keep them, before they leave.

        Raises:
            ReleaseRefused: if the key was not reserved, was released with other bytes, or was left open before a
                restoration.
        """
        with self._store.writing() as connection:
            reserved, released = self._row(connection, key, "reserved"), self._row(connection, key, "released")
            if reserved is None:
                raise ReleaseRefused(f"key {key!r} was not reserved; nothing is released without a reservation")
            if released is None:
                self._refuse_forgotten(connection, reserved)
                facts = _facts(reserved) | {"bytes": len(data), "digest": digest(data)}
                connection.execute("INSERT INTO replies (key, reply) VALUES (?, ?)", (key, data))
                return self._append(connection, "released", facts)
        entry = entry_from_row(released)
        if entry.digest != digest(data):
            raise ReleaseRefused(f"key {key!r} was released in entry {entry.entry} with other bytes; send those again")
        return entry

    def find(self, key: str) -> Entry | None:
        """The `released` entry of this key, or else the `reserved` one, or None."""
        with self._store.reading() as connection:
            row = self._row(connection, key, "released") or self._row(connection, key, "reserved")
        return None if row is None else entry_from_row(row)

    def entry(self, number: int) -> Entry | None:
        """The entry with a number, or None."""
        with self._store.reading() as connection:
            row = connection.execute(f"{SELECT} WHERE entry = ?", (number,)).fetchone()
        return None if row is None else entry_from_row(row)

    def fail(self, release: Release) -> Entry:
        """Write down that the work for a reserved release failed: its key is used up, and stays charged.

        Why it failed may depend on the bank's rows, and is not said.
        """
        with self._store.writing() as connection:
            return self._append(connection, "refused", release.facts() | {"mechanism": None, "note": FAILED})

    def failed(self, key: str) -> bool:
        """Whether the work for a release under this key has failed before."""
        query = "SELECT EXISTS (SELECT 1 FROM entries WHERE key = ? AND event = 'refused' AND note = ?)"
        with self._store.reading() as connection:
            (found,) = connection.execute(query, (key, FAILED)).fetchone()
        return bool(found)

    def reserved_otherwise(self, release: Release) -> Entry | None:
        """A release that was begun for the same question of a plan under another key: another cohort, or instance."""
        same = "plan_hash = ? AND event IN ('reserved', 'restored') AND kind = ? AND round = ? AND attempt = ?"
        query = f"{SELECT} WHERE {same} AND key != ?"
        facts = (release.plan_hash, release.kind, release.round, release.attempt, release.key)
        with self._store.reading() as connection:
            row = connection.execute(query, facts).fetchone()
        return None if row is None else entry_from_row(row)

    def kept(self, key: str) -> bytes | None:
        """The bytes released under this key; None when nothing was, or they were acknowledged and dropped.

        Raises:
            ReleaseRefused: if they are not the bytes that were released.
        """
        with self._store.reading() as connection:
            reply = connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
            row = self._row(connection, key, "released")
        if reply is None:
            return None
        if row is None or not isinstance(reply[0], bytes) or digest(reply[0]) != entry_from_row(row).digest:
            raise ReleaseRefused(f"the kept reply of {key!r} was changed on disk; it is not sent")
        return reply[0]

    def resent(self, key: str) -> Entry:
        """Write down that a release's bytes are sent once more, which costs no privacy."""
        with self._store.writing() as connection:
            row = self._row(connection, key, "released")
            if row is None:
                raise ReleaseRefused(f"key {key!r} was never released; there is nothing to send again")
            released = entry_from_row(row)
            return self._append(connection, "resent", _facts(row) | {"bytes": released.size, "digest": released.digest})

    def refuse(self, release: Release, reason: str) -> Entry:
        """Write down that a request was refused, and why; nothing is charged."""
        with self._store.writing() as connection:
            return self._append(connection, "refused", release.facts() | {"mechanism": None, "note": reason})

    def note(self, text: str, plan_hash: str = "") -> Entry:
        """Write down what else belongs into the record: approvals, changes of policy."""
        with self._store.writing() as connection:
            return self._append(connection, "noted", {"plan_hash": plan_hash, "note": text})

    def acknowledge(self, instance: str, round_number: int) -> None:
        """Drop the bytes of training replies that the coordinator has stored for good; the entries stay."""
        with self._store.writing() as connection:
            _drop(connection, instance, round_number)

    def mechanisms(self, plan_hash: str | None = None, since: datetime | None = None) -> list[dict[str, Any]]:
        """Every mechanism charged, in order, once per release.

        Args:
            plan_hash: Only what counts against this plan: its own charges, whatever the phase instance, and charges
                put back after a restoration whose plan is not known.
            since: Only what was charged at or after this time.
        """
        where, values = _charged(plan_hash, since)
        with self._store.reading() as connection:
            rows = connection.execute(f"SELECT mechanism FROM entries {where} ORDER BY entry", values).fetchall()
        # Thousands of rounds share a few mechanisms: each is read once.
        read = {text: mechanism_from_text(text) for text in {text for (text,) in rows}}
        return [dict(read[text]) for (text,) in rows]

    def charges(self, plan_hash: str | None = None, since: datetime | None = None) -> list[Charge]:
        """The same as `mechanisms`, but counted: one for each plan and mechanism, in the order of first use."""
        where, values = _charged(plan_hash, since)
        query = f"SELECT plan_hash, mechanism, COUNT(*) FROM entries {where} GROUP BY 1, 2 ORDER BY MIN(entry)"
        with self._store.reading() as connection:
            rows = connection.execute(query, values).fetchall()
        return [Charge(plan_hash=plan, mechanism=mechanism_from_text(text), count=count) for plan, text, count in rows]

    def was_restored(self) -> bool:
        """Whether this ledger ever came from an older copy."""
        with self._store.reading() as connection:
            (found,) = connection.execute("SELECT EXISTS (SELECT 1 FROM entries WHERE event = 'restored')").fetchone()
        return bool(found)

    def reserved(self, plan_hash: str, kind: str) -> int:
        """How many releases of one kind were begun under a plan, whatever instance or cohort they were asked for in.

        Those that were put back after a restoration are among them.
        """
        query = "SELECT count(*) FROM entries WHERE plan_hash = ? AND event IN ('reserved', 'restored') AND kind = ?"
        with self._store.reading() as connection:
            (count,) = connection.execute(query, (plan_hash, kind)).fetchone()
        return int(count)

    def totals(self, plan_hash: str, now: datetime, zone: tzinfo) -> LedgerTotals:
        """What has been released: under this plan, on this day and in this month of `zone`, and in all."""
        with self._store.reading() as connection:
            return count(connection, plan_hash, now, zone)

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry, for the coordinator to remember; (0, 64 zeros) when there is none."""
        with self._store.reading() as connection:
            return self._store.head(connection)

    def verify(self, known: tuple[int, str] | None = None) -> None:
        """Check every entry from the first on, and the file's guards.

        Args:
            known: Number and hash of an entry that somebody else has seen, which must be there.

        Raises:
            PrivacyError: naming the first entry that was altered, is missing or is out of order.
        """
        verify_chain(self._store.rows(), known)
        self._store.check()

    def entries(self, since: int = 0) -> list[Entry]:
        """Entries with numbers above `since`, in order."""
        return [entry_from_row(row) for row in self._store.rows(since)]

    def export_lines(self) -> Iterator[str]:
        """The whole ledger as JSON lines, which `verify_lines` checks without the file."""
        return map(row_to_line, self._store.rows())

    def behind(self, seen_entry: int, seen_hash: str = "") -> bool:
        """Whether somebody has seen an entry that this ledger lacks, so that it was restored from an older copy.

        Args:
            seen_entry: Highest entry number seen outside.
            seen_hash: That entry's hash, where known: a copy that was written on since its restoration may have reached
                the number again, with another entry under it. A restoration written down after it has mended that.
        """
        with self._store.reading() as connection:
            last, _ = self._store.head(connection)
            if seen_entry > last:
                return True
            row = connection.execute("SELECT hash FROM entries WHERE entry = ?", (seen_entry,)).fetchone()
            if not (seen_hash and row and row[0] != seen_hash):
                return False
            later = "SELECT 1 FROM entries WHERE event = 'restored' AND entry > ?"
            return connection.execute(later, (seen_entry,)).fetchone() is None

    def restore(
        self, seen_entry: int, charged: Sequence[dict[str, Any]], note: str, plan_hash: str = ""
    ) -> list[Entry]:
        """Put back what an old copy of the file has forgotten: its charges, and the numbers that were used.

        Args:
            seen_entry: Highest entry number seen outside; new entries are numbered above it.
            charged: One mechanism per forgotten release. In doubt too many: they count as spent.
            note: Who restores, from what, and how the charges are known.
            plan_hash: The plan that is charged; when empty, every plan is.

        Raises:
            PrivacyError: if nothing was forgotten, or a charge cannot be written down.
        """
        charges = [
            {"mechanism": mechanism_text(mechanism), "kind": UNKNOWN, "plan_hash": plan_hash} for mechanism in charged
        ]
        with self._store.writing() as connection:
            last = self._restorable(connection, seen_entry)
            if seen_entry <= last and not charges:
                raise PrivacyError(f"the ledger ends at entry {last}, entry {seen_entry} was seen; nothing is missing")
            return [
                self._append(connection, "restored", {"note": note} | charge, above=seen_entry)
                for charge in charges or [{"plan_hash": plan_hash}]
            ]

    def put_back(self, seen_entry: int, releases: Sequence[Release], note: str) -> list[Entry]:
        """Put back what an old copy has forgotten, release by release, all of it or none.

        Args:
            seen_entry: As in `restore`. Where numbers are missing, or nothing is charged, an entry of its own says so.
            releases: Each forgotten release with its key, which is not released again, and its mechanism.
            note: Who restores, from what.

        Raises:
            PrivacyError: if a charge cannot be written down.
        """
        charges = [release.facts() for release in releases]
        with self._store.writing() as connection:
            missing = seen_entry > self._restorable(connection, seen_entry)
            gap: list[dict[str, Any]] = [{}] if missing or not charges else []
            return [
                self._append(connection, "restored", {"note": note} | facts, above=seen_entry)
                for facts in (*gap, *charges)
            ]

    def _restorable(self, connection: sqlite3.Connection, seen_entry: int) -> int:
        """The last entry's number; refuses to restore to a number that no ledger reaches."""
        if not 0 <= seen_entry < _LARGEST_ENTRY:
            raise PrivacyError(f"entry {seen_entry} cannot have been seen; expected a number from 0 to 2^53")
        last, _ = self._store.head(connection)
        return last

    def _append(self, connection: sqlite3.Connection, event: Event, facts: dict[str, Any], above: int = 0) -> Entry:
        note = printable(facts.get("note", ""))
        if len(note) > _LONGEST_NOTE:
            note = f"{note[: _LONGEST_NOTE - 1]}…"
        return entry_from_row(
            self._store.append(connection, self._clock(), facts | {"event": event, "note": note}, above)
        )

    def _refuse_forgotten(self, connection: sqlite3.Connection, reserved: Row) -> None:
        """An old copy shows as open what was released after it was taken; that must not be released a second time."""
        entry, key = reserved[0], reserved[COLUMNS.index("key")]
        restored = "SELECT 1 FROM entries WHERE event = 'restored' AND entry > ?"
        if self._row(connection, key, "released") is None and connection.execute(restored, (entry,)).fetchone():
            raise ReleaseRefused(
                f"key {key!r} was reserved in entry {entry}, before this ledger was restored; it may have left since. "
                "Ask again as another attempt."
            )

    def _refuse_put_back(self, connection: sqlite3.Connection, key: str) -> None:
        row = self._row(connection, key, "restored")
        if row is not None:
            raise ReleaseRefused(
                f"key {key!r} was released before this ledger was restored, as entry {row[0]} says; a second value "
                "never leaves under it. Ask again as another attempt"
            )

    def _row(self, connection: sqlite3.Connection, key: str, event: Event) -> Row | None:
        row: Row | None = connection.execute(f"{SELECT} WHERE key = ? AND event = ?", (key, event)).fetchone()
        return row


def _charged(plan_hash: str | None, since: datetime | None) -> tuple[str, list[str]]:
    """The condition that finds what was charged, and its values."""
    where, values = "WHERE event IN ('reserved', 'restored') AND mechanism IS NOT NULL", []
    if plan_hash is not None:
        where, values = f"{where} AND plan_hash IN (?, '')", [plan_hash]
    if since is not None:
        where, values = f"{where} AND at >= ?", [*values, stamp(since)]
    return where, values


def _drop(connection: sqlite3.Connection, instance: str, round_number: int) -> None:
    connection.execute(
        # Without the index named, SQLite may walk all training releases for each kept reply.
        "DELETE FROM replies WHERE EXISTS (SELECT 1 FROM entries INDEXED BY entries_by_key"
        " WHERE entries.key = replies.key AND event = 'released' AND instance = ? AND kind = 'train'"
        " AND round <= ?)",
        (instance, round_number),
    )


def _facts(row: Row) -> dict[str, Any]:
    """What later entries of a release repeat; its mechanism is charged once, by the reservation alone."""
    values = dict(zip(COLUMNS, row, strict=True))
    return {name: values[name] for name in _RELEASE}
