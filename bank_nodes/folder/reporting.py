"""One bank's privacy report, from its own folder: ledger, approvals, policy, plans, and counts of its rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from bank_nodes.gate.kept_receipts import KeptReceipts, compare
from bank_nodes.rules.approvals import Approvals, Decision
from bank_nodes.rules.budget import Budget, Statement
from bank_nodes.rules.policy import POLICY_FILE, Policy, read_policy
from fraudfl.errors import PlanError, PrivacyError
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Entry, Ledger
from fraudfl.report.data_used import data_used
from fraudfl.report.facts import (
    AuditResult,
    DataUsed,
    Decided,
    LedgerRecord,
    Phase,
    PolicyRules,
    Report,
    Spending,
    Subject,
    Total,
    Trained,
)
from fraudfl.report.plan_facts import encoder_digest, left_of, promise_of, secure_of, trained_of
from fraudfl.report.problems import Problems
from fraudfl.report.records import PlanRecord, ledger_record, records_by_plan
from fraudfl.report.sealing import write_report
from fraudfl.report.software import software
from fraudfl.report.spending import method_of
from fraudfl.report.words import count_of
from fraudfl.transfer.model import vector_digest
from fraudfl.trust.keys import fingerprint, load_key, now_text, public_text

PACKAGES = ("bank_nodes", "fraudfl")
_MODEL_FILE = re.compile(r"model-(\d+)\.npy")


def report_bank(
    folder: Path,
    out: Path,
    audit: tuple[AuditResult, ...] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Path, ...]:
    """Write this bank's privacy report, signed with its key.

    Args:
        folder: The bank's folder.
        out: Where the four files go.
        audit: Results to state; None when no audit was run.
        clock: Says the time.

    Returns:
        What was written.

    Raises:
        TrustError: when the bank's key cannot be used.
        SourceError: when the folder is no bank's.
        PrivacyError: when the ledger is none.
    """
    key = load_key(folder / "keys" / "bank.key")
    report = _Reporter(BankFolder(folder), clock).report(fingerprint(public_text(key)), audit)
    return write_report(report, out, key)


class _Reporter:
    """Gathers one report; what is wrong with a part of the records is stated in it, and the rest goes on."""

    def __init__(self, folder: BankFolder, clock: Callable[[], datetime]) -> None:
        self.folder, self.path, self.clock = folder, folder.path, clock
        self.problems = Problems()
        self.data: dict[str, DataUsed | None] = {}
        self.ledger = Ledger(self.path / "ledger.db")
        self.policy = self.problems.attempt(read_policy, self.path) or Policy()
        self.budget = Budget(self.ledger, self.policy, clock)

    def report(self, signer: str, audit: tuple[AuditResult, ...] | None) -> Report:
        """All of it."""
        entries = self.ledger.entries()
        record = self._witnessed(ledger_record(self.folder.bank, self.ledger))
        if record.problem:
            self.problems.note(f"The ledger does not verify: {record.problem}. No figure from it is evidence.")
        self._note_unplanned(entries)
        plans = dict(self._plans())
        records = records_by_plan(entries)
        phases = tuple(self._phases(records, plans))
        stated = {phase.plan_hash for phase in phases}
        return Report.named(
            made_at=now_text(self.clock()),
            setting="deployment" if (self.path / "enrolment.json").exists() else "simulation",
            subject=Subject(kind="bank", name=self.folder.bank, consortium=_consortium(plans.values())),
            signer=signer,
            first=entries[0].at if entries else "",
            last=entries[-1].at if entries else "",
            software=software(PACKAGES),
            phases=phases,
            undecided=len(plans.keys() - stated),
            unasked=sum(one.refused.total() for name, one in records.items() if name not in stated | plans.keys()),
            totals=tuple(self._totals(plans.values())),
            policy=self._rules(),
            ledgers=(record,),
            audit=audit,
            problems=self.problems.found,
        )

    def _witnessed(self, record: LedgerRecord) -> LedgerRecord:
        """Compare the ledger with the operator's receipts: a chain whose end was cut off fits itself."""
        kept = KeptReceipts(self.path)
        receipts = self.problems.attempt(lambda: list(kept.all()))
        if not receipts or not record.verified:
            return record
        newest = max(receipt.entry for receipt in receipts)
        witness = f"{count_of(len(receipts), 'receipt')} signed by the operator, the newest for entry {newest:,}"
        try:
            compare(self.ledger, receipts).refuse_missing()
        except PrivacyError as error:
            return record.model_copy(update={"verified": False, "problem": str(error), "witness": witness})
        return record.model_copy(update={"witness": witness})

    def _plans(self) -> Iterator[tuple[str, Plan | None]]:
        """Every plan that was offered; None for one that this version cannot read, or that was changed."""
        for path in sorted((self.path / "plans").glob("*.json")):
            plan = self.problems.attempt(_read_plan, path)
            yield path.stem, plan

    def _phases(self, records: dict[str, PlanRecord], plans: dict[str, Plan | None]) -> Iterator[Phase]:
        decisions: dict[str, list[Decision]] = {}
        for one in self.problems.attempt(Approvals(self.path).all) or ():
            decisions.setdefault(one.plan_hash, []).append(one)
        for plan_hash in dict.fromkeys([*records, *decisions]):
            record = records.get(plan_hash, PlanRecord(plan_hash))
            # A coordinator can name as many plans as it likes; a phase is what was decided on, or charged.
            if plan_hash in decisions or record.reserved or record.restored:
                yield self._phase(record, plans.get(plan_hash), decisions.get(plan_hash, []))

    def _phase(self, record: PlanRecord, plan: Plan | None, decisions: list[Decision]) -> Phase:
        return Phase(
            name=plan.phase if plan else record.phase or f"of plan {record.plan_hash[:12]}",
            kind=plan.kind if plan else "",
            plan_hash=record.plan_hash,
            plan_known=plan is not None,
            status=_status(record, plan, decisions),
            began=record.began,
            ended=record.ended,
            decisions=tuple(
                Decided(decision=one.decision, by=one.by, at=one.at, reason=one.reason) for one in decisions
            ),
            trained=self._trained(record, plan) if plan else None,
            promise=promise_of(plan) if plan else None,
            secure=secure_of(plan) if plan else None,
            spending=self._spending(plan) if plan else None,
            left=left_of(plan, record.left),
            open=record.open,
            refused=dict(sorted(record.refused.items())),
            restored=record.restored,
            measured_up=None,
            measured_down=None,
            data=self._data(plan) if plan else None,
            roster=None,
            participants=(),
        )

    def _trained(self, record: PlanRecord, plan: Plan) -> Trained:
        encoder, model = self._received(record)
        return trained_of(plan, len(record.rounds), encoder, model, "last model received")

    def _received(self, record: PlanRecord) -> tuple[str, str]:
        """Digests of the encoder and of the last model that the coordinator sent in the plan's last instance."""
        if not record.instances:
            return "", ""
        kept = self.path / "phases" / record.instances[-1]
        file = kept / "encoder.json"
        encoder = self.problems.attempt(encoder_digest, file) if file.exists() else None
        versions = {int(found[1]): path for path in kept.glob("*") if (found := _MODEL_FILE.fullmatch(path.name))}
        if not versions:
            return encoder or "", ""
        model = self.problems.attempt(_model_digest, versions[max(versions)])
        return encoder or "", model or ""

    def _spending(self, plan: Plan) -> Spending | None:
        statement = self.problems.attempt(self.budget.statement, plan)
        return (
            None if statement is None else _spending(statement, _colluding([plan]), method_of(plan), plan.privacy.delta)
        )

    def _totals(self, plans: Iterable[Plan | None]) -> Iterator[Total]:
        private = [plan for plan in plans if plan is not None and plan.private]
        if not private:
            return
        # Mechanisms are composed at what δ leaves them; what plans set aside for whole-number sums comes on top.
        delta = max(plan.delta for plan in private)
        aside = sum(plan.privacy.delta - plan.delta for plan in private)
        windows: tuple[Literal["month", "all"], ...] = ("month", "all")
        for window in windows:
            since = self._month() if window == "month" else ""
            for one in self.problems.attempt(self.budget.statements, window, delta) or ():
                spending = _spending(one, _colluding(private), one.method, one.delta + aside)
                yield Total(window=window, since=since, spending=spending)

    def _data(self, plan: Plan) -> DataUsed | None:
        split = plan.split.model_dump_json()
        if split not in self.data:
            self.data[split] = self.problems.attempt(data_used, self.folder, plan.split)
        return self.data[split]

    def _rules(self) -> PolicyRules:
        file, caps = self.path / POLICY_FILE, self.policy.caps.epsilon
        return PolicyRules(
            digest=hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "",
            uncovered=self.policy.uncovered,
            epsilon_phase=caps.phase,
            epsilon_month=caps.month,
            epsilon_total=caps.total,
            automatic=self.policy.approve.automatic,
        )

    def _month(self) -> str:
        return self.clock().astimezone(ZoneInfo(self.policy.hours.zone)).replace(day=1).date().isoformat()

    def _note_unplanned(self, entries: Iterable[Entry]) -> None:
        count = sum(1 for entry in entries if entry.event == "restored" and entry.mechanism and not entry.plan_hash)
        if count:
            self.problems.note(
                f"{count} releases were charged again after a restoration without their plan being known: they count "
                "in every phase below."
            )


