"""The gate: the only place where a reply is made. It checks, writes the ledger, and only then lets go."""

from __future__ import annotations

import fcntl
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fraudfl.errors import PlanError, PrivacyError, ReleaseRefused, WireError
from fraudfl.folder import BankFolder, write_bytes
from fraudfl.plan import Plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Entry, Ledger, digest
from fraudfl.privacy.mechanisms import DpSgd
from fraudfl.protocols import INSTANCE, Kind, Reply, Request, Scalar
from fraudfl.transfer.frame import frame, unframe

# What each kind of reply may hold. Under differential privacy the second set stays at the bank.
_PAYLOADS: dict[Kind, tuple[frozenset[str], frozenset[str]]] = {
    "join": (frozenset(), frozenset()),
    "sketch": (frozenset({"sketch"}), frozenset()),
    "train": (frozenset({"update"}), frozenset({"scores"})),
    "evaluate": (frozenset({"validation", "test"}), frozenset()),
    "alone": (frozenset({"validation", "test"}), frozenset()),
}
_VALUES: dict[Kind, frozenset[str]] = {"train": frozenset({"loss", "examples"})}
MAX_REPLY_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a task would like to release.

    Attributes:
        mechanism: What it costs in privacy; required for updates of a private plan.
    """

    values: Mapping[str, Scalar] = field(default_factory=dict)
    payloads: Mapping[str, bytes] = field(default_factory=dict)
    mechanism: DpSgd | None = None


class Gate:
    """One bank's gate. When anything is in doubt it raises, and nothing leaves."""

    def __init__(self, folder: BankFolder) -> None:
        """Stand at the door of one bank's folder."""
        self._folder = folder
        self._ledger = Ledger(folder.path / "ledger.db")

    def join(self, request: Request) -> Reply:
        """Take a plan."""
        if "plan" not in request.payloads:
            raise PlanError("the request to join brings no plan")
        return self.answer(request, lambda _plan: Draft())

    def _accept(self, text: bytes, plan_hash: str) -> None:
        """Check that a plan is what its hash says and fits this bank, and keep it."""
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

    def answer(self, request: Request, prepare: Callable[[Plan], Draft]) -> Reply:
        """Make the one reply to a request; the same request again gets the same bytes at no cost.

        Args:
            request: What was asked.
            prepare: Does the work; called only when the plan allows the request and the budget covers it.
        """
        # One request at a time: a redelivery waits for the work under way and gets its bytes, and the budget that one
        # request was checked against cannot be spent by another meanwhile.
        with self._alone():
            return self._answer(request, prepare)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder.path / "gate.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _answer(self, request: Request, prepare: Callable[[Plan], Draft]) -> Reply:
        plan = self._plan(request)
        if request.acknowledged:
            self._ledger.acknowledge(request.instance, request.acknowledged)
        kept = self._ledger.find(request.key)
        if kept is not None:
            return self._again(kept)
        self._refuse_overspending(plan, request)
        draft = prepare(plan)
        self._check(plan, request, draft)
        reply = Reply(
            bank=self._folder.bank, kind=request.kind, key=request.key, values=draft.values, payloads=draft.payloads
        )
        data = frame(reply)
        if len(data) > MAX_REPLY_BYTES:
            raise ReleaseRefused(f"the reply has {len(data)} bytes; at most {MAX_REPLY_BYTES} may leave at once")
        self._ledger.record(
            Entry(
                key=request.key,
                plan_hash=request.plan_hash,
                instance=request.instance,
                round=request.round,
                attempt=request.attempt,
                kind=request.kind,
                mechanism=None if draft.mechanism is None else draft.mechanism.to_dict(),
                size=len(data),
                digest=digest(data),
                reply=data,
            )
        )
        return reply

    def _plan(self, request: Request) -> Plan:
        if not INSTANCE.fullmatch(request.instance):
            raise ReleaseRefused(f"phase instance {request.instance!r} cannot be a folder's name")
        path = self._plan_path(request.plan_hash)
        if not path.exists() and "plan" in request.payloads:
            self._accept(request.payloads["plan"], request.plan_hash)
        if not path.exists():
            raise ReleaseRefused(f"plan {request.plan_hash[:12]} was never accepted here; join it first")
        plan = Plan.from_json(path.read_bytes())
        if plan.hash != request.plan_hash:
            raise ReleaseRefused(f"the kept plan {request.plan_hash[:12]} was changed; its hash is {plan.hash[:12]}")
        if request.kind not in plan.releases:
            raise ReleaseRefused(f"plan {plan.hash[:12]} does not contain {request.kind!r}")
        if not (0 <= request.round <= plan.rounds and 1 <= request.attempt <= plan.attempts):
            raise ReleaseRefused(
                f"round {request.round}, attempt {request.attempt} is outside the plan's {plan.rounds} rounds "
                f"of {plan.attempts} attempts"
            )
        return plan

    def _plan_path(self, plan_hash: str) -> Path:
        return self._folder.path / "plans" / f"{plan_hash}.json"

    def _again(self, kept: Entry) -> Reply:
        if kept.reply is None:
            raise ReleaseRefused(f"round {kept.round} was released and acknowledged; its bytes are gone")
        if digest(kept.reply) != kept.digest:
            raise ReleaseRefused(f"the kept reply of round {kept.round} was changed on disk; it is not sent")
        return unframe(kept.reply)

    def _refuse_overspending(self, plan: Plan, request: Request) -> None:
        mechanism, cap = plan.round_mechanism, plan.training_epsilon
        if mechanism is None or cap is None or request.kind != "train":
            return
        after = epsilon([*self._spent(plan), mechanism], plan.privacy.delta)
        if after > cap * (1 + 1e-6):
            raise PrivacyError(
                f"round {request.round}, attempt {request.attempt} would bring ε to {after:.3f} of {cap:g} "
                f"(δ = {plan.privacy.delta:g}); nothing was trained"
            )

    def _check(self, plan: Plan, request: Request, draft: Draft) -> None:
        always, in_the_open = _PAYLOADS[request.kind]
        allowed = always if plan.private else always | in_the_open
        values = frozenset() if plan.private else _VALUES.get(request.kind, frozenset())
        if not set(draft.payloads) <= allowed or not set(draft.values) <= values:
            extra = sorted((set(draft.payloads) - allowed) | (set(draft.values) - values))
            raise ReleaseRefused(f"a reply to {request.kind!r} under this plan may not hold {extra}")
        for name, value in draft.values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ReleaseRefused(f"value {name!r} is not finite")
        if plan.private and request.kind == "train" and draft.mechanism != plan.round_mechanism:
            raise ReleaseRefused("the update was not made by the plan's mechanism")
        if not always <= set(draft.payloads):
            raise WireError(f"a reply to {request.kind!r} needs {sorted(always)}")

    def _spent(self, plan: Plan) -> list[DpSgd]:
        # By plan, not by phase instance: the coordinator names instances, and a new name must not be a new budget.
        return [DpSgd.from_dict(facts) for facts in self._ledger.mechanisms(plan.hash)]
