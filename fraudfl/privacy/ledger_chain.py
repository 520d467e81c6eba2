"""Checking a ledger's hash chain, in its file or as exported lines; anyone can, with nothing else at hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from fraudfl.errors import PrivacyError
from fraudfl.privacy.ledger_entry import COLUMNS, EVENTS, START, Row, row_hash

_ENTRY, _EVENT, _KEY, _PREVIOUS, _HASH = map(COLUMNS.index, ("entry", "event", "key", "previous", "hash"))
_WHOLE_NUMBERS = ("entry", "round", "attempt", "bytes")


def gap_key(first: int, last: int) -> str:
    """The key by which a `restored` entry says that numbers `first` to `last` are left out."""
    return f"gap/{first}/{last}"


def verify_chain(rows: Iterable[Row], known: tuple[int, str] | None = None) -> tuple[int, str]:
    """Check a whole chain from its first entry on.

    Args:
        rows: In the order in which they are stored.
        known: Number and hash of an entry that somebody outside has seen. A chain that was cut short or written
            anew fits itself, and only such a witness can tell.

    Returns:
        Number and hash of the last entry; (0, 64 zeros) of an empty chain.

    Raises:
        PrivacyError: naming the first entry that was altered, is missing or is out of order.
    """
    chain, witnessed = _Chain(), known is None or known == (0, START)
    for row in rows:
        chain.add(row)
        witnessed = witnessed or (chain.entry, chain.hash) == known
    if known is not None and not witnessed:
        raise PrivacyError(
            f"entry {known[0]} with hash {known[1][:12]}… was seen before and is not in the ledger, which ends at "
            f"entry {chain.entry}; it was cut short, written anew, or restored from an older copy"
        )
    return chain.entry, chain.hash


def verify_lines(lines: Iterable[str], known: tuple[int, str] | None = None) -> tuple[int, str]:
    """Check exported JSON lines, with nothing else at hand; see `verify_chain`.

    Raises:
        PrivacyError: naming the line or the entry that is wrong.
    """
    return verify_chain(_rows_of(lines), known)


def _rows_of(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        try:
            facts = json.loads(line, object_pairs_hook=_named_once)
        except ValueError as error:
            raise PrivacyError(f"line {number} is no ledger entry: {error}") from error
        if not isinstance(facts, dict) or set(facts) != set(COLUMNS):
            raise PrivacyError(f"line {number} is no ledger entry; expected an object of {', '.join(COLUMNS)}")
        yield tuple(facts[name] for name in COLUMNS)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    facts = dict(pairs)
    if len(facts) != len(pairs):
        raise ValueError("a field is there twice")
    return facts


class _Chain:
    """What has been checked so far: the last entry, and which keys were reserved and released."""

    def __init__(self) -> None:
        self.entry, self.hash = 0, START
        self._keys: set[tuple[str, str]] = set()

    def add(self, row: Row) -> None:
        self._check_number(row)
        entry = row[_ENTRY]
        if not _well_typed(row) or row_hash(row) != row[_HASH]:
            raise PrivacyError(f"entry {entry} was altered: its hash does not fit what it holds")
        if row[_PREVIOUS] != self.hash:
            raise PrivacyError(
                f"entry {entry} does not follow entry {self.entry}: it names {row[_PREVIOUS][:12]}… as the hash before "
                f"it, found {self.hash[:12]}…; one of the two was replaced"
            )
        self._check_key(entry, row[_EVENT], row[_KEY])
        self.entry, self.hash = entry, row[_HASH]

    def _check_number(self, row: Row) -> None:
        entry, following = row[_ENTRY], self.entry + 1
        if type(entry) is not int:
            raise PrivacyError(f"the entry after entry {self.entry} was altered: its number is {entry!r}")
        if entry < following:
            raise PrivacyError(f"entry {entry} stands after entry {self.entry}: entries were reordered or repeated")
        recorded = row[_EVENT] == "restored" and row[_KEY] == gap_key(following, entry - 1)
        if entry > following and not recorded:
            which = f"entry {following} is" if entry == following + 1 else f"entries {following} to {entry - 1} are"
            raise PrivacyError(f"{which} missing, and entry {entry} does not record a restoration that explains it")

    def _check_key(self, entry: int, event: str, key: str) -> None:
        if event not in EVENTS:
            raise PrivacyError(f"entry {entry} was altered: {event!r} is no event of a ledger")
        if event not in ("reserved", "released"):
            return
        if (event, key) in self._keys:
            raise PrivacyError(f"entry {entry} was put in: its key {key!r} was {event} before")
        if event == "released" and ("reserved", key) not in self._keys:
            raise PrivacyError(f"entry {entry} was put in: its key {key!r} was never reserved")
        self._keys.add((event, key))


def _well_typed(row: Row) -> bool:
    # Lines may bring any JSON, with a hash that fits it.
    for name, value in zip(COLUMNS, row, strict=True):
        expected = int if name in _WHOLE_NUMBERS else str
        if type(value) is not expected and not (name == "mechanism" and value is None):
            return False
    return True
