"""Four roles, and what each may do: the one table that says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from fraudfl.errors import AccessRefused

Role = Literal["viewer", "analyst", "operator", "compliance"]
Deed = Literal["look", "look at single banks", "look at records", "make reports", "promote or roll back"]

_DEEDS: Final[dict[Role, frozenset[Deed]]] = {
    "viewer": frozenset({"look"}),
    "analyst": frozenset({"look", "look at single banks"}),
    "operator": frozenset(
        {"look", "look at single banks", "look at records", "make reports", "promote or roll back"},
    ),
    "compliance": frozenset({"look", "look at single banks", "look at records", "make reports"}),
}
_OF_ONE_BANK: Final[frozenset[Deed]] = frozenset({"look"})
"""Whoever is of one bank does no more for the consortium, whatever the role: its reports hold other banks' figures."""


@dataclass(frozen=True)
class Reader:
    """Somebody who looks.

    Attributes:
        role: What they are to the consortium.
        name: As the login gave it; empty where there is none.
        bank: The one bank whose people they are of; empty for the consortium's own.
    """

    role: Role
    name: str = ""
    bank: str = ""

    def may(self, deed: Deed) -> bool:
        """Whether they may do something."""
        return deed in _DEEDS[self.role] and (not self.bank or deed in _OF_ONE_BANK)

    def demand(self, deed: Deed) -> None:
        """Stop whoever may not.

        Raises:
            AccessRefused: saying who may not do what, and who may.
        """
        if not self.may(deed):
            able = " or ".join(role for role, deeds in _DEEDS.items() if deed in deeds)
            whose = f" of {self.bank}" if self.bank else ""
            raise AccessRefused(f"a reader in the role {self.role}{whose} may not {deed}; {able} of the consortium may")

    def banks_shown(self, banks: Iterable[str]) -> list[str]:
        """Those banks, in their order, of which this reader may see figures one by one."""
        if self.may("look at single banks"):
            return [*banks]
        return [bank for bank in banks if self.bank and bank == self.bank]
