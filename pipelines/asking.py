"""Asking all banks one question: deadline, quorum, attempts, and every byte metered."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import FraudflError, QuorumError, WireError
from fraudfl.plan import Plan
from fraudfl.protocols import Answer, Kind, Refused, Reply, Request, Scalar
from fraudfl.transfer.meter import Direction
from fraudfl.transfer.pack import unpack_counts, unpack_signed
from fraudfl.transfer.savings import WeightTraffic
from fraudfl.trust.receipts import shorten
from fraudfl.unlearning import last_clean_round, reach_of
from pipelines.turns import cohort_size, fewest, whose_turn, why_left_out
from pipelines.world import Phase

# What a bank that sends nothing now may yet send, with nobody's help but time's or its own people's.
_LATER = frozenset({"not-approved", "not-now", "away"})
_LOOK_SECONDS = 2.0
_WEIGHTS = frozenset({"model", "delta", "update"})
"""Payloads that are weight vectors."""


@dataclass(frozen=True)
class Enclosed:
    """What a request carries beside its address."""

    values: Mapping[str, Scalar] = field(default_factory=dict)
    payloads: Mapping[str, bytes] = field(default_factory=dict)


def ask(
    phase: Phase,
    kind: Kind,
    round_number: int,
    enclose: Callable[[str], Enclosed],
    take: Callable[[Reply], None],
    restart: Callable[[], None] = lambda: None,
) -> set[str]:
    """Ask every bank in the fleet; try again while too few answer, as often as the plan allows.

    Args:
        enclose: What to send to a bank; the same for each attempt.
        take: Uses one reply as it comes; an error of ours in it leaves that bank out.
        restart: Forgets what an attempt without quorum had taken.

    Returns:
        The banks whose replies were used.

    Raises:
        QuorumError: when no attempt reached the quorum.
    """
    needed, since = fewest(phase, kind), len(phase.state.excluded)
    banks, heard, in_turns = phase.world.fleet.banks(), set[str](), cohort_size(phase, kind) is not None
    for attempt in range(phase.world.checkpoints.attempt(kind, round_number), phase.plan.attempts + 1):
        phase.world.checkpoints.note_attempt(kind, round_number, attempt)
        restart()
        since = len(phase.state.excluded)
        if in_turns:
            banks = _take_turns(phase, kind, round_number, attempt)
        asked = Asked(kind, round_number, attempt, cohort_digest(banks))
        heard = one_attempt(phase, addresses(phase, asked, banks, enclose), take, needed)
        for bank in set(banks) - heard if in_turns else ():
            phase.state.circle.rest(bank, round_number)
        if len(heard) >= needed:
            phase.state.took_part |= heard
            if in_turns:
                phase.state.circle.took_part(heard)
            return heard
        phase.world.progress.event("short", round=round_number, attempt=attempt, heard=len(heard), needed=needed)
    raise QuorumError(
        f"{kind} in round {round_number}: {len(heard)} of {len(banks)} banks answered, the quorum is {needed}, "
        f"and {phase.plan.attempts} attempts were made. {why_left_out(phase, since)}"
    )


def _take_turns(phase: Phase, kind: Kind, number: int, attempt: int) -> tuple[str, ...]:
    """The cohort of one attempt, where each round asks some of the banks only."""
    phase.state.circle.members = set(phase.world.fleet.banks())
    if attempt > 1:
        # With who sits out: a resumed phase that drew another cohort would have the attempt charged once more.
        phase.save()
    return whose_turn(phase, kind, number, attempt)


@dataclass(frozen=True)
class Asked:
    """What one attempt asks, of whichever bank.

    Attributes:
        cohort: Digest of the banks asked together.
        about: For `confirm` and `reveal`: the kind whose sum they open.
    """

    kind: Kind
    round: int
    attempt: int
    cohort: str
    about: Kind | Literal[""] = ""


def cohort_digest(banks: Iterable[str]) -> str:
    """SHA-256 (hex) over the ids of the banks asked together."""
    return hashlib.sha256("\n".join(banks).encode()).hexdigest()


def addresses(
    phase: Phase, asked: Asked, banks: Iterable[str], enclose: Callable[[str], Enclosed]
) -> dict[str, Request]:
    """One request for each of the banks."""
    return {bank: _request(phase, asked, bank, enclose(bank)) for bank in banks}


def _request(phase: Phase, asked: Asked, bank: str, enclosed: Enclosed) -> Request:
    seen, seen_hash = phase.state.seen.get(bank, (0, ""))
    # A bank that was away when the others took the plan, or lost it, is offered it again.
    offer = {} if bank in phase.state.joined or asked.kind == "join" else {"plan": phase.plan.canonical_json()}
    if bank in phase.state.receipts:
        offer["receipt"] = phase.state.receipts[bank]
    return Request(
        kind=asked.kind,
        plan_hash=phase.plan.hash,
        instance=phase.terms.instance,
        round=asked.round,
        attempt=asked.attempt,
        cohort=asked.cohort,
        about=asked.about,
        acknowledged=phase.state.round,
        seen=seen,
        seen_hash=seen_hash,
        values=enclosed.values,
        payloads={**offer, **enclosed.payloads},
    )


def late_replies(phase: Phase) -> list[tuple[Request, Reply]]:
    """Replies that came after their deadline: counted, told, and checked like any other."""
    replies = []
    for request, answer in phase.world.fleet.late():
        phase.state.meter.add(answer.bank, "up", request.kind, answer.bytes_up)
        try:
            reply = _checked(answer, request)
        except FraudflError:
            continue
        if (request.plan_hash, request.instance) != (phase.plan.hash, phase.terms.instance):
            # What was asked for another phase is never used in this one, whoever sends it.
            continue
        _released(phase, request, reply.bank)
        replies.append((request, reply))
        phase.state.late += 1
        _saw(phase, reply)
        phase.world.progress.event("late", bank=answer.bank, kind=request.kind, round=request.round)
    return replies


def one_attempt(phase: Phase, requests: Mapping[str, Request], take: Callable[[Reply], None], needed: int) -> set[str]:
    """Ask; then ask those again that could not answer yet, until the quorum is there or the patience is over.

    They get the same request: nothing of theirs has left, so it is the same attempt.
    """
    heard: set[str] = set()
    ends = time.monotonic() + phase.terms.patience
    asked = requests
    while True:
        not_yet = _one_question(phase, asked, take, heard)
        left = ends - time.monotonic()
        if not not_yet or len(heard) >= needed or left <= 0:
            break
        phase.world.progress.event("waiting", banks={bank: answer.reason for bank, answer in not_yet.items()})
        phase.world.fleet.pause(min(left, _pause(not_yet.values())))
        asked = {bank: requests[bank] for bank in not_yet}
    for bank, answer in not_yet.items():
        _leave_out(phase, bank, requests[bank].round, answer.reason, answer.code)
    return heard


def _one_question(
    phase: Phase, requests: Mapping[str, Request], take: Callable[[Reply], None], heard: set[str]
) -> dict[str, Answer]:
    """Returns the answers of banks that may answer later."""
    not_yet = {}
    for answer in phase.world.fleet.ask(requests, deadline=phase.terms.deadline):
        request = requests[answer.bank]
        phase.state.meter.add(answer.bank, "down", request.kind, answer.bytes_down)
        phase.state.meter.add(answer.bank, "up", request.kind, answer.bytes_up)
        if answer.reply is None and answer.code in _LATER:
            not_yet[answer.bank] = answer
            continue
        try:
            reply = _checked(answer, request)
            take(reply)
        except FraudflError as error:
            _leave_out(phase, answer.bank, request.round, str(error), answer.code)
            continue
        heard.add(answer.bank)
        _count_weights(phase, request, reply)
        _released(phase, request, answer.bank)
        phase.state.joined.add(answer.bank)
        phase.state.refusals.pop(answer.bank, None)
        _saw(phase, reply)
        phase.world.progress.event("heard", kind=request.kind, round=request.round, bank=answer.bank, of=len(requests))
    return not_yet


def _count_weights(phase: Phase, request: Request, reply: Reply) -> None:
    """Count what the codecs packed, for what they saved."""
    counted = phase.state.weights
    both: dict[Direction, Mapping[str, bytes]] = {"down": request.payloads, "up": reply.payloads}
    for direction, payloads in both.items():
        for name in _WEIGHTS & payloads.keys():
            counted[direction] = counted.get(direction, WeightTraffic()).plus(len(payloads[name]))


def _released(phase: Phase, request: Request, bank: str) -> None:
    """With a bank's first reply that depends on data: keep for good the checkpoint that knows nothing of it yet.

    Should the bank ever leave, the model can be trained again from there.
    """
    if bank not in phase.state.released and reach_of(request.kind) is not None:
        last = last_clean_round(request.kind, request.round)
        phase.world.checkpoints.keep(phase.state.round if last is None else last)
        phase.state.released.add(bank)


def _saw(phase: Phase, reply: Reply) -> None:
    """Remember how far this bank's ledger goes: one that is restored from an older copy is found out by it."""
    if reply.entry > phase.state.seen.get(reply.bank, (0, ""))[0]:
        phase.state.seen[reply.bank] = (reply.entry, reply.entry_hash)
        if phase.world.notary is not None:
            phase.state.receipts[reply.bank] = shorten(phase.world.notary.receipt(reply))


