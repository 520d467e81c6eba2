"""A bank's decisions about plans: signed, chained, kept one to a line; and what a plan would do, for who decides."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import AfterValidator, Field, ValidationError

from bank_nodes.rules.policy import (
    PlanHash,
    Policy,
    is_covered,
    objections,
    read_policy,
    review,
)
from fraudfl.config import Frozen
from fraudfl.errors import ConfigError, NotApproved, PlanError, TrustError
from fraudfl.features.declaration import declare, declare_categorical
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.trust.keys import UtcTime, canonical, load_key, now_text, sign, sync_folder, verify

Verdict = Literal["approve", "reject", "revoke"]
BY_RULE = "policy"
"""Who decides when the policy approves a plan by itself."""
_PURPOSE = "approval"
_NOTHING_BEFORE = "0" * 64


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one line without control characters")
    return text


class Decision(Frozen):
    """What a bank decided about one plan.

    Attributes:
        by: Who decided; `policy` when its rules did.
        at: When, ISO 8601 in UTC.
        reason: Why, in the decider's words.
        previous: Digest of the line before, so that none can be taken out, moved or used again; zeros at the first.
        signature: By the bank's key, over all of the rest.
    """

    plan_hash: PlanHash
    decision: Verdict
    by: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
    at: UtcTime
    bank: str
    reason: Annotated[str, Field(max_length=2000), AfterValidator(_printable)] = ""
    previous: PlanHash
    signature: str = ""

    @property
    def line(self) -> bytes:
        """The decision's one spelling, without a line end."""
        return canonical(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the line."""
        return hashlib.sha256(self.line).hexdigest()

    @property
    def signed_part(self) -> bytes:
        """What the signature is over."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))


class Approvals:
    """The decisions of the bank whose folder this is. Whatever cannot be verified is an error, never a yes."""

    def __init__(self, folder: Path) -> None:
        """Open a bank's folder; raises SourceError when it is none."""
        self._folder = folder
        self._bank = BankFolder(folder).bank
        self._path = folder / "approvals.jsonl"

    def all(self) -> tuple[Decision, ...]:
        """Every decision, in order.

        Raises:
            TrustError: naming the first line that was altered, moved or not signed by this bank's key.
        """
        try:
            with self._path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                return self._verified(file.read())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise TrustError(f"{self._path}: cannot be read ({error}); no plan counts as approved") from error

    def standing(self, plan_hash: str) -> Decision | None:
        """The last decision about a plan, or None when there was none; raises TrustError as `all` does."""
        return _last(self.all(), plan_hash)

    def decide(self, plan: Plan, decision: Verdict, by: str, reason: str = "") -> Decision:
        """Take a decision, durably; the one that stands is returned when it says the same already.

        Args:
            plan: A plan that this bank was offered.
            decision: `approve`, `reject` (what is not approved) or `revoke` (what is).
            by: Who decides; `BY_RULE` only approves what the policy's rules approve and nobody has decided on.
            reason: Why.

        Raises:
            PlanError: the plan was not offered here, or the decision does not fit the one that stands.
            NotApproved: the policy forbids the approval.
            TrustError: the bank's key or an earlier decision is not in order.
        """
        self._refuse_unknown(plan)
        if decision == "approve":
            _refuse_against_policy(plan, read_policy(self._folder), by)
        with self._alone() as file:
            before = self._verified(file.read())
            standing = _last(before, plan.hash)
            _refuse_misfit(plan, decision, by, standing)
            if standing is not None and _says_the_same(standing, decision, by):
                return standing
            previous = before[-1].digest if before else _NOTHING_BEFORE
            made = self._signed(plan.hash, decision, by, reason, previous)
            self._append(file, made)
        return made

    def _refuse_unknown(self, plan: Plan) -> None:
        path = self._folder / "plans" / f"{plan.hash}.json"
        if not path.exists():
            raise PlanError(f"plan {plan.hash[:12]} was not offered to this bank; {path} does not exist")
        _read_plan(path)

    @contextmanager
    def _alone(self) -> Iterator[BinaryIO]:
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise TrustError(f"{self._path}: cannot be written ({error}); nothing was decided") from error
        with os.fdopen(handle, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _signed(self, plan_hash: str, decision: Verdict, by: str, reason: str, previous: str) -> Decision:
        facts = {"plan_hash": plan_hash, "decision": decision, "by": by, "reason": reason, "previous": previous}
        try:
            unsigned = Decision.model_validate({**facts, "bank": self._bank, "at": now_text()})
        except ValidationError as error:
            raise PlanError(f"the decision cannot be taken: {_short(error)}. Correct it and decide again") from error
        key = load_key(self._folder / "keys" / "bank.key")
        made = unsigned.model_copy(update={"signature": sign(key, _PURPOSE, unsigned.signed_part)})
        # A line that this bank could not read again would stand in the way of every plan.
        verify(self._public(), _PURPOSE, made.signed_part, made.signature)
        return made

    def _append(self, file: BinaryIO, made: Decision) -> None:
        end = file.seek(0, os.SEEK_END)
        data = made.line + b"\n"
        try:
            if file.write(data) != len(data):
                raise OSError("the disk is full")
            os.fsync(file.fileno())
            sync_folder(self._folder)
        except OSError as error:
            file.truncate(end)
            raise TrustError(f"{self._path}: cannot be written ({error}); nothing was decided") from error

    def _verified(self, data: bytes) -> tuple[Decision, ...]:
        if not data:
            return ()
        public, found, previous = self._public(), [], _NOTHING_BEFORE
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            try:
                decision = self._read(line, public, previous)
            except (TrustError, ValueError) as error:
                raise TrustError(
                    f"{self._path}, line {number}: {_short(error)}. No plan counts as approved. Restore the file from "
                    "a backup, or move it away and decide again on each plan"
                ) from error
            found.append(decision)
            previous = decision.digest
        return tuple(found)

    def _read(self, line: bytes, public: str, previous: str) -> Decision:
        if not line.endswith(b"\n"):
            raise ValueError("the line is cut off; expected a whole decision")
        decision = Decision.model_validate_json(line)
        if decision.line + b"\n" != line:
            raise ValueError("the line was edited or reformatted; expected the spelling in which it was signed")
        if decision.bank != self._bank:
            raise ValueError(f"found a decision of bank {decision.bank!r}; expected {self._bank!r}")
        if decision.previous != previous:
            raise ValueError("it does not follow the line before; lines were taken out, moved or repeated")
        verify(public, _PURPOSE, decision.signed_part, decision.signature)
        return decision

    def _public(self) -> str:
        path = self._folder / "keys" / "bank.pub"
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TrustError(f"{path}: cannot be read ({error}); expected the bank's public key there") from error


def offered(folder: Path) -> list[Plan]:
    """List the plans that a bank was offered, the oldest first.

    Raises:
        PlanError: naming a kept plan that was changed or cannot be read.
    """
    paths = (folder / "plans").glob("*.json")
    return [_read_plan(path) for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))]


