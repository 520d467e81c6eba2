"""How much has left a bank: rounds, releases and bytes per phase, day, month and in all, as its policy caps them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from fraudfl.privacy.ledger_entry import stamp

UNKNOWN = "unknown"
"""The kind of a charge that was put back after a restoration: it may have been a round of any phase."""

# Ranges of an index that hold nothing but what is counted: 50,000 releases are counted in a few milliseconds.
_COUNT = "SELECT COUNT(*) FROM entries WHERE event = ? AND kind = ?"
_SUM = "SELECT COALESCE(SUM(bytes), 0) FROM entries WHERE event = ? AND kind = ?"


@dataclass(frozen=True, kw_only=True)
class LedgerTotals:
    """What a bank has released so far.

    A release counts from its reservation on, whether or not it came about, and a round is a release of kind `train`;
    another attempt is another round. A charge put back after a restoration counts as one round and one release in the
    day and month of the restoration, and in every phase when its plan is not known. Bytes count each time they leave.

    Attributes:
        rounds_phase, releases_phase: Under one plan, whatever the phase instance.
        rounds_month, releases_month: In the calendar month of `now`.
        releases_day, bytes_day: On the calendar day of `now`.
        rounds_total, releases_total: In the bank's whole history.
    """

    rounds_phase: int
    rounds_month: int
    rounds_total: int
    releases_phase: int
    releases_day: int
    releases_month: int
    releases_total: int
    bytes_day: int


def count(connection: sqlite3.Connection, plan_hash: str, now: datetime, zone: tzinfo) -> LedgerTotals:
    """Count a ledger's entries; days and months begin at midnight in `zone`."""
    stamp(now)  # refuses a time without a zone
    here = now.astimezone(zone)
    day, month = (stamp(datetime(here.year, here.month, number, tzinfo=zone)) for number in (here.day, 1))
    charges = [_charges(connection, event, plan_hash, (day, month)) for event in ("reserved", "restored")]
    rounds, releases = Counter[str](), Counter[str]()
    for kind, counted in (pair for pairs in charges for pair in pairs):
        releases.update(counted)
        if kind in ("train", UNKNOWN):
            rounds.update(counted)
    return LedgerTotals(
        rounds_phase=rounds["phase"],
        rounds_month=rounds["month"],
        rounds_total=rounds["total"],
        releases_phase=releases["phase"],
        releases_day=releases["day"],
        releases_month=releases["month"],
        releases_total=releases["total"],
        bytes_day=sum(_bytes(connection, event, day) for event in ("released", "resent")),
    )


def _charges(
    connection: sqlite3.Connection, event: str, plan_hash: str, midnights: tuple[str, str]
) -> Iterator[tuple[str, dict[str, int]]]:
    """Per kind: how many were charged under the plan, on the day, in the month and in all."""
    day, month = midnights
    for kind in _kinds(connection, event):

        def number(condition: str, *values: str, kind: str = kind) -> int:
            found: int = connection.execute(f"{_COUNT} {condition}", (event, kind, *values)).fetchone()[0]
            return found

        # Each entry is read once: the day is part of the month, and the month of the whole.
        today = number("AND at >= ?", day)
        this_month = today + number("AND at >= ? AND at < ?", month, day)
        total = this_month + number("AND at < ?", month)
        phase = number("AND plan_hash IN (?, '')", plan_hash)
        yield kind, {"phase": phase, "day": today, "month": this_month, "total": total}


def _bytes(connection: sqlite3.Connection, event: str, day: str) -> int:
    return sum(
        connection.execute(f"{_SUM} AND at >= ?", (event, kind, day)).fetchone()[0]
        for kind in _kinds(connection, event)
    )


def _kinds(connection: sqlite3.Connection, event: str) -> list[str]:
    """The kinds of one event's entries, found by leaping through the index; a bare gap has none and costs nothing."""
    kinds, last = [], ""
    while row := connection.execute(
        "SELECT kind FROM entries WHERE event = ? AND kind > ? ORDER BY kind LIMIT 1", (event, last)
    ).fetchone():
        (last,) = row
        kinds.append(last)
    return kinds
