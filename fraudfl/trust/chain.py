"""What the operator's chained records have in common: whose they are, and which one came before."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from fraudfl.frozen import Name
from fraudfl.trust.keys import PublicText, Signed, UtcTime

NOTHING_BEFORE: Final = "0" * 64
"""What the first record of a chain is chained to."""


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("expected one line of text without control characters")
    return text


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, Field(max_length=2000), AfterValidator(_one_line)]
"""One line that a person wrote."""
Number = Annotated[int, Field(ge=1, lt=2**53)]


class ChainedRecord(Signed):
    """A record that the operator signs, and that names the one before it.

    Attributes:
        by: Who decided: a person's name, or the rule that did.
        reason: Why, in the decider's words.
        previous: SHA-256 (hex) of the record before, so that none can be taken out, moved or used again.
        operator: Public key of the consortium's operator, who signs.
    """

    consortium: Name
    by: Line
    reason: Line
    at: UtcTime
    previous: Digest
    operator: PublicText

    @property
    def signer(self) -> str:
        """The operator."""
        return self.operator

    @property
    def own_digest(self) -> str:
        """What the next record names as `previous`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()
