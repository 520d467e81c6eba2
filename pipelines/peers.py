"""Handing round the banks' phase keys, so that each can share secrets with each, and none with the coordinator."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict

from fraudfl.errors import QuorumError, TrustError, WireError
from fraudfl.introduction import Introduction
from fraudfl.protocols import Reply
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.peers import Peers
from fraudfl.secagg.phase_keys import PhaseKey
from fraudfl.trust.keys import parse_signed
from fraudfl.trust.roster import Roster
from pipelines.asking import Asked, Enclosed, addresses, cohort_digest, one_attempt, payload
from pipelines.world import Phase

LOOK_SECONDS = 30.0


def welcome(phase: Phase, reply: Reply) -> None:
    """Take a bank's answer to the plan: what it says of itself, and its phase key where sums are secure.

    Raises:
        WireError: when the key is none of this phase's, or what it says cannot be read.
    """
    said = Introduction.from_values(reply.values)
    if phase.plan.secure_aggregation is not None:
        _keep_key(phase, reply)
    phase.world.progress.event("introduced", bank=reply.bank, **asdict(said))


def _keep_key(phase: Phase, reply: Reply) -> None:
    try:
        key = parse_signed(payload(reply, "phase-key"), PhaseKey, "phase key")
    except TrustError as error:
        raise WireError(str(error)) from error
    if (key.bank, key.plan_hash, key.instance) != (reply.bank, phase.plan.hash, phase.terms.instance):
        raise WireError("the phase key is another bank's, or for another phase")
    phase.state.circle.keys[reply.bank] = key.to_bytes().decode()


def hand_round(phase: Phase, new: Iterable[str] = ()) -> None:
    """Give the keys of all to every bank that has one, or to `new` ones alone where the list has not changed.

    Raises:
        QuorumError: when a key is not what the roster says.
    """
    circle = phase.state.circle
    circle.keys = dict(sorted(circle.keys.items()))
    peers = _checked(phase)
    if peers.digest != circle.digest:
        circle.digest, circle.peers, circle.members, new = peers.digest, peers.to_bytes(), set(), peers.banks
    enclosed = Enclosed(payloads={"peers": circle.peers})
    requests = addresses(phase, Asked("peers", phase.state.round, 1, peers.digest), new, lambda _bank: enclosed)
    circle.members |= one_attempt(phase, requests, lambda _reply: None, len(requests))
    phase.world.progress.event("peers", banks=sorted(circle.members), bytes=len(circle.peers))


def admit_newcomers(phase: Phase) -> None:
    """Let banks join that were away when the others did, or have lost what they had; new keys go to everybody.

    The key of a bank that left the roster since goes from everybody's list, for banks take no other than the roster's.
    """
    circle = phase.state.circle
    left = sorted(set(circle.keys) - _listed(phase))
    if left:
        phase.world.progress.event("left", banks=left)
        circle.gone.update(left)
        for bank in left:
            del circle.keys[bank]
        hand_round(phase)
    new = [bank for bank in phase.world.fleet.present() if bank not in circle.members and bank not in circle.gone]
    if not new or time.monotonic() < phase.state.next_look:
        return
    phase.state.next_look = time.monotonic() + LOOK_SECONDS
    plan = Enclosed(payloads={"plan": phase.plan.canonical_json()})
    asked = Asked("join", 0, 1, cohort_digest(phase.world.fleet.banks()))
    heard = one_attempt(phase, addresses(phase, asked, new, lambda _bank: plan), lambda reply: welcome(phase, reply), 0)
    if heard:
        hand_round(phase, sorted(heard))


def roster_of(phase: Phase) -> Roster:
    """The consortium's roster as it is now; raises TrustError when there is none."""
    roster = phase.world.roster()
    if roster is None:
        raise TrustError("secure aggregation needs the consortium's roster; make it with `fraudfl pki init`")
    return roster


def _listed(phase: Phase) -> set[str]:
    return {member.bank for member in roster_of(phase).members}


def _checked(phase: Phase) -> Peers:
    keys = [parse_signed(text.encode(), PhaseKey, "phase key") for text in phase.state.circle.keys.values()]
    try:
        return Peers.checked(keys, roster_of(phase), phase.plan.hash, phase.terms.instance)
    except SecureAggregationError as error:
        raise QuorumError(f"the banks' phase keys cannot be handed round: {error}") from error
