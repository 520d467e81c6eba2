"""What a bank's ledger says of each plan, counted: thousands of rounds become one line per kind of release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fraudfl.errors import PrivacyError
from fraudfl.privacy.ledger import Entry, Ledger
from fraudfl.report.facts import LedgerRecord

UNNAMED = "another error"
"""The kind of a refusal whose note does not begin with the name of an error."""


@dataclass
class Tally:
    """How often something left, and in how many bytes; None where those were not counted by kind."""

    releases: int = 0
    bytes: int | None = 0
    resent: int = 0
    bytes_resent: int = 0


@dataclass
class PlanRecord:
    """What one ledger says of one plan.

    Attributes:
        rounds: Rounds whose update was released.
        instances: Phase instances under which something was released, in order: names that the gate has checked.
    """

    plan_hash: str
    phase: str = ""
    began: str = ""
    ended: str = ""
    left: dict[str, Tally] = field(default_factory=dict)
    rounds: set[int] = field(default_factory=set)
    instances: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    restored: int = 0
    reserved: int = 0

    @property
    def open(self) -> int:
        """Releases that were charged and never left."""
        return self.reserved - sum(tally.releases for tally in self.left.values())

    def add(self, entry: Entry) -> None:
        """Count one more entry of this plan."""
        self.began, self.ended = self.began or entry.at, entry.at
        self.phase = self.phase or entry.phase
        if entry.event == "reserved":
            self.reserved += 1
        elif entry.event in ("released", "resent"):
            self._count(entry)
        elif entry.event == "refused":
            self.refused[_kind_of_refusal(entry.note)] += 1
        elif entry.event == "restored":
            self.restored += entry.mechanism is not None

    def _count(self, entry: Entry) -> None:
        tally = self.left.setdefault(entry.kind, Tally())
        if entry.event == "resent":
            tally.resent += 1
            tally.bytes_resent += entry.size
            return
        if entry.instance not in self.instances:
            self.instances.append(entry.instance)
        tally.releases += 1
        tally.bytes = (tally.bytes or 0) + entry.size
        if entry.kind == "train":
            self.rounds.add(entry.round)


def records_by_plan(entries: Iterable[Entry]) -> dict[str, PlanRecord]:
    """Count a ledger's entries by plan, in the order in which plans first appear; entries of no plan are left out."""
    records: dict[str, PlanRecord] = {}
    for entry in entries:
        if entry.plan_hash:
            records.setdefault(entry.plan_hash, PlanRecord(entry.plan_hash)).add(entry)
    return records


def ledger_record(bank: str, ledger: Ledger, known: tuple[int, str] | None = None) -> LedgerRecord:
    """Check a whole ledger and say how it stands; one that does not verify is stated, not raised.

    Args:
        known: Number and hash of an entry that the coordinator has seen, which must be there.
    """
    problem = ""
    try:
        ledger.verify(known)
    except PrivacyError as error:
        problem = str(error)
    number, digest = ledger.head()
    return LedgerRecord(
        bank=bank,
        entries=number,
        head=digest,
        verified=not problem,
        problem=problem,
        events=dict(sorted(Counter(entry.event for entry in ledger.entries()).items())),
        witness=f"entry {known[0]}, as the coordinator has seen it" if known else "",
    )


def _kind_of_refusal(note: str) -> str:
    """The name of the error that a refusal's note begins with: the rest of the note stays in the ledger."""
    name = note.partition(":")[0].partition(" ")[0]
    return name if name.isidentifier() and name[0].isupper() else UNNAMED
