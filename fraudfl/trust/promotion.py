"""The operator's decisions about which model is the consortium's champion: signed, and chained one to the next."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fraudfl.metrics.compare import Comparison
from fraudfl.trust.chain import ChainedRecord, Digest, Number


class Promotion(ChainedRecord):
    """A version became champion, or the one before it became champion again.

    Attributes:
        action: `promote`, or `rollback`.
        replaced: The champion until then; None where there was none.
        champion: The champion from then on.
        digest: Of its bundle.
        forced: Whether it was promoted although the gate refused it, or could not compare.
        at_least: What the lower end of the interval had to be above; None for a rollback.
        comparison: Of the two; None where there was no champion, or they could not be compared.
        not_compared: Why they could not.
    """

    purpose: ClassVar[str] = "promotion"

    version: Literal[1] = 1
    action: Literal["promote", "rollback"]
    replaced: Number | None
    champion: Number
    digest: Digest
    forced: bool = False
    at_least: float | None = None
    comparison: Comparison | None = None
    not_compared: str = ""

    @model_validator(mode="after")
    def _changes_the_champion(self) -> Self:
        if self.replaced == self.champion:
            raise ValueError(f"version {self.champion} is champion already")
        return self
