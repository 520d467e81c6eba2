"""Who can be asked together in a phase: banks whose turn it is, who sits out, and, for sums, who has whose keys."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fraudfl.transfer.model import derived_seed

_LONGEST_REST = 64
MADE_UP = 3
"""Turns that a bank which was away makes up for at most."""


@dataclass
class Circle:
    """The banks that can be asked together: under secure aggregation those that know each other's phase keys.

    Attributes:
        keys: Bank to its signed phase key, as JSON text.
        peers: All keys as they were handed to the members; empty before.
        digest: What that list is called in requests and masks.
        members: Banks that took the list; without secure aggregation all.
        turns: Bank to the turns it had: rounds whose cohort it was in, and those it missed and does not make up for.
        rests: Bank to the round from which it is asked again, and how many rounds it sat out the last time.
        gone: Banks that refused for good: nobody asks them again in this phase.
    """

    keys: dict[str, str] = field(default_factory=dict)
    peers: bytes = b""
    digest: str = ""
    members: set[str] = field(default_factory=set)
    turns: dict[str, int] = field(default_factory=dict)
    rests: dict[str, tuple[int, int]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def ready(self, round_number: int, present: Collection[str]) -> list[str]:
        """Members that can be asked in a round, sorted."""
        return sorted(
            bank
            for bank in self.members - self.gone
            if bank in present and self.rests.get(bank, (0, 0))[0] <= round_number
        )

    def with_turns_left(self, banks: list[str], most: int) -> list[str]:
        """Those that had fewer turns than that."""
        return [bank for bank in banks if self.turns.get(bank, 0) < most]

    def draw(self, ready: list[str], size: int | None, seed: int, *where: int) -> tuple[str, ...]:
        """A cohort: those that had fewest turns, ties by a draw that a resumed round repeats.

        A bank that was away makes up for a few turns that it missed, and no more: one that comes late is not asked
        round after round.
        """
        if size is None or size >= len(ready):
            return tuple(ready)
        most = max(self.turns.get(bank, 0) for bank in ready)
        self.turns |= {bank: max(self.turns.get(bank, 0), most - 1 - MADE_UP) for bank in ready}
        order = random.Random(derived_seed(seed, "cohort", *where)).sample(ready, len(ready))
        return tuple(sorted(sorted(order, key=self.turns.__getitem__)[:size]))

    def took_part(self, banks: Collection[str], *, turn: bool = True) -> None:
        """Count a cohort that answered, as a turn of each of its banks or without one."""
        for bank in banks:
            self.turns[bank] = self.turns.get(bank, 0) + turn
            self.rests.pop(bank, None)

    def rest(self, bank: str, round_number: int) -> None:
        """Leave out a bank that did not answer, for longer each time: an attempt that misses it is lost."""
        length = min(_LONGEST_REST, max(1, 2 * self.rests.get(bank, (0, 0))[1]))
        self.rests[bank] = (round_number + length, length)

    def to_facts(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "keys": self.keys,
            "peers": self.peers.decode(),
            "digest": self.digest,
            "members": sorted(self.members),
            "turns": self.turns,
            "rests": self.rests,
            "gone": sorted(self.gone),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Circle:
        """Read what `to_facts` gave."""
        return cls(
            keys=dict(facts["keys"]),
            peers=str(facts["peers"]).encode(),
            digest=str(facts["digest"]),
            members=set(facts["members"]),
            turns=dict(facts["turns"]),
            rests={bank: (int(until), int(length)) for bank, (until, length) in facts["rests"].items()},
            gone=set(facts["gone"]),
        )