def explain(plan: Plan) -> list[str]:
    """Say in sentences, for a person who must approve it, what a plan would do at the bank.

    What the coordinator wrote is shown with control characters spelled out; it may still hold a terminal's markup.
    """
    lines = [_purpose(plan), _training(plan), *_features(plan), *_released(plan), *_privacy(plan), *_company(plan)]
    return ["".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in line) for line in lines]


def _purpose(plan: Plan) -> str:
    return (
        f"Plan {plan.hash} is phase {plan.phase} ({plan.kind}) of consortium {plan.consortium}: {plan.rounds} rounds, "
        f"each tried at most {plan.attempts} times."
    )


def _training(plan: Plan) -> str:
    layers = ", ".join(str(width) for width in plan.model.hidden)
    model = "a logistic regression" if plan.model.kind == "logistic" else f"a neural network ({layers} hidden units)"
    alone = " A second model is trained on this bank's rows alone, to compare." if plan.alone else ""
    return f"It trains {model} here, on this bank's transactions, and combines updates by {plan.strategy.name}.{alone}"


def _features(plan: Plan) -> Iterator[str]:
    yield f"It reads the columns {', '.join(plan.contract.columns)}."
    try:
        numeric = [feature.name for feature in declare(plan.features, plan.contract)]
    except ConfigError as error:
        yield f"Its features are IMPOSSIBLE: {error}"
        return
    categorical = declare_categorical(plan.features, plan.contract)
    yield f"It computes {len(numeric)} numeric features: {', '.join(numeric) or 'none'}."
    yield f"It uses {len(categorical)} categorical features: {', '.join(categorical) or 'none'}."


def _released(plan: Plan) -> Iterator[str]:
    for kind, rules in plan.releases.items():
        for rule in rules:
            paid = "paid for by ε" if is_covered(plan, kind, rule) else "NOT covered by any privacy"
            yield f"When asked to {kind}, this bank releases {rule.content}: {paid}."


