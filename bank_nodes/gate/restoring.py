"""Repairing a bank's record after its folder came from a backup: what was forgotten is charged, masks are discarded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bank_nodes.gate.kept_receipts import compare
from bank_nodes.gate.lock import gate_locked
from bank_nodes.rules.approvals import Approvals, offered
from fraudfl.errors import PrivacyError
from fraudfl.plan import Plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger, Release
from fraudfl.privacy.ledger_totals import UNKNOWN
from fraudfl.privacy.mechanisms import Unit
from fraudfl.protocols import KINDS, Kind
from fraudfl.trust.receipts import Receipt


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What a repair writes down, before it does.

    Attributes:
        seen: Highest entry number known outside.
        releases: What is put back and charged.
        explained: How many of them a receipt names; the others are charges for what nothing explains.
        closing: Plans whose approval is revoked.
    """

    seen: int
    releases: tuple[Release, ...]
    explained: int = 0
    closing: tuple[Plan, ...] = ()


def repair_from_receipts(folder: Path, receipts: Sequence[Receipt]) -> Repair:
    """Work out what an old copy has forgotten from the operator's receipts.

    Each release that a receipt names is put back with its key and its plan's mechanism. Numbers that receipts do not
    explain may each have been a release: they are charged with the most expensive mechanism of the approved plans. So
    is one more round's worth of attempts, which may have left after the last receipt was made. Whoever holds back the
    newest receipts hides what came after them: where the operator is not trusted with that, `repair_at_the_cap`.

    Raises:
        PrivacyError: if nothing is missing, or a receipt names a plan that is not in the folder.
    """
    ledger = Ledger(folder / "ledger.db")
    compared = compare(ledger, receipts)
    if not compared.missing:
        raise PrivacyError(f"all {len(receipts)} receipts fit the ledger, which ends at entry {ledger.head()[0]}")
    plans = {plan.hash: plan for plan in offered(folder)}
    named = [_named(receipt, plans) for receipt in compared.missing]
    seen = compared.missing[-1].entry
    known = sum(1 if ledger.find(release.key) is not None else 2 for release in named)
    unexplained = max(0, seen - _common(ledger, receipts, compared.missing) - known)
    approved = [plan for plan in plans.values() if _approved(folder, plan)]
    under_way = max((plan.attempts for plan in approved), default=0)
    charged = [charge for charge in _worst(approved) for _ in range(unexplained + under_way)]
    return Repair(seen=seen, releases=(*named, *charged), explained=len(named))


def repair_at_the_cap(folder: Path, seen: int) -> Repair:
    """Take everything that each approved plan could still have released as released, and close those plans.

    Raises:
        PrivacyError: if nothing up to entry `seen` is missing.
    """
    ledger = Ledger(folder / "ledger.db")
    if not ledger.behind(seen):
        raise PrivacyError(f"the ledger ends at entry {ledger.head()[0]}, so nothing up to {seen} is missing")
    approved = [plan for plan in offered(folder) if _approved(folder, plan)]
    releases = [release for plan in approved for release in _unspent(plan, ledger)]
    return Repair(seen=seen, releases=tuple(releases), closing=tuple(approved))


def carry_out(folder: Path, repair: Repair, by: str) -> None:
    """Discard this bank's secrets for secure aggregation, put back what was forgotten, then close plans.

    In this order: after a crash in between, no mask is used twice and nothing is charged too little. It waits for the
    gate, so that no release is under way.

    Args:
        folder: The bank's folder.
        repair: What to write down.
        by: Who restores: a person's name.
    """
    with gate_locked(folder):
        shutil.rmtree(folder / "secagg", ignore_errors=True)
        if (folder / "secagg").exists():
            raise PrivacyError(f"{folder / 'secagg'}: cannot be removed; its masks must never be used again")
        note = f"restored by {by}; entries up to {repair.seen} were seen outside"
        Ledger(folder / "ledger.db").put_back(repair.seen, repair.releases, note)
        approvals = Approvals(folder)
        for plan in repair.closing:
            approvals.decide(plan, "revoke", by, "the ledger was restored from an older copy")


def _approved(folder: Path, plan: Plan) -> bool:
    standing = Approvals(folder).standing(plan.hash)
    return standing is not None and standing.decision == "approve"


def _common(ledger: Ledger, receipts: Sequence[Receipt], gone: Sequence[Receipt]) -> int:
    """The last number that the copy surely shares with the ledger that was lost."""
    last, _ = ledger.head()
    if gone[0].entry > last:
        return last
    # A copy that was written on: beyond the last receipt that fits, nobody can tell whose entries these are.
    missing = {receipt.entry for receipt in gone}
    return max((one.entry for one in receipts if one.entry < gone[0].entry and one.entry not in missing), default=0)


def _named(receipt: Receipt, plans: Mapping[str, Plan]) -> Release:
    """The release that a receipt is for, by its key: plan, instance, round, attempt, kind and cohort."""
    try:
        plan_hash, instance, round_number, attempt, kind, _ = receipt.key.split("/")
        asked = KINDS[KINDS.index(cast(Kind, kind.split("-")[0]))]
        where = (int(round_number), int(attempt))
    except ValueError as error:
        raise PrivacyError(
            f"the receipt for entry {receipt.entry} has a key of no known form: {receipt.key!r}"
        ) from error
    plan = plans.get(plan_hash)
    if plan is None:
        raise PrivacyError(
            f"the receipt for entry {receipt.entry} names plan {plan_hash[:12]}, which is not in `plans/`, so that its "
            "cost is not known. Copy `plans/` from the broken folder, or get the plan from the operator"
        )
    mechanism = plan.mechanism(asked)
    return Release(
        key=receipt.key,
        plan_hash=plan.hash,
        instance=instance,
        phase=plan.phase,
        round=where[0],
        attempt=where[1],
        kind=asked,
        mechanism=None if mechanism is None else mechanism.to_dict(),
    )


def _worst(approved: Sequence[Plan]) -> list[Release]:
    """For each unit the most expensive release of any approved plan; it counts against every plan that it may be of."""
    paying = [plan for plan in approved if any(plan.mechanism(kind) for kind in plan.releases)]
    pays = paying[0].hash if len(paying) == 1 else ""
    found: dict[Unit, tuple[float, Release]] = {}
    for plan in paying:
        for kind in plan.releases:
            mechanism = plan.mechanism(kind)
            if mechanism is None:
                continue
            cost = epsilon([mechanism], plan.delta)
            if cost >= found.get(mechanism.unit, (0.0,))[0]:
                found[mechanism.unit] = (cost, _charge(mechanism.to_dict(), pays, UNKNOWN))
    return [release for _, release in found.values()]


def _unspent(plan: Plan, ledger: Ledger) -> Iterator[Release]:
    for kind in plan.releases:
        mechanism = plan.mechanism(kind)
        if mechanism is not None:
            for _ in range(max(0, plan.paid_releases(kind) - ledger.reserved(plan.hash, kind))):
                yield _charge(mechanism.to_dict(), plan.hash, kind)


def _charge(mechanism: dict[str, object], plan_hash: str, kind: str) -> Release:
    return Release(
        key="", plan_hash=plan_hash, instance="", phase="", round=0, attempt=0, kind=kind, mechanism=mechanism
    )
