"""The consortium's privacy report, from what its operator holds; what only banks know is left to the banks' own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fraudfl.models.bundle import checked_digest
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Charge, Ledger
from fraudfl.report.facts import AuditResult, LedgerRecord, Participant, Phase, Report, Spending, Subject, Trained
from fraudfl.report.heard import BankHeard, Heard
from fraudfl.report.plan_facts import encoder_digest, left_of, promise_of, secure_of, trained_of
from fraudfl.report.problems import Problems
from fraudfl.report.records import Tally, ledger_record
from fraudfl.report.sealing import write_report
from fraudfl.report.software import software
from fraudfl.report.spending import charged, phase_spending, spent_as_heard
from fraudfl.trust.keys import fingerprint, load_key, now_text, public_text
from pipelines.world import State
from server.reports.departure_facts import departed
from server.store.checkpoint import FileCheckpoints
from server.store.workspace import PhaseFolder, Workspace, read_json

PACKAGES = ("fraudfl", "pipelines", "server")


def report_consortium(
    workspace: Workspace,
    out: Path,
    audit: tuple[AuditResult, ...] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Path, ...]:
    """Write the consortium's privacy report, signed with the operator's key where there is one.

    Args:
        workspace: The coordinator's workspace, or a simulation's.
        out: Where the files go.
        audit: Results to state; None when no audit was run.
        clock: Says the time.

    Returns:
        What was written; without a key there is no signature.

    Raises:
        CheckpointError: when the folder is no workspace.
        TrustError: when the operator's key cannot be used.
    """
    path = workspace.coordinator / "pki" / "operator.key"
    key = load_key(path) if path.exists() else None
    signer = "" if key is None else fingerprint(public_text(key))
    return write_report(_Reporter(workspace, clock).report(signer, audit), out, key)


def read_charges(ledger: Path) -> tuple[Charge, ...]:
    """What a ledger counts as charged, by plan; the file is opened for reading alone.

    Raises:
        PrivacyError: if the file is no ledger of this version, lacks a guard, or its last entry was altered.
    """
    return tuple(Ledger(ledger, read_only=True).charges())


def gather_phases(
    workspace: Workspace, charges: Callable[[Path], Sequence[Charge]] = read_charges
) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """The phases as the privacy report states them, and what is wrong with their records; ledgers are not verified.

    Args:
        charges: Reads a ledger, for who keeps what was read before.

    Raises:
        CheckpointError: when the folder is no workspace.
    """
    reporter = _Reporter(workspace, lambda: datetime.now(UTC), charges)
    phases = tuple(reporter.phases())
    return phases, reporter.problems.found


class _Reporter:
    """Gathers one report; what is wrong with a part of the records is stated in it, and the rest goes on."""

    def __init__(
        self,
        workspace: Workspace,
        clock: Callable[[], datetime],
        charges: Callable[[Path], Sequence[Charge]] = read_charges,
    ) -> None:
        self.workspace, self.clock = workspace, clock
        self.config = workspace.config()
        # Only a simulation has the banks' folders here.
        self.ledgers = {bank: workspace.banks / bank / "ledger.db" for bank in workspace.bank_ids()}
        self.seen: dict[str, tuple[int, str]] = {}
        self.problems = Problems()
        # One ledger holds what all phases charged: it is read once.
        self.charges = cache(charges)

    def report(self, signer: str, audit: tuple[AuditResult, ...] | None) -> Report:
        """All of it."""
        phases = tuple(self.phases())
        records = tuple(self._records())
        for one in records:
            if one.problem:
                self.problems.note(f"The ledger of {one.bank} does not verify: {one.problem}")
        name = self.config.consortium.name
        return Report.named(
            made_at=now_text(self.clock()),
            setting="simulation" if self.ledgers else "deployment",
            subject=Subject(kind="consortium", name=name, consortium=name),
            signer=signer,
            first=min((phase.began for phase in phases if phase.began), default=""),
            last=max((phase.ended for phase in phases), default=""),
            software=software(PACKAGES),
            phases=phases,
            undecided=0,
            unasked=0,
            totals=(),
            policy=None,
            ledgers=records,
            audit=audit,
            departures=self.problems.attempt(departed, self.workspace, phases) or (),
            problems=self.problems.found,
        )

    def phases(self) -> Iterator[Phase]:
        """Every phase that has a plan."""
        for settings in self.workspace.phases():
            path = self.workspace.coordinator / "phases" / settings.name / "plan.json"
            if path.exists():
                plan = self.problems.attempt(_read_plan, path)
                if plan is not None:
                    yield self._phase(plan, self.workspace.stored(settings.name))

    def _phase(self, plan: Plan, folder: PhaseFolder) -> Phase:
        lines = folder.events.read_text(encoding="utf-8").splitlines() if folder.events.exists() else []
        heard, state = Heard.from_lines(lines), self._state(folder)
        if heard.unread:
            self.problems.note(f"{folder.events}: {heard.unread} lines are no events; they are not counted.")
        outcome = self.problems.attempt(folder.result) or {}
        roster = (self.problems.attempt(read_json, folder.path / "roster.json") or {}).get("banks", [*self.ledgers])
        spent = self._spent(plan, heard)
        return Phase(
            name=plan.phase,
            kind=plan.kind,
            plan_hash=plan.hash,
            plan_known=True,
            status=str(outcome.get("status", "begun" if lines else "not begun")),
            began=heard.began,
            ended=heard.ended,
            decisions=(),
            trained=self._trained(plan, folder, state, outcome),
            promise=promise_of(plan),
            secure=secure_of(plan),
            spending=max(spent.values(), key=lambda one: one.epsilon, default=None),
            left=left_of(plan, _tallies(heard, state)),
            open=0,
            refused={},
            restored=0,
            measured_up=_measured(outcome, "bytes_up"),
            measured_down=_measured(outcome, "bytes_down"),
            data=None,
            roster=len(roster),
            participants=tuple(
                _participant(bank, heard.banks.get(bank, BankHeard()), spent.get(bank))
                for bank in sorted({*roster, *heard.banks})
            ),
        )

    def _state(self, folder: PhaseFolder) -> State:
        """What the last checkpoint knows; an empty one where there is none."""
        checkpoint = self.problems.attempt(FileCheckpoints(folder.checkpoints).latest)
        state = State() if checkpoint is None else State.from_checkpoint(checkpoint)[0]
        for bank, last in state.seen.items():
            self.seen[bank] = max(last, self.seen.get(bank, (0, "")))
        return state

    def _spent(self, plan: Plan, heard: Heard) -> dict[str, Spending]:
        """What each bank spent: by its ledger in a simulation, else by what the coordinator received."""
        found: dict[str, Spending | None] = {}
        if self.ledgers:
            plan_hash = plan.hash
            for bank, path in self.ledgers.items():
                if path.exists():
                    found[bank] = self.problems.attempt(self._spent_in_ledger, plan, plan_hash, path)
        else:
            for bank, one in heard.banks.items():
                found[bank] = phase_spending(plan, spent_as_heard(plan, one.replies), "heard-by-coordinator")
        return {bank: spending for bank, spending in found.items() if spending is not None}

    def _trained(self, plan: Plan, folder: PhaseFolder, state: State, outcome: Mapping[str, Any]) -> Trained:
        file, bundle = folder.path / "encoder.json", folder.path / "bundle"
        digest = self.problems.attempt(checked_digest, bundle) if bundle.exists() else None
        encoder = self.problems.attempt(encoder_digest, file) if file.exists() else None
        version = outcome.get("model_version")
        holds = "bundle" if version is None else f"bundle, version {version}"
        return trained_of(plan, state.round, encoder or "", digest or "", holds)

    def _records(self) -> Iterator[LedgerRecord]:
        for bank, path in self.ledgers.items():
            if path.exists():
                record = self.problems.attempt(self._checked, bank, path)
                if record is not None:
                    yield record
        for bank, (entry, digest) in sorted(self.seen.items()):
            if bank not in self.ledgers:
                witness = "came with the bank's last reply"
                yield LedgerRecord(
                    bank=bank, entries=entry, head=digest, verified=None, problem="", events={}, witness=witness
                )

    def _checked(self, bank: str, path: Path) -> LedgerRecord:
        return ledger_record(bank, Ledger(path, read_only=True), self.seen.get(bank))

    def _spent_in_ledger(self, plan: Plan, plan_hash: str, path: Path) -> Spending | None:
        # What was charged to no plan by name counts for every one.
        own = [charge for charge in self.charges(path) if charge.plan_hash in (plan_hash, "")]
        return phase_spending(plan, charged(own), "ledgers-on-this-machine")


def _tallies(heard: Heard, state: State) -> dict[str, Tally]:
    """Replies and bytes by kind. Replies that came again after a crash of the coordinator are counted again."""
    replies = Counter[str]()
    for one in heard.banks.values():
        replies.update(one.replies)
    traffic = state.meter.by_kind()
    return {
        kind: Tally(releases=count, bytes=traffic[kind].up if kind in traffic else None)
        for kind, count in replies.items()
    }


def _measured(outcome: Mapping[str, Any], direction: str) -> int | None:
    measured = outcome.get("transfer", {}).get(direction)
    return None if measured is None else int(measured)


def _participant(bank: str, one: BankHeard, spending: Spending | None) -> Participant:
    return Participant(
        bank=bank,
        rounds=len(one.rounds),
        missed=one.missed,
        accepted_at=one.accepted_at,
        epsilon=None if spending is None else spending.epsilon,
    )


def _read_plan(path: Path) -> Plan:
    return Plan.from_json(path.read_bytes())