def _privacy(plan: Plan) -> Iterator[str]:
    privacy = plan.privacy
    if not plan.private:
        yield "Privacy mode none: no noise is added, and nothing is promised about what a release gives away."
        return
    who = "this bank, in full" if privacy.mode == "local" else "each bank adds a share, summed under secure aggregation"
    yield (
        f"Privacy mode {privacy.mode} (noise: {who}): ε = {privacy.epsilon or 0:g} at δ = {privacy.delta:g} for the "
        f"phase, for one {privacy.unit}; δ holds for at most {privacy.units} of them."
    )
    if plan.trains:
        noise = "not fixed" if plan.noise_multiplier is None else f"{plan.noise_multiplier:.4g}"
        rounds = plan.rounds_per_bank
        if rounds < plan.rounds:
            yield f"This bank takes part in {rounds} of the {plan.rounds} rounds at most; noise is made for those."
        yield (
            f"Noise multiplier {noise} at clip norm {privacy.clip_norm:g}, {privacy.steps_per_round} steps a round at "
            f"sampling rate {privacy.sampling_rate:g}, with {privacy.spare_attempts} spare attempts."
        )
    paid = [rule.content for rules in plan.releases.values() for rule in rules if rule.covered]
    yield f"ε pays for {', '.join(dict.fromkeys(paid)) or 'nothing'}."
    if privacy.unit == "account":
        yield f"An account counts with at most {privacy.account_rows} of its transactions."


def _company(plan: Plan) -> Iterator[str]:
    secure = plan.secure_aggregation
    if secure is None:
        yield "No secure aggregation: the coordinator sees this bank's own update."
        return
    yield (
        f"Secure aggregation: the coordinator sees only sums over at least {secure.min_cohort} banks, of which up to "
        f"{secure.colluding} may work with it."
    )
    if secure.coordinator == "honest-but-curious":
        yield "The coordinator is trusted to tell every bank the same about who took part: banks do not confirm it."
    if not secure.recover:
        yield "One exchange a round: a round that misses a bank is dropped, and its next attempt is charged anew."


def _refuse_against_policy(plan: Plan, policy: Policy, by: str) -> None:
    reasons = review(plan, policy) if by == BY_RULE else objections(plan, policy)
    if by != BY_RULE and policy.signers and by not in policy.signers:
        reasons = [f"{by!r} is not among `signers`", *reasons]
    if reasons:
        raise NotApproved(f"plan {plan.hash[:12]} cannot be approved under the bank's policy: " + "; ".join(reasons))


def _refuse_misfit(plan: Plan, decision: Verdict, by: str, standing: Decision | None) -> None:
    approved = standing is not None and standing.decision == "approve"
    name = f"plan {plan.hash[:12]}"
    if decision == "revoke" and not approved and not (standing and standing.decision == "revoke"):
        raise PlanError(f"{name} is not approved here, so there is nothing to revoke; reject it instead")
    if standing is None:
        return
    said = f"{name}: found {standing.decision!r} by {standing.by} at {standing.at}"
    if decision == "reject" and approved:
        raise PlanError(f"{said}; what is approved cannot be rejected. Revoke it instead")
    if decision == "approve" and by == BY_RULE and not approved:
        raise NotApproved(f"{said}; no rule overrides that. A person may approve it again")


def _says_the_same(standing: Decision, decision: Verdict, by: str) -> bool:
    # A person who confirms what a rule approved is a new fact.
    return standing.decision == decision and not (standing.by == BY_RULE and by != BY_RULE)


def _last(decisions: tuple[Decision, ...], plan_hash: str) -> Decision | None:
    return next((decision for decision in reversed(decisions) if decision.plan_hash == plan_hash), None)


def _read_plan(path: Path) -> Plan:
    try:
        plan = Plan.from_json(path.read_bytes())
    except (OSError, PlanError) as error:
        raise PlanError(f"{path}: {error}. Remove it; the coordinator will offer it again") from error
    if plan.hash != path.stem:
        raise PlanError(f"{path}: was changed; its hash is {plan.hash[:12]}. Remove it; it will be offered again")
    return plan


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"]) or "the line"
        return f"{field}: found {problem['input']!r:.80}; {problem['msg'].removeprefix('Value error, ')}"
    return str(error).rstrip(".")
