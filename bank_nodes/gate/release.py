"""The gate: the only place where a reply is made. It checks, writes the ledger, and only then lets go."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from bank_nodes.gate.checks import MAX_REPLY_BYTES, Draft, check_draft
from bank_nodes.gate.kept_receipts import KeptReceipts
from bank_nodes.gate.lock import gate_locked
from bank_nodes.gate.openings import refuse_other_set, refuse_unopened
from bank_nodes.gate.sealing import Sealing
from bank_nodes.gate.windows import refuse_early
from bank_nodes.rules.approvals import BY_RULE, Approvals
from bank_nodes.rules.budget import Budget
from bank_nodes.rules.policy import Policy, objections, over_cap, read_policy, review
from bank_nodes.rules.schedule import closed, opens_at
from fraudfl.errors import (
    DataError,
    FraudflError,
    NotApproved,
    NotNow,
    PlanError,
    ReleaseRefused,
    TrustError,
    WorkFailed,
)
from fraudfl.folder import BankFolder, write_bytes
from fraudfl.introduction import Introduction
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger, Release
from fraudfl.protocols import INSTANCE, SUMMED, Kind, Reply, Request
from fraudfl.report.software import installed_version
from fraudfl.transfer.frame import frame, unframe

log = logging.getLogger(__name__)


class Gate:
    """One bank's gate. When anything is in doubt it raises, and nothing leaves."""

    def __init__(self, folder: BankFolder, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Stand at the door of one bank's folder."""
        self._folder = folder
        self._ledger = Ledger(folder.path / "ledger.db", clock)
        self._receipts = KeptReceipts(folder.path, folder.bank)
        self._clock = clock

    def join(self, request: Request) -> Reply:
        """Take a plan, and say which release runs here and when; with secure aggregation, hand out the phase's key."""

        def prepare(plan: Plan) -> Draft:
            values = self._introduction().to_values()
            if plan.secure_aggregation is None:
                return Draft(values=values)
            return Draft(values=values, payloads={"phase-key": self._sealing(plan, request).phase_key()})

        return self.answer(request, prepare)

    def _introduction(self) -> Introduction:
        hours = read_policy(self._folder.path).hours
        return Introduction(software=installed_version(), hours=hours.spelled if hours.told else "")

    def take_peers(self, request: Request) -> Reply:
        """Keep the other banks' keys for the phase."""

        def prepare(plan: Plan) -> Draft:
            self._sealing(plan, request).take_peers(request)
            return Draft()

        return self.answer(request, prepare)

    def open_sum(self, request: Request) -> Reply:
        """Confirm who is in a sum, or reveal what opens it: for what this bank has released, and one set of banks."""

        def prepare(plan: Plan) -> Draft:
            sealing = self._sealing(plan, request)
            values, payloads = sealing.confirm(request) if request.kind == "confirm" else sealing.reveal(request)
            return Draft(values=values, payloads=payloads)

        return self.answer(request, prepare)

    def answer(self, request: Request, prepare: Callable[[Plan], Draft]) -> Reply:
        """Make the one reply to a request; the same request again gets the same bytes at no cost.

        Args:
            request: What was asked.
            prepare: Does the work; called only when plan, approval, schedule and budgets allow the request.
        """
        # One request at a time: a redelivery waits for the work under way and gets its bytes, and the budget that one
        # request was checked against cannot be spent by another meanwhile.
        with gate_locked(self._folder.path), self._ledger.held():
            # Not written down: new entries would only cover up what the ledger has forgotten.
            self._refuse_forgetful(request)
            try:
                return self._answer(request, prepare)
            except WorkFailed:
                # Written down already, without a word of why.
                raise
            except Exception as error:
                self._write_down(request, error)
                raise

    def _keep_receipt(self, request: Request) -> None:
        """Keep the operator's word for what it has received; one that is wrong is told of, and proves nothing."""
        entry = self._ledger.entry(request.seen) if "receipt" in request.payloads else None
        if entry is not None:
            try:
                self._receipts.take_short(request.payloads["receipt"], entry)
            except TrustError as error:
                log.warning("%s", error)

    def _answer(self, request: Request, prepare: Callable[[Plan], Draft]) -> Reply:
        plan, policy = self._plan(request), read_policy(self._folder.path)
        self._refuse_unapproved(plan, policy)
        self._keep_receipt(request)
        known = self._ledger.find(request.key)
        if known is not None and known.event == "released":
            return self._again(plan, policy, request)
        if request.kind in SUMMED:
            self._refuse_closed(policy)
            refuse_early(plan, request, self._clock())
            self._refuse_wrong_cohort(plan, request)
        if request.kind in ("confirm", "reveal"):
            refuse_unopened(self._ledger, plan, request)
        release = _release(request, plan)
        if known is not None:
            self._refuse_failed(request)
        else:
            self._refuse_second_cohort(plan, release)
            # A reservation that a crash left open is charged already. One byte at least will leave: what cannot leave
            # today must not be charged.
            self._refuse_more_than_planned(plan, request)
            self._refuse_over_caps(plan, policy, request, 1)
            self._refuse_overspending(plan, policy, request)
        # What the coordinator has stored for good need not be kept any longer.
        self._ledger.reserve(release, request.acknowledged)
        data = self._guarded(plan, release, lambda: self._made(plan, request, prepare))
        self._refuse_bytes(plan, policy, len(data))
        entry = self._ledger.release(request.key, data)
        return replace(unframe(data), entry=entry.entry, entry_hash=entry.hash)

    def _made(self, plan: Plan, request: Request, prepare: Callable[[Plan], Draft]) -> bytes:
        """Do the work, check what came of it, mask it where the plan says so, and spell the reply."""
        draft = prepare(plan)
        check_draft(plan, request.kind, draft)
        payloads = draft.payloads
        if draft.vectors:
            payloads = self._sealing(plan, request).seal(request, draft.vectors, draft.width)
        data = frame(
            Reply(
                bank=self._folder.bank,
                kind=request.kind,
                key=request.key,
                values=draft.values,
                payloads=payloads,
            )
        )
        if len(data) > MAX_REPLY_BYTES:
            raise ReleaseRefused(f"the reply has {len(data)} bytes; at most {MAX_REPLY_BYTES} may leave at once")
        return data

    def _guarded(self, plan: Plan, release: Release, work: Callable[[], bytes]) -> bytes:
        """Let no failure of the work say anything about the rows, nor be tried a second time.

        Whether it fails, and how, may depend on them, and a coordinator chooses what they meet: models, encoders. So
        under a plan that promises something a failed release stays charged, its key is used up, and one text is all
        that anybody hears.
        """
        if release.kind not in SUMMED or not (plan.private or plan.secure_aggregation is not None):
            return work()
        try:
            return work()
        except Exception as error:
            self._ledger.fail(release)
            raise WorkFailed("the work for this request failed at the bank") from error

    def _refuse_failed(self, request: Request) -> None:
        if self._ledger.failed(request.key):
            raise ReleaseRefused("the work for this request failed before; ask again as another attempt")

    def _refuse_second_cohort(self, plan: Plan, release: Release) -> None:
        """One cohort per attempt: the sums of two would differ by a few banks' figures."""
        if plan.secure_aggregation is None or release.kind not in SUMMED:
            return
        other = self._ledger.reserved_otherwise(release)
        if other is not None:
            raise ReleaseRefused(
                f"round {release.round}, attempt {release.attempt} was begun with another cohort, model or phase "
                f"instance (entry {other.entry}); ask again as another attempt"
            )

    def _plan(self, request: Request) -> Plan:
        if not INSTANCE.fullmatch(request.instance):
            raise ReleaseRefused(f"phase instance {request.instance!r} cannot be a folder's name")
        if request.kind == "join" and "plan" not in request.payloads:
            raise PlanError("the request to join brings no plan")
        path = self._plan_path(request.plan_hash)
        if not path.exists() and "plan" in request.payloads:
            self._take(request.payloads["plan"], request.plan_hash)
        if not path.exists():
            raise ReleaseRefused(f"plan {request.plan_hash[:12]} was never offered here; join it first")
        plan = _read_plan(path.read_bytes())
        if plan.hash != request.plan_hash:
            raise ReleaseRefused(f"the kept plan {request.plan_hash[:12]} was changed; its hash is {plan.hash[:12]}")
        if request.kind not in plan.releases:
            raise ReleaseRefused(f"plan {plan.hash[:12]} does not contain {request.kind!r}")
        if request.about and request.kind not in ("confirm", "reveal"):
            # It would be another release of the same attempt, and so another value under the same masks.
            raise ReleaseRefused(
                f"the request to {request.kind} is about {request.about!r}; only a request to confirm or reveal is "
                "about another sum"
            )
        first = 1 if request.kind == "train" else 0
        if not (first <= request.round <= plan.rounds and 1 <= request.attempt <= plan.attempts):
            raise ReleaseRefused(
                f"round {request.round}, attempt {request.attempt} is outside the plan's {plan.rounds} rounds "
                f"of {plan.attempts} attempts"
            )
        return plan

    def _take(self, text: bytes, plan_hash: str) -> None:
        """Check that a plan is what its hash says and fits this bank, and keep it for whoever decides on it."""
        plan = Plan.from_json(text)
        if plan.hash != plan_hash:
            raise PlanError(f"the plan's hash is {plan.hash[:12]}, the request says {plan_hash[:12]}")
        if plan.contract != self._folder.contract:
            raise PlanError(
                f"the plan's contract has columns {plan.contract.columns}, ours {self._folder.contract.columns}"
            )
        path = self._plan_path(plan.hash)
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, plan.canonical_json())
        self._ledger.note(f"plan of phase {plan.phase} was offered", plan.hash)

    def _plan_path(self, plan_hash: str) -> Path:
        return self._folder.path / "plans" / f"{plan_hash}.json"

    def _refuse_unapproved(self, plan: Plan, policy: Policy) -> None:
        """A person's decision stands before the rules; the rules approve what nobody has decided on."""
        approvals = Approvals(self._folder.path)
        standing = approvals.standing(plan.hash)
        short = plan.hash[:12]
        if standing is None:
            reasons = review(plan, policy)
            if not reasons and self._ledger.was_restored():
                # It may have been approved and spent from before, in entries that the older copy does not have.
                reasons = ["this bank's ledger was restored from an older copy, so that only a person approves plans"]
            if reasons:
                raise NotApproved(
                    f"plan {short} waits for an approval at this bank (`bank-node approve`): {reasons[0]}"
                )
            approvals.decide(plan, "approve", BY_RULE)
            self._ledger.note("approved by the policy's rules", plan.hash)
            return
        if standing.decision != "approve":
            done = {"reject": "rejected", "revoke": "revoked"}[standing.decision]
            raise NotApproved(f"plan {short} was {done} at this bank on {standing.at}")
        # The policy of today binds also what was approved before.
        against = review(plan, policy) if standing.by == BY_RULE else objections(plan, policy)
        if against:
            raise NotApproved(f"plan {short} was approved, but this bank's policy has changed: {against[0]}")

    def _refuse_forgetful(self, request: Request) -> None:
        newest = self._receipts.newest()
        if newest is not None and self._ledger.behind(*newest):
            raise ReleaseRefused(
                f"this bank's ledger lacks entry {newest[0]}, which the operator has signed for: it was restored from "
                "an older copy. Nothing leaves until `bank-node ledger restore` has put back what it forgot"
            )
        if self._ledger.behind(request.seen, request.seen_hash):
            raise ReleaseRefused(
                f"this bank's ledger lacks entry {request.seen} as the coordinator has seen it: it was restored "
                "from an older copy. Nothing leaves until `bank-node restore` has put back what it forgot"
            )

    def _sealing(self, plan: Plan, request: Request) -> Sealing:
        return Sealing(self._folder, plan, request.instance)

    def _refuse_wrong_cohort(self, plan: Plan, request: Request) -> None:
        """Before any work or charge: what cannot be masked for this cohort must not be made."""
        if plan.secure_aggregation is not None:
            self._sealing(plan, request).attempt(request, request.kind)

    def _again(self, plan: Plan, policy: Policy, request: Request) -> Reply:
        key = request.key
        data = self._ledger.kept(key)
        if data is None:
            raise ReleaseRefused("this was released and acknowledged; its bytes are gone")
        refuse_other_set(data, request)
        self._refuse_bytes(plan, policy, len(data))
        self._ledger.resent(key)
        released = self._ledger.find(key)
        assert released is not None  # its bytes were just read
        return replace(unframe(data), entry=released.entry, entry_hash=released.hash)

    def _refuse_closed(self, policy: Policy) -> None:
        now = self._clock()
        said = closed(policy, now, os.getloadavg()[0] / (os.cpu_count() or 1))
        if said is not None:
            opening = opens_at(policy.hours, now)
            raise NotNow(said, opening.isoformat() if opening is not None else "")

    def _refuse_more_than_planned(self, plan: Plan, request: Request) -> None:
        """Instances and cohorts are the coordinator's to name; new names are no more releases than were approved."""
        most = _most(plan, request.kind)
        if self._ledger.reserved(plan.hash, request.kind) >= most:
            raise ReleaseRefused(
                f"plan {plan.hash[:12]} allows {most} releases of kind {request.kind!r}, and all were begun here; a "
                "phase that begins again needs a new plan"
            )

    def _refuse_over_caps(self, plan: Plan, policy: Policy, request: Request, size: int) -> None:
        totals = self._ledger.totals(plan.hash, self._clock(), ZoneInfo(policy.hours.zone))
        said = over_cap(policy, totals, size, request.kind == "train")
        if said is not None:
            raise ReleaseRefused(f"this bank's policy: {said}")

    def _refuse_bytes(self, plan: Plan, policy: Policy, size: int) -> None:
        """Only bytes are new now: the release itself was counted when it was reserved."""
        cap = policy.caps.bytes_per_day
        totals = self._ledger.totals(plan.hash, self._clock(), ZoneInfo(policy.hours.zone))
        if cap is not None and totals.bytes_day + size > cap:
            raise ReleaseRefused(
                f"this bank's policy: caps.bytes_per_day is {cap}; {totals.bytes_day} left today, this has {size}"
            )

    def _refuse_overspending(self, plan: Plan, policy: Policy, request: Request) -> None:
        mechanism = plan.mechanism(request.kind)
        if mechanism is not None:
            what = f"{request.kind} in round {request.round}, attempt {request.attempt}"
            Budget(self._ledger, policy, self._clock).refuse_overspending(plan, mechanism, what)

    def _write_down(self, request: Request, error: Exception) -> None:
        """What was refused, and why, for whoever reads the record; that it cannot be written is no second error."""
        with suppress(FraudflError):
            said, last = _reason(error)[:500], self._ledger.entry(self._ledger.head()[0])
            # A coordinator that waits asks again every few seconds; one entry says it.
            if last is None or (last.event, last.key, last.note) != ("refused", request.key, said):
                self._ledger.refuse(_release(request, None), said)