def _pause(answers: Iterable[Answer]) -> float:
    """Until the first schedule opens; where somebody must come or approve, not long."""
    return min(_seconds_until(answer.opens_at) if answer.opens_at else _LOOK_SECONDS for answer in answers)


def _seconds_until(moment: str) -> float:
    try:
        opens = datetime.fromisoformat(moment)
        return max(_LOOK_SECONDS, (opens - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        # A time that cannot be read, or has no offset, is no reason to stop.
        return _LOOK_SECONDS


def _checked(answer: Answer, request: Request) -> Reply:
    reply = answer.reply
    if reply is None:
        raise WireError(answer.reason)
    if (reply.bank, reply.kind, reply.key) != (answer.bank, request.kind, request.key):
        raise WireError(f"the reply is to {reply.kind!r} by {reply.bank!r}, not to what was asked of {answer.bank!r}")
    return reply


def payload(reply: Reply, name: str) -> bytes:
    """A reply's payload; raises WireError when it is not there."""
    data = reply.payloads.get(name)
    if data is None:
        raise WireError(f"the reply to {reply.kind!r} holds no {name!r}")
    return data


def read_counts(plan: Plan, reply: Reply, name: str, size: int) -> NDArray[np.int64]:
    """Counts from a reply; below zero only where they carry noise. Raises WireError."""
    data = payload(reply, name)
    if plan.mechanism(reply.kind) is not None:
        return unpack_signed(data, size)
    counts = unpack_counts(data, size)
    if (counts < 0).any():
        raise WireError(f"{name!r} holds counts below zero")
    return counts


def _leave_out(phase: Phase, bank: str, round_number: int, reason: str, code: Refused) -> None:
    # What it holds is unknown now: next time it gets everything whole.
    phase.state.held.pop(bank, None)
    phase.state.refusals[bank] = code
    phase.state.joined.discard(bank)
    phase.state.excluded.append({"bank": bank, "round": round_number, "reason": reason})
    phase.world.progress.event("excluded", bank=bank, round=round_number, reason=reason)
