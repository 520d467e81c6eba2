"""What a ledger entry holds, how it is spelled and hashed, and what is reserved before it exists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from fraudfl.errors import PrivacyError, ReleaseRefused

Event = Literal["reserved", "released", "resent", "refused", "restored", "noted"]
EVENTS: tuple[Event, ...] = ("reserved", "released", "resent", "refused", "restored", "noted")

COLUMNS = (
    *("entry", "event", "key", "plan_hash", "instance", "phase", "round", "attempt", "kind", "mechanism"),
    *("bytes", "digest", "note", "at", "previous", "hash"),
)
"""What is stored, in the order of a row."""
Row = tuple[Any, ...]

START = "0" * 64
"""What the first entry names as the hash before it."""

_LONGEST = 1024
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is about to leave the bank, before it exists.

    Attributes:
        key: What makes a redelivery the same release.
        plan_hash: The plan that allows it, whose budget pays for it.
        instance: The phase instance.
        phase: The phase's name.
        kind: Kind of the request it answers.
        mechanism: The serialised mechanism that pays for it, or None where nothing is promised.
    """

    key: str
    plan_hash: str
    instance: str
    phase: str
    round: int
    attempt: int
    kind: str
    mechanism: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be written down as it is; these facts come from the other side."""
        for name in ("key", "plan_hash", "instance", "phase", "kind"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > _LONGEST or printable(value) != value:
                raise ReleaseRefused(f"{name} of a release is {str(value)[:80]!r}; expected text of up to {_LONGEST}")
        for name in ("round", "attempt"):
            value = getattr(self, name)
            if type(value) is not int or not -(2**31) <= value < 2**31:
                raise ReleaseRefused(f"{name} of a release is {str(value)[:80]}; expected a small whole number")

    def facts(self) -> dict[str, Any]:
        """Its columns, with the mechanism as the text that is hashed."""
        mechanism = None if self.mechanism is None else mechanism_text(self.mechanism)
        return {name: getattr(self, name) for name in COLUMNS[2:9]} | {"mechanism": mechanism}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of the ledger.

    Attributes:
        entry: Its number; numbers follow one another, but for gaps that a `restored` entry records.
        event: What happened.
        mechanism: What is charged from this entry on: only on `reserved` and `restored` entries.
        size: Length of the bytes that left, or that exist to be sent; 0 where there are none.
        digest: SHA-256 (hex) of those bytes, or empty.
        note: Reason of a refusal or a restoration, or the text of a note.
        at: When, ISO 8601 in UTC with microseconds.
        previous: Hash of the entry before.
        hash: SHA-256 (hex) of the canonical JSON of everything above.
    """

    entry: int
    event: Event
    key: str
    plan_hash: str
    instance: str
    phase: str
    round: int
    attempt: int
    kind: str
    mechanism: dict[str, Any] | None
    size: int
    digest: str
    note: str
    at: str
    previous: str
    hash: str


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What was charged alike under one plan, and how often.

    Attributes:
        plan_hash: The plan that paid; empty for what was put back after a restoration without one.
        mechanism: The serialised mechanism.
        count: How many releases.
    """

    plan_hash: str
    mechanism: dict[str, Any]
    count: int


def entry_from_row(row: Row) -> Entry:
    """Read a stored row; raises PrivacyError when its mechanism cannot be read."""
    values = dict(zip(COLUMNS, row, strict=True))
    text = values.pop("mechanism")
    mechanism = None if text is None else mechanism_from_text(text)
    return Entry(mechanism=mechanism, size=values.pop("bytes"), **values)


def mechanism_text(mechanism: dict[str, Any]) -> str:
    """A mechanism's one spelling; raises PrivacyError when it is no JSON."""
    try:
        return _encode(mechanism)
    except (TypeError, ValueError) as error:
        raise PrivacyError(f"mechanism {mechanism!r} cannot be written down: {error}") from error


def mechanism_from_text(text: str) -> dict[str, Any]:
    """Read a mechanism back; a charge that cannot be read must stop the bank, not vanish."""
    try:
        mechanism = json.loads(text)
    except (TypeError, ValueError) as error:
        raise PrivacyError(f"a charge in the ledger cannot be read ({error}); verify the ledger") from error
    if not isinstance(mechanism, dict):
        raise PrivacyError(f"a charge in the ledger is {text!r}, expected a mechanism; verify the ledger")
    return mechanism


def stamp(when: datetime) -> str:
    """A time in the ledger's one spelling, which sorts as text; raises PrivacyError when it names no zone."""
    if when.tzinfo is None:
        raise PrivacyError(f"the time {when.isoformat()} names no zone; pass an aware datetime")
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def printable(text: str) -> str:
    """The text with what has no UTF-8 spelling replaced, as file names in messages may hold it."""
    return text.encode("utf-8", "replace").decode()


def digest(data: bytes) -> str:
    """SHA-256 (hex)."""
    return hashlib.sha256(data).hexdigest()


def row_hash(row: Sequence[Any]) -> str | None:
    """SHA-256 (hex) over the canonical JSON of all columns but `hash`; None for values no entry can hold."""
    try:
        return digest(_encode(dict(zip(COLUMNS[:-1], row[:-1], strict=True))).encode())
    except (TypeError, ValueError):
        return None


def row_to_line(row: Row) -> str:
    """One JSON line for an auditor: all columns, sorted, no spaces."""
    return _encode(dict(zip(COLUMNS, row, strict=True)))
