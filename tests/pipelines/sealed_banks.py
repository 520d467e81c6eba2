"""Banks that know each other's phase keys, and a coordinator that asks them whatever a test wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from memory_fleet import INSTANCE, Consortium, copy_banks, tiny_config
from numpy.typing import NDArray

from bank_nodes.answers.answering import reply_to
from bank_nodes.gate.sealing import roster_of
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.ledger_entry import Entry
from fraudfl.protocols import Kind, Reply, Request, Scalar
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.bitpack import unpack
from fraudfl.secagg.survivors import SurvivorSet, pack_confirmations
from fraudfl.summed import asked_digest, attempt_of, parts_of, spell_members
from fraudfl.trust.keys import parse_signed
from fraudfl.trust.roster import Roster
from pipelines.encoding import join


@dataclass(frozen=True)
class SealedBanks:
    """A phase in which all banks have joined and hold the list of phase keys.

    Attributes:
        folders: Their folders.
        plan: The phase's.
        banks: Their ids, as the list of keys has them.
        peers: Digest of that list.
    """

    folders: Path
    plan: Plan
    banks: tuple[str, ...]
    peers: str

    @classmethod
    def begin(cls, folders: Path, place: Path, phase: Mapping[str, Any]) -> SealedBanks:
        """Let the banks in `folders` join, whose coordinator keeps its own things in `place`."""
        begun = Consortium(folders, tiny_config(phase), place).phase()
        join(begun)
        circle = begun.state.circle
        return cls(folders, begun.plan, tuple(circle.keys), circle.digest)

    def copy(self, target: Path) -> SealedBanks:
        """The same banks once more, for a test to spoil."""
        return replace(self, folders=copy_banks(self.folders, target))

    @property
    def roster(self) -> Roster:
        return roster_of(self.folders / self.banks[0])

    def attempt(
        self,
        kind: Kind = "sketch",
        *,
        number: int = 1,
        cohort: Iterable[str] | None = None,
        values: Mapping[str, Scalar] = {},
    ) -> Attempt:
        banks = self.banks if cohort is None else tuple(cohort)
        where = (1 if kind == "train" else 0, number)
        return attempt_of(self.plan, INSTANCE, kind, where, banks, self.peers, asked_digest(values))

    def request(
        self,
        attempt: Attempt,
        kind: Kind | None = None,
        survivors: Iterable[str] | None = None,
        values: Mapping[str, Scalar] = {},
        payloads: Mapping[str, bytes] = {},
    ) -> Request:
        """A request that belongs to an attempt: what is to be summed, or what opens the sum over `survivors`."""
        spelled: dict[str, Scalar] = {"peers": attempt.peers, "members": spell_members(attempt.cohort, self.banks)}
        if kind in ("confirm", "reveal"):
            spelled["asked"] = attempt.asked
        if survivors is not None:
            spelled["survivors"] = spell_members(tuple(survivors), self.banks)
        return Request(
            kind=kind or attempt.kind,  # type: ignore[arg-type]
            about=attempt.kind if kind in ("confirm", "reveal") else "",  # type: ignore[arg-type]
            plan_hash=self.plan.hash,
            instance=INSTANCE,
            round=attempt.round,
            attempt=attempt.attempt,
            cohort=attempt.digest,
            values={**spelled, **values},
            payloads=payloads,
        )

    def answer(self, bank: str, request: Request) -> Reply:
        """What a freshly started process of the bank says."""
        return reply_to(BankFolder(self.folders / bank), request)

    def upload(self, attempt: Attempt, banks: Iterable[str] | None = None) -> dict[str, Reply]:
        """Let banks of the cohort release their masked vectors."""
        return {bank: self.answer(bank, self.request(attempt)) for bank in banks or attempt.cohort}

    def confirmed(self, attempt: Attempt, survivors: Iterable[str], by: Iterable[str]) -> list[SurvivorSet]:
        replies = [self.answer(bank, self.request(attempt, "confirm", survivors)) for bank in by]
        return [parse_signed(reply.payloads["confirmation"], SurvivorSet, "confirmation") for reply in replies]

    def reveal(self, attempt: Attempt, survivors: Iterable[str], records: Iterable[SurvivorSet]) -> Request:
        payloads = {"confirmations": pack_confirmations(records)}
        return self.request(attempt, "reveal", survivors, payloads=payloads)

    def residues(self, attempt: Attempt, reply: Reply, part: str, width: int = 0) -> NDArray[np.uint64]:
        """The masked residues of one vector of a reply."""
        (found,) = (one for one in parts_of(self.plan, reply.kind, width, len(attempt.cohort)) if one.name == part)
        return unpack(reply.payloads[part], found.size, found.encoding.bits)

    def ledger(self, bank: str) -> Ledger:
        return Ledger(self.folders / bank / "ledger.db")

    def entries(self, bank: str, event: str, kind: str) -> list[Entry]:
        return [entry for entry in self.ledger(bank).entries() if (entry.event, entry.kind) == (event, kind)]