def _read_plan(path: Path) -> Plan:
    plan = Plan.from_json(path.read_bytes())
    if plan.hash != path.stem:
        raise PlanError(f"{path.name}: this plan was changed; its hash is {plan.hash[:12]}")
    return plan


def _model_digest(path: Path) -> str:
    return vector_digest(np.load(path, allow_pickle=False))


def _spending(statement: Statement, colluding: int, method: str, delta: float) -> Spending:
    return Spending(
        unit=statement.unit,
        delta=delta,
        epsilon=statement.epsilon,
        epsilon_colluding=statement.epsilon_colluding if colluding else None,
        colluding=colluding,
        cap=statement.cap,
        left=statement.left,
        charges=statement.releases,
        method=method,
        basis="ledger",
    )


def _colluding(plans: Iterable[Plan]) -> int:
    """Most banks that plans with shared noise take to collude; with noise in full nobody's silence is needed."""
    shared = [plan.secure_aggregation for plan in plans if plan.privacy.mode == "distributed"]
    return max((secure.colluding for secure in shared if secure is not None), default=0)


def _consortium(plans: Iterable[Plan | None]) -> str:
    return ", ".join(sorted({plan.consortium for plan in plans if plan is not None}))


def _status(record: PlanRecord, plan: Plan | None, decisions: list[Decision]) -> str:
    standing = decisions[-1].decision if decisions else None
    if standing != "approve":
        return {"reject": "rejected", "revoke": "approval revoked", None: "waiting for a decision"}[standing]
    if plan is None or not record.left:
        return "approved; nothing has left yet" if not record.left else "approved"
    if len(record.rounds) < plan.rounds:
        return f"approved; {len(record.rounds):,} of {plan.rounds:,} rounds have left"
    return "approved; all rounds have left"
