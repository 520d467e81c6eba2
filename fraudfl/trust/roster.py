"""The roster: which banks are in the consortium and by which keys, as its operator signs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from fraudfl.config import Frozen, Name
from fraudfl.errors import TrustError
from fraudfl.trust.enrolment import Enrolment
from fraudfl.trust.keys import (
    PrivateKey,
    PublicText,
    Signed,
    UtcTime,
    fingerprint,
    now_text,
    parse_signed,
    public_text,
    read_signed,
)


class Member(Frozen):
    """One bank on the roster.

    Attributes:
        since: When this key came on the roster.
    """

    bank: Name
    public_key: PublicText
    since: UtcTime


class Removed(Frozen):
    """A key that left the roster, with its bank or replaced by another.

    Attributes:
        fingerprint: Of the key, `SHA256:…`.
        at: When it left.
    """

    bank: Name
    fingerprint: str = Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")
    at: UtcTime


class Roster(Signed):
    """The members at one time; each change makes a new roster with the next number.

    Attributes:
        number: Counts changes from 1, so that an older roster is recognised.
        issued: When it was signed.
        members: In the order in which they joined.
        removed: Every key that ever left, oldest first.
        operator: Public key of the operator, who signs.
    """

    purpose: ClassVar[str] = "roster"

    version: Literal[1] = 1
    consortium: Name
    number: int = Field(ge=1)
    issued: UtcTime
    members: tuple[Member, ...] = ()
    removed: tuple[Removed, ...] = ()
    operator: PublicText

    @model_validator(mode="after")
    def _nobody_is_twice(self) -> Self:
        for what, values in (
            ("bank", [member.bank for member in self.members]),
            ("key", [self.operator, *(member.public_key for member in self.members)]),
        ):
            twice = [value for value, count in Counter(values).items() if count > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]} is there twice")
        return self

    @property
    def signer(self) -> str:
        """The operator."""
        return self.operator

    def member(self, bank: str) -> Member:
        """One bank's entry; raises TrustError when it is not a member."""
        for member in self.members:
            if member.bank == bank:
                return member
        raise TrustError(f"bank {bank} is not on roster {self.number} of consortium {self.consortium}")


