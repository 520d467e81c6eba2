"""The operator's decisions about which model is the consortium's champion: signed, and chained one to the next."""

from __future__ import annotations

import hashlib
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fraudfl.config import Name
from fraudfl.metrics.compare import Comparison
from fraudfl.trust.keys import PublicText, Signed, UtcTime

NOTHING_BEFORE: Final = "0" * 64
"""What the first decision is chained to."""


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("expected one line of text without control characters")
    return text


_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Line = Annotated[str, Field(max_length=2000), AfterValidator(_one_line)]
_Number = Annotated[int, Field(ge=1, lt=2**53)]


class Promotion(Signed):
    """A version became champion, or the one before it became champion again.

    Attributes:
        action: `promote`, or `rollback`.
        replaced: The champion until then; None where there was none.
        champion: The champion from then on.
        digest: Of its bundle.
        by: Who decided: a person's name, or the rule that did.
        reason: Why, in the decider's words.
        forced: Whether it was promoted although the gate refused it, or could not compare.
        at_least: What the lower end of the interval had to be above; None for a rollback.
        comparison: Of the two; None where there was no champion, or they could not be compared.
        not_compared: Why they could not.
        previous: SHA-256 (hex) of the decision before, so that none can be taken out, moved or used again.
        operator: Public key of the consortium's operator, who signs.
    """

    purpose: ClassVar[str] = "promotion"

    version: Literal[1] = 1
    consortium: Name
    action: Literal["promote", "rollback"]
    replaced: _Number | None
    champion: _Number
    digest: _Digest
    by: _Line
    reason: _Line
    at: UtcTime
    forced: bool = False
    at_least: float | None = None
    comparison: Comparison | None = None
    not_compared: str = ""
    previous: _Digest
    operator: PublicText

    @model_validator(mode="after")
    def _changes_the_champion(self) -> Self:
        if self.replaced == self.champion:
            raise ValueError(f"version {self.champion} is champion already")
        return self

    @property
    def signer(self) -> str:
        """The operator."""
        return self.operator

    @property
    def own_digest(self) -> str:
        """What the next decision names as `previous`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()
