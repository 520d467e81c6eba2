"""Enrolment: a bank's request to join, signed with the key it asks to be known by."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ValidationError

from fraudfl.config import Name
from fraudfl.errors import TrustError
from fraudfl.trust.keys import PrivateKey, PublicText, Signed, UtcTime, now_text, public_text, read_signed


class Enrolment(Signed):
    """What a bank hands the consortium's operator.

    The signature proves that whoever asks holds the private key. That it is the bank who asks is for people to
    confirm, by comparing the key's fingerprint over another channel.

    Attributes:
        bank: The id it wants.
        public_key: One line of OpenSSH.
        created: When, in UTC.
    """

    purpose: ClassVar[str] = "enrolment"

    version: Literal[1] = 1
    bank: Name
    public_key: PublicText
    created: UtcTime

    @property
    def signer(self) -> str:
        """The bank itself."""
        return self.public_key


def make_enrolment(key: PrivateKey, bank: str, now: datetime | None = None) -> Enrolment:
    """A bank's request, signed.

    Args:
        key: The bank's long-term key.
        bank: The id it wants: lower-case letters, digits and hyphens.
        now: When it is made; the present moment when absent.

    Raises:
        TrustError: when the id is not one.
    """
    try:
        request = Enrolment(bank=bank, public_key=public_text(key), created=now_text(now))
    except ValidationError as error:
        raise TrustError(
            f"bank id {bank!r}: expected 1 to 63 lower-case letters, digits and hyphens, not starting with a hyphen"
        ) from error
    return request.signed_by(key)


def read_enrolment(path: Path) -> Enrolment:
    """Read a request and check its signature.

    Raises:
        TrustError: naming file and field, when it cannot be read, was altered, or is not signed with its own key.
    """
    return read_signed(path, Enrolment)
