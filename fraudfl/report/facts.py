"""What a privacy report states, as frozen values: `report.json` is exactly this, and the pages are made from it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field

from fraudfl.config import Frozen
from fraudfl.report.departures import Departed
from fraudfl.trust.keys import UtcTime, canonical

FORMAT: Final = "fraudfl-privacy-report/1"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
Count = Annotated[int, Field(ge=0)]
PartName = Literal["train", "validation", "test"]
Basis = Literal["ledger", "ledgers-on-this-machine", "heard-by-coordinator"]
"""Where an ε comes from: one bank's ledger, all ledgers of a simulation, or what the coordinator received."""


class Subject(Frozen):
    """Whom the report is about: one bank, or the consortium as its operator sees it."""

    kind: Literal["bank", "consortium"]
    name: str
    consortium: str


class Software(Frozen):
    """What wrote the report.

    Attributes:
        version: Of fraudfl.
        packages: Installed packages whose files the digest is over.
        program_digest: SHA-256 over those files; `docs/privacy-report.md` says how to compute it with sha256sum.
        libraries: Versions of what privacy rests on, by name.
    """

    version: str
    packages: tuple[str, ...]
    program_digest: Digest
    libraries: dict[str, str]


class Decided(Frozen):
    """One decision of a bank about a plan."""

    decision: Literal["approve", "reject", "revoke"]
    by: str
    at: UtcTime
    reason: str


class Content(Frozen):
    """One thing that a plan lists as released.

    Attributes:
        name: As the plan calls it.
        covered: Whether ε pays for it.
        summed: Whether the coordinator gets it inside a sum over banks only.
    """

    name: str
    covered: bool
    summed: bool


class Left(Frozen):
    """What left in answer to one kind of request.

    Attributes:
        releases, bytes: Releases, and their bytes, each counted once; bytes are None where not counted by kind.
        resent, bytes_resent: The same bytes sent again, which costs no privacy.
        mechanism: What one release costs, serialised; None where nothing is promised.
    """

    kind: str
    contents: tuple[Content, ...]
    releases: Count
    bytes: Count | None
    resent: Count
    bytes_resent: Count
    mechanism: dict[str, Any] | None


class Promise(Frozen):
    """What the plan promises.

    Attributes:
        mode: Who adds the noise: nobody, each bank in full, or each bank a share.
        unit: What is protected.
        unit_rows: Most transactions of one unit that a release depends on.
        epsilon, delta: For the phase.
        units: Public bound on the units of one bank.
        delta_limit: Largest δ that was allowed: 1 / (10·units).
    """

    mode: Literal["none", "local", "distributed"]
    unit: str
    unit_rows: Count
    epsilon: float | None
    delta: float
    units: Count
    delta_limit: float


class Secure(Frozen):
    """Secure aggregation, as the plan fixes it.

    Attributes:
        min_cohort: Fewest banks whose sum is opened, m.
        colluding: Most banks that may work with the coordinator, t.
        coordinator: What the coordinator is taken to be.
        recover: Whether sums open although banks are lost; if not, there is one exchange a round.
    """

    min_cohort: Count
    colluding: Count
    coordinator: Literal["malicious", "honest-but-curious"]
    recover: bool


class Spending(Frozen):
    """What was spent at one δ, for one unit added or removed.

    Attributes:
        unit: What is protected.
        epsilon: Against the coordinator and everybody outside.
        epsilon_colluding: Against the coordinator together with `colluding` banks; None where that is the same.
        cap: Most that may be spent; None where nothing caps it.
        left: `cap` less `epsilon`, never below 0.
        charges: Releases charged.
        method: How the mechanisms were composed.
        basis: Where the mechanisms were read.
    """

    unit: str
    delta: float
    epsilon: float
    epsilon_colluding: float | None
    colluding: Count
    cap: float | None
    left: float | None
    charges: Count
    method: str
    basis: Basis


class Total(Frozen):
    """What was spent over all plans in a window of time."""

    window: Literal["month", "all"]
    since: str
    spending: Spending


class DataPart(Frozen):
    """Rows of one part of a bank's data: how many, and the days of the first and the last."""

    part: PartName
    rows: Count
    first: str
    last: str


class DataUsed(Frozen):
    """A bank's rows, counted by the plan's split; never a row.

    Attributes:
        source_digest: SHA-256 of the bank's file of transactions as it is now.
    """

    parts: tuple[DataPart, ...]
    source_digest: Digest


class Trained(Frozen):
    """What was trained.

    Attributes:
        model, strategy: In words.
        rounds_planned, rounds_done: Rounds.
        attempts: How often a round may be tried.
        encoder_digest, model_digest: Of what this side holds at the end; empty when it holds none.
        model_holds: What `model_digest` is of: `bundle`, or `last model received`.
    """

    model: str
    strategy: str
    rounds_planned: Count
    rounds_done: Count
    attempts: Count
    encoder_digest: str = ""
    model_digest: str = ""
    model_holds: str = ""


