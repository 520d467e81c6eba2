"""What changes during a generated history: drifts and new kinds of fraud, each from a month on. None by default."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fraudfl.frozen import Frozen

DAYS_PER_MONTH = 30
"""Simulated months are equally long, so that their counts can be compared."""


def first_day(month: int) -> int:
    """The day, counted from 0, on which a simulated month begins; months count from 1."""
    return (month - 1) * DAYS_PER_MONTH


class DriftConfig(Frozen):
    """A change in ordinary behaviour that starts with a month and stays.

    Attributes:
        month: First month that is changed; 1 is the history's first.
        kind: `amounts`: every amount grows by the share `strength`. `merchants`: the share `strength` of good payments
            goes to travel, electronics and gaming in place of where they went. `channel`: the share `strength` of
            good payments at a till moves to online shops, with the same amounts.
        strength: See `kind`.
    """

    month: int = Field(ge=1, le=122)
    kind: Literal["amounts", "merchants", "channel"]
    strength: float = Field(gt=0, le=10)

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        if self.kind != "amounts" and self.strength > 1:
            raise ValueError(f"`strength` of {self.kind!r} is a share of payments; found {self.strength:g}, at most 1")
        return self


class NewFraudConfig(Frozen):
    """A kind of fraud that nobody saw before a month, and that stays.

    Attributes:
        month: First month in which it happens; 1 is the history's first.
        kind: `cash_out`: copied cards draw ordinary sums at cash machines by day, three to six within an hour or so.
            `stolen_card`: a card taken from its owner pays ordinary sums at five to nine fuel stations and pharmacies
            within an hour or so of the day; it looks like a busy customer, and is hard to find even once known.
        rate: Its share of all transactions from that month on; it comes on top of `fraud_rate`.
    """

    month: int = Field(ge=1, le=122)
    kind: Literal["stolen_card", "cash_out"]
    rate: float = Field(gt=0, le=0.1)


class ChangesConfig(Frozen):
    """All that changes.

    Attributes:
        drifts: Changes in ordinary behaviour.
        new_frauds: New kinds of fraud, each at most once.
    """

    drifts: tuple[DriftConfig, ...] = ()
    new_frauds: tuple[NewFraudConfig, ...] = ()

    @model_validator(mode="after")
    def _a_kind_is_new_once(self) -> Self:
        kinds = [fraud.kind for fraud in self.new_frauds]
        doubled = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if doubled:
            raise ValueError(f"`new_frauds` names {doubled} twice; a kind of fraud is new once")
        return self


UNCHANGED = ChangesConfig()