@lru_cache(maxsize=64)
def _read_plan(text: bytes) -> Plan:
    """The same bytes are the same plan: each round asks for it."""
    return Plan.from_json(text)


def _most(plan: Plan, kind: Kind) -> int:
    """Most releases of one kind under a plan.

    What ε pays for is as often as its noise was calibrated for, so that ε never is what stops a phase half-way. Keys
    and what opens sums follow each round, newcomers and each attempt.
    """
    if plan.mechanism(kind) is not None:
        return plan.paid_releases(kind)
    if kind in ("train", "watch", "outcome"):
        return plan.attempts * plan.rounds
    if kind == "look":
        return plan.attempts * len(plan.looks)
    sums = 3 + (2 if plan.watch is not None else 1) * plan.rounds + len(plan.looks)
    return plan.attempts * (sums if kind in ("peers", "confirm", "reveal") else 1)


def _reason(error: Exception) -> str:
    """What the ledger, which auditors read and nobody can erase, says of an error: never what a row holds."""
    if isinstance(error, FraudflError) and not isinstance(error, DataError):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__} while the reply was prepared; errors.log has the details"


def _release(request: Request, plan: Plan | None) -> Release:
    mechanism = None if plan is None else plan.mechanism(request.kind)
    return Release(
        key=request.key,
        plan_hash=request.plan_hash,
        instance=request.instance,
        phase="" if plan is None else plan.phase,
        round=request.round,
        attempt=request.attempt,
        kind=request.kind,
        mechanism=None if mechanism is None else mechanism.to_dict(),
    )