class Participant(Frozen):
    """One bank of a phase, as the coordinator knows it.

    Attributes:
        rounds: Rounds whose update was received.
        missed: Times that it was left out.
        accepted_at: When it took the plan; empty when it never did.
        epsilon: Spent, by the phase's basis; None where no ε is promised.
    """

    bank: str
    rounds: Count
    missed: Count
    accepted_at: str
    epsilon: float | None


class Phase(Frozen):
    """One phase: a plan, and what came of it.

    Attributes:
        began, ended: First and last record of it.
        plan_known: Whether the plan's text could be read; without it only the records are stated.
        open: Releases that were charged and never left.
        refused: How many requests were refused, by kind of refusal.
        restored: Charges put back after a restoration from a backup.
        measured_up, measured_down: Bytes of all messages from and to banks, as the coordinator measured them; None in a
            bank's report.
        roster: How many banks were asked; None in a bank's report.
        participants: The banks; empty in a bank's report.
    """

    name: str
    kind: str
    plan_hash: str
    plan_known: bool
    status: str
    began: str
    ended: str
    decisions: tuple[Decided, ...]
    trained: Trained | None
    promise: Promise | None
    secure: Secure | None
    spending: Spending | None
    left: tuple[Left, ...]
    open: Count
    refused: dict[str, int]
    restored: Count
    measured_up: Count | None
    measured_down: Count | None
    data: DataUsed | None
    roster: Count | None
    participants: tuple[Participant, ...]


class LedgerRecord(Frozen):
    """One bank's ledger.

    Attributes:
        verified: Whether its whole chain was checked and held; None when only its head is known here.
        problem: What was wrong.
        events: Number of entries by event.
        witness: What outside of the ledger it was compared with.
    """

    bank: str
    entries: Count
    head: str
    verified: bool | None
    problem: str
    events: dict[str, int]
    witness: str


class PolicyRules(Frozen):
    """The bank's own rules that bear on privacy.

    Attributes:
        digest: SHA-256 of the policy file; empty when the defaults hold.
        uncovered: What may leave although no ε pays for it.
        epsilon_phase, epsilon_month, epsilon_total: Caps; None where there is none.
        automatic: Whether rules approve plans without a person.
    """

    digest: str
    uncovered: tuple[str, ...]
    epsilon_phase: float | None
    epsilon_month: float | None
    epsilon_total: float | None
    automatic: bool


class AuditResult(Frozen):
    """One empirical audit: a lower bound of ε, measured."""

    name: str
    mechanism: str
    claimed: float | None
    lower_bound: float | None
    confidence: float | None
    trials: Count | None
    verdict: str
    detail: str | dict[str, Any] = ""


class Report(Frozen):
    """One privacy report.

    Attributes:
        id: Names it: subject, day, and the digest of everything else in it.
        setting: Whether banks were deployed, or simulated on one machine.
        signer: Fingerprint of the key that signs; empty when there is none.
        first, last: The period: first and last record that it is about; empty when there are none.
        undecided: Plans that were offered to the bank, and that nobody has decided on.
        unasked: Requests refused under plans that were never offered to the bank.
        audit: None when no audit was given.
        departures: Banks that left and were unlearned; empty in a bank's report.
        problems: What is wrong with the records that it was made from.
    """

    format: Literal["fraudfl-privacy-report/1"] = FORMAT
    id: str
    made_at: UtcTime
    classification: Literal["Confidential"] = "Confidential"
    setting: Literal["deployment", "simulation"]
    subject: Subject
    signer: str
    first: str
    last: str
    software: Software
    phases: tuple[Phase, ...]
    undecided: Count
    unasked: Count
    totals: tuple[Total, ...]
    policy: PolicyRules | None
    ledgers: tuple[LedgerRecord, ...]
    audit: tuple[AuditResult, ...] | None
    departures: tuple[Departed, ...] = ()
    problems: tuple[str, ...]

    @classmethod
    def named(cls, **facts: Any) -> Self:
        """Make a report with an id that follows from what it says."""
        unnamed = cls(id="", **facts)
        digest = hashlib.sha256(canonical(unnamed.model_dump(mode="json"))).hexdigest()
        day = unnamed.made_at[:10].replace("-", "")
        return unnamed.model_copy(update={"id": f"PR-{unnamed.subject.name}-{day}-{digest[:8]}"})

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Names of all that left, or may have, without privacy."""
        kinds = (left for phase in self.phases for left in phase.left if left.releases)
        return tuple(sorted({content.name for left in kinds for content in left.contents if not content.covered}))
