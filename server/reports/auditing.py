"""Auditing a phase of a workspace: its mechanisms and, where the banks are here, what they trained and sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from fraudfl.errors import CheckpointError
from fraudfl.features.encoder import Encoder
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.models.bundle import Bundle
from fraudfl.plan import Plan
from fraudfl.privacy.audit.membership import Suspects, audit_membership
from fraudfl.privacy.audit.planned import Effort, audit_plan, audit_training, shadow_training
from fraudfl.privacy.audit.result import AuditResult
from fraudfl.privacy.audit.view import Received, audit_view
from fraudfl.privacy.ledger import Entry, Ledger
from fraudfl.protocols import SUMMED
from fraudfl.summed import parts_of
from fraudfl.training.batches import LocalData
from fraudfl.transfer.frame import unframe
from server.store.workspace import Workspace

SUSPECTS = 4_000
"""Most rows of each kind that membership inference asks about."""
AUDITED_ROWS = 20_000
"""Most rows of a bank that are trained on, beside the canaries, in a one-run audit."""
_FEWEST_OUTSIDERS = 1_000

Tell = Callable[[str], None]


def audit_phase(workspace: Workspace, phase: str, effort: Effort, tell: Tell) -> list[AuditResult]:
    """Audit one phase.

    Args:
        phase: Its name.
        effort: How much is tried.
        tell: Is told what is audited next.

    Raises:
        CheckpointError: when the workspace has no such phase.
        PrivacyError: when there is nothing to audit.
    """
    folder = workspace.coordinator / "phases" / phase
    if not (folder / "plan.json").exists():
        raise CheckpointError(f"{folder}: no plan here; expected a phase that `fraudfl run` or `phase start` has begun")
    plan = Plan.from_json((folder / "plan.json").read_bytes())
    results: list[AuditResult] = []
    if plan.private:
        tell("each mechanism of the plan, with and without one unit")
        results += audit_plan(plan, effort)
    banks = [BankFolder(path) for path in bank_paths(workspace.banks)]
    if banks and (folder / "encoder.json").exists():
        results += _with_rows(plan, folder, banks, effort, tell)
    return results


def _with_rows(plan: Plan, folder: Path, banks: list[BankFolder], effort: Effort, tell: Tell) -> Iterator[AuditResult]:
    """What needs the banks' own folders: simulation."""
    encoder = Encoder.from_bytes((folder / "encoder.json").read_bytes())
    if plan.private:
        tell("one training with canaries among the banks' rows")
        rows = [_sample(_rows(plan, encoder, bank, "train"), AUDITED_ROWS, effort.seed) for bank in banks]
        yield audit_training(plan, tuple(sorted(rows, key=lambda own: -len(own.labels))), effort)
    if (folder / "bundle").exists():
        tell("membership inference on the final model")
        yield from _membership(plan, encoder, Bundle.load(folder / "bundle"), banks, effort)
    if plan.secure_aggregation is not None:
        tell("what the coordinator received")
        received = list(_received(plan, encoder.width, banks))
        if received:
            yield audit_view("masked vectors as they left the banks", received)


def _membership(
    plan: Plan, encoder: Encoder, bundle: Bundle, banks: list[BankFolder], effort: Effort
) -> Iterator[AuditResult]:
    members = _sample(_pooled(plan, encoder, banks, "train"), SUSPECTS, effort.seed)
    outsiders = _sample(_pooled(plan, encoder, banks, "test"), SUSPECTS, effort.seed)
    if len(outsiders.labels) >= _FEWEST_OUTSIDERS:
        suspects = Suspects(model=bundle.model, vector=bundle.weights, members=members, outsiders=outsiders)
        yield audit_membership("membership in the final model", suspects, shadow_training(_at_one_place(plan)))


def _at_one_place(plan: Plan) -> Plan:
    """The plan as one place would train it: what the server steps with becomes the training's own."""
    strategy = plan.strategy
    if not strategy.steps_on_sums:
        return plan
    rate, optimizer = strategy.server_learning_rate, "adam"
    if strategy.name == "dpsgd":
        # Momentum makes steps longer by this much in the long run.
        rate, optimizer = rate / (1 - strategy.server_momentum), "sgd"
    training = plan.training.model_copy(update={"optimizer": optimizer, "learning_rate": rate, "weight_decay": 0.0})
    return plan.model_copy(update={"training": training})


def _received(plan: Plan, width: int, banks: list[BankFolder]) -> Iterator[Received]:
    """The masked replies that banks still keep: bytes exactly as they left."""
    kept = [(bank, entry, data) for bank in banks for entry, data in _kept(bank, plan)]
    cohorts = Counter(entry.key for _, entry, _ in kept)
    for bank, entry, data in kept:
        parties = cohorts[entry.key]
        if parties < plan.min_cohort:
            continue
        reply = unframe(data)
        for part in parts_of(plan, reply.kind, width, parties):
            yield Received(
                bank=bank.bank,
                kind=entry.kind,
                round=entry.round,
                attempt=entry.attempt,
                part=part.name,
                cohort=parties,
                payload=reply.payloads[part.name],
                size=part.size,
                bits=part.encoding.bits,
            )


def _kept(bank: BankFolder, plan: Plan) -> Iterator[tuple[Entry, bytes]]:
    ledger = Ledger(bank.path / "ledger.db")
    for entry in ledger.entries():
        if entry.event == "released" and entry.kind in SUMMED and entry.plan_hash == plan.hash:
            data = ledger.kept(entry.key)
            if data is not None:
                yield entry, data


def _rows(plan: Plan, encoder: Encoder, bank: BankFolder, part: str) -> LocalData:
    rows = bank.rows(plan.features, plan.split, encoder, part)
    return LocalData(np.array(rows.features), np.array(rows.labels), np.array(rows.clusters))


def _pooled(plan: Plan, encoder: Encoder, banks: list[BankFolder], part: str) -> LocalData:
    found = [_rows(plan, encoder, bank, part) for bank in banks]
    accounts, offset = [], 0
    for own in found:
        assert own.accounts is not None  # `_rows` gives them
        accounts.append(own.accounts + offset)
        offset += int(own.accounts.max(initial=-1)) + 1
    features, labels = (np.concatenate([getattr(own, name) for own in found]) for name in ("features", "labels"))
    return LocalData(features, labels, np.concatenate(accounts))


def _sample(rows: LocalData, most: int, seed: int) -> LocalData:
    if len(rows.labels) <= most:
        return rows
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows.labels), most, replace=False))
    accounts = None if rows.accounts is None else rows.accounts[chosen]
    return replace(rows, features=rows.features[chosen], labels=rows.labels[chosen], accounts=accounts)