def sign_roster(
    key: PrivateKey,
    consortium: str,
    number: int,
    members: Iterable[Member],
    removed: Iterable[Removed] = (),
    now: datetime | None = None,
) -> Roster:
    """Make and sign a roster.

    Args:
        key: The operator's.
        consortium: Its name.
        number: Above that of every roster signed before.
        members: Who is in.
        removed: Keys that left.
        now: When it is issued; the present moment when absent.

    Raises:
        TrustError: when a bank or a key is on it twice, or a field is not what it should be.
    """
    try:
        roster = Roster(
            consortium=consortium,
            number=number,
            issued=now_text(now),
            members=tuple(members),
            removed=tuple(removed),
            operator=public_text(key),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"]) or "members"
        found = problem["msg"].removeprefix("Value error, ")
        raise TrustError(f"the roster cannot be signed: {field}: {found}") from error
    return roster.signed_by(key)


def read_roster(path: Path, operator: str | None) -> Roster:
    """Read a roster and check it.

    Args:
        path: The file.
        operator: The operator's pinned public key. Without one, the roster is only known to fit the key that it
            names itself, which anybody can make: compare that key's fingerprint with the operator before use.

    Raises:
        TrustError: when it cannot be read, was altered, holds a bank or a key twice, or is another operator's.
    """
    try:
        roster = _known(path.read_bytes())
    except (OSError, TrustError):
        # Read again, to say what is wrong with which file.
        roster = read_signed(path, Roster)
    return _by_operator(roster, operator, str(path))


@lru_cache(maxsize=8)
def _known(data: bytes) -> Roster:
    """Each request asks for the roster, and hardly ever for another one."""
    return parse_signed(data, Roster, "roster")


def parse_roster(data: bytes, operator: str | None, origin: str = "roster") -> Roster:
    """Check a roster that came as bytes; `origin` stands for it in messages. Otherwise like `read_roster`."""
    return _by_operator(parse_signed(data, Roster, origin), operator, origin)


def newer_than(offered: Roster, known: Roster | None) -> Roster:
    """The offered roster, when it may take the place of the known one.

    It may when it is the same, or when its number is higher; the first one is always taken.

    Raises:
        TrustError: when it is older, another one of the same number, or another consortium's or operator's.
    """
    if known is None or offered == known:
        return offered
    if offered.consortium != known.consortium:
        raise TrustError(f"the roster is of consortium {offered.consortium}; expected {known.consortium}")
    if offered.operator != known.operator:
        raise TrustError(
            f"roster {offered.number} is signed by {fingerprint(offered.operator)}, and the known one by "
            f"{fingerprint(known.operator)}; ask the operator before trusting another key"
        )
    if offered.number < known.number:
        raise TrustError(
            f"roster {offered.number} of {offered.issued} is older than the known roster {known.number}; "
            "ask the operator for the present one"
        )
    if offered.number == known.number:
        raise TrustError(
            f"two different rosters have the number {known.number}; somebody may have been shown another list of "
            "banks. Ask the operator"
        )
    return offered


def add_member(
    roster: Roster, request: Enrolment, key: PrivateKey, *, again: bool = False, now: datetime | None = None
) -> Roster:
    """The next roster, with one bank more; nobody else's entry changes.

    Args:
        roster: The present one.
        request: The bank's; its signature is checked again.
        key: The operator's.
        again: Whether a key that was removed may come back.
        now: The moment; the present one when absent.

    Raises:
        TrustError: when the bank's id or key is on the roster, the key was removed and `again` is not set, or the
            request is not signed with its own key.
    """
    if any(member.bank == request.bank for member in roster.members):
        raise TrustError(
            f"bank {request.bank} is on the roster already; when it lost its key, use `fraudfl bank replace`"
        )
    _check_request(roster, request, again=again)
    return _next(roster, key, (*roster.members, _member(request, now)), roster.removed, now)


def remove_member(roster: Roster, bank: str, key: PrivateKey, *, now: datetime | None = None) -> Roster:
    """The next roster without one bank, whose key is remembered; raises TrustError when it is not a member."""
    gone = roster.member(bank)
    members = tuple(member for member in roster.members if member is not gone)
    return _next(roster, key, members, (*roster.removed, _removed(gone, now)), now)


def replace_member(
    roster: Roster, request: Enrolment, key: PrivateKey, *, again: bool = False, now: datetime | None = None
) -> Roster:
    """The next roster, with another key for a bank that is on it; the old key is remembered as removed.

    Raises:
        TrustError: when the bank is not on the roster, or its new key may not be used, as for `add_member`.
    """
    old = roster.member(request.bank)
    _check_request(roster, request, again=again)
    members = tuple(_member(request, now) if member is old else member for member in roster.members)
    return _next(roster, key, members, (*roster.removed, _removed(old, now)), now)


def _by_operator(roster: Roster, operator: str | None, origin: str) -> Roster:
    if operator is not None and roster.operator != operator:
        raise TrustError(
            f"{origin}: signed by {fingerprint(roster.operator)}, not by this consortium's operator "
            f"{fingerprint(operator)}; do not use it, and ask the operator"
        )
    return roster


def _check_request(roster: Roster, request: Enrolment, *, again: bool) -> None:
    request.verify()
    shown = fingerprint(request.public_key)
    if request.public_key == roster.operator:
        raise TrustError(f"key {shown} is the operator's own; bank {request.bank} must make one of its own")
    for member in roster.members:
        if member.public_key == request.public_key:
            raise TrustError(f"key {shown} is on the roster already, as bank {member.bank}; each bank needs its own")
    for gone in roster.removed:
        if gone.fingerprint == shown and not again:
            raise TrustError(
                f"key {shown} was removed from the roster on {gone.at}, as bank {gone.bank}; ask the bank for a new "
                "key, or add `--again` when you are sure that nobody else has this one"
            )


def _member(request: Enrolment, now: datetime | None) -> Member:
    return Member(bank=request.bank, public_key=request.public_key, since=now_text(now))


def _removed(member: Member, now: datetime | None) -> Removed:
    return Removed(bank=member.bank, fingerprint=fingerprint(member.public_key), at=now_text(now))


def _next(
    roster: Roster,
    key: PrivateKey,
    members: tuple[Member, ...],
    removed: tuple[Removed, ...],
    now: datetime | None,
) -> Roster:
    if public_text(key) != roster.operator:
        raise TrustError(f"only the operator's key {fingerprint(roster.operator)} can change this roster")
    return sign_roster(key, roster.consortium, roster.number + 1, members, removed, now)
