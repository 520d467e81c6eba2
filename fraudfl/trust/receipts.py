"""Receipts: the operator's signature for a release that the coordinator has stored, which binds a bank's ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationError

from fraudfl.config import Name
from fraudfl.errors import TrustError
from fraudfl.privacy.ledger import Entry
from fraudfl.protocols import Reply
from fraudfl.transfer.frame import frame
from fraudfl.trust.keys import PrivateKey, PublicText, Signed, UtcTime, now_text, parse_signed, public_text

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Receipt(Signed):
    """The coordinator has stored one release.

    Attributes:
        bank: Who released it.
        entry: Number of the release in the bank's ledger.
        entry_hash: That entry's hash (hex): with it the receipt is about all entries before it, too.
        key: The release's key; it names plan, phase instance, round, attempt, kind and cohort.
        digest: SHA-256 (hex) of the reply's bytes, as the ledger has it.
        issued: When it was signed.
        operator: Public key of the consortium's operator, who signs.
    """

    purpose: ClassVar[str] = "receipt"

    version: Literal[1] = 1
    bank: Name
    entry: int = Field(ge=1, lt=2**53)
    entry_hash: _Digest
    key: str = Field(min_length=1, max_length=1024)
    digest: _Digest
    issued: UtcTime
    operator: PublicText

    @property
    def signer(self) -> str:
        """The operator."""
        return self.operator


def sign_receipt(key: PrivateKey, reply: Reply, now: datetime | None = None) -> Receipt:
    """Make the receipt for a reply that is stored.

    Args:
        key: The operator's private key.
        reply: As the bank sent it, with its entry in the bank's ledger.
        now: When; the present moment when absent.

    Raises:
        TrustError: when the reply does not say where it stands in its bank's ledger.
    """
    if reply.entry < 1 or not reply.entry_hash:
        raise TrustError(f"bank {reply.bank}: its reply names no entry of its ledger; there is nothing to sign for")
    return Receipt(
        bank=reply.bank,
        entry=reply.entry,
        entry_hash=reply.entry_hash,
        key=reply.key,
        digest=hashlib.sha256(frame(reply)).hexdigest(),
        issued=now_text(now),
        operator=public_text(key),
    ).signed_by(key)


def shorten(receipt: bytes) -> bytes:
    """What a bank cannot know by itself of a receipt for its own release: when it was signed, and the signature."""
    whole = Receipt.model_validate_json(receipt)
    return f"{whole.issued} {whole.signature}".encode()


def lengthen(short: bytes, bank: str, operator: str, entry: Entry) -> bytes:
    """The receipt that `shorten` shortened, put together from the bank's own ledger; nothing is checked yet.

    Args:
        short: When it was signed, and the signature.
        bank: Whose ledger it is.
        operator: The public key that the bank pinned.
        entry: The released entry that it is about.

    Raises:
        TrustError: when it is not of that form.
    """
    issued, _, signature = short.decode("ascii", errors="replace").partition(" ")
    try:
        receipt = Receipt(
            bank=bank,
            entry=entry.entry,
            entry_hash=entry.hash,
            key=entry.key,
            digest=entry.digest,
            issued=issued,
            operator=operator,
            signature=signature,
        )
    except ValidationError as error:
        raise TrustError("the coordinator's receipt is not a time and a signature; it is not kept") from error
    return receipt.to_bytes()


def parse_receipt(data: bytes, bank: str, operator: str, origin: str) -> Receipt:
    """Read a receipt for one bank, and check its spelling and its signature.

    Args:
        data: The receipt's bytes.
        bank: Whose it must be.
        operator: Public key that must have signed it: the one that the bank pinned.
        origin: File or sender, for messages.

    Raises:
        TrustError: naming origin and field.
    """
    receipt = parse_signed(data, Receipt, origin)
    if receipt.operator != operator:
        raise TrustError(f"{origin}: signed by another key than this consortium's operator; do not use it")
    if receipt.bank != bank:
        raise TrustError(f"{origin}: a receipt for bank {receipt.bank!r}; expected one for {bank!r}")
    return receipt


def read_receipts(path: Path, bank: str, operator: str) -> Iterator[Receipt]:
    """Read a file of receipts, one to a line; raises TrustError naming the first line that is wrong."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise TrustError(f"{path}: cannot be read ({error.strerror}); expected receipts, one to a line") from error
    for number, line in enumerate(lines, start=1):
        yield parse_receipt(line, bank, operator, f"{path}, line {number}")
