"""Reveals: the seeds that one bank gives up so that one attempt's sum can be opened."""

from __future__ import annotations

from typing import ClassVar, Literal

from fraudfl.errors import TrustError
from fraudfl.frozen import Frozen, Name
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.peers import check_listed
from fraudfl.secagg.phase_keys import Hex32
from fraudfl.trust.keys import PublicText, Signed, parse_signed
from fraudfl.trust.roster import Roster


class Seeds(Frozen):
    """What one bank reveals about one vector.

    Attributes:
        own: Seed of its self mask, hex.
        pairs: Seeds (hex) that it shares with each bank of the cohort that is not in the survivor set.
    """

    own: Hex32
    pairs: dict[Name, Hex32]


class Reveal(Signed):
    """One survivor's seeds for one attempt. They open nothing else.

    Attributes:
        attempt: The attempt's digest, hex.
        parts: Seeds by the name of the vector.
        bank, public_key: Whose they are, and who signs.
    """

    purpose: ClassVar[str] = "reveal"

    version: Literal[1] = 1
    attempt: Hex32
    parts: dict[Name, Seeds]
    bank: Name
    public_key: PublicText

    @property
    def signer(self) -> str:
        """The bank itself."""
        return self.public_key

    def seeds(self, attempt: Attempt, part: str, survivors: tuple[str, ...]) -> Seeds:
        """Its seeds for one vector, when they are those that the survivor set needs and no others.

        Raises:
            SecureAggregationError: when the reveal is for another attempt, not by a survivor, without this vector, or
                brings seeds with a survivor (whose self seed is revealed too) or none with a lost bank.
        """
        said = f"reveal of bank {self.bank}"
        if self.attempt != attempt.digest:
            raise SecureAggregationError(f"{said}: is for another attempt ({self.attempt[:12]})")
        if self.bank not in survivors:
            raise SecureAggregationError(f"{said}: it is not in the survivor set, and must reveal nothing")
        if part not in self.parts:
            raise SecureAggregationError(f"{said}: has no seeds for {part!r}; found {sorted(self.parts)}")
        seeds = self.parts[part]
        lost = set(attempt.cohort) - set(survivors)
        for bank in sorted(set(seeds.pairs) - lost):
            raise SecureAggregationError(f"{said}: {part}: brings a seed with bank {bank}, which is not a lost bank")
        for bank in sorted(lost - set(seeds.pairs)):
            raise SecureAggregationError(f"{said}: {part}: brings no seed with lost bank {bank}")
        return seeds


def read_reveal(data: bytes, roster: Roster) -> Reveal:
    """Read a reveal and check that its bank's key on the roster signed it.

    Raises:
        SecureAggregationError: when it is malformed, altered, or signed by anybody else.
    """
    try:
        reveal = parse_signed(data, Reveal, "reveal")
    except TrustError as error:
        raise SecureAggregationError(str(error)) from error
    check_listed(reveal, roster, "reveal")
    return reveal
