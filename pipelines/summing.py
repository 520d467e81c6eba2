"""Adding up over banks under secure aggregation: a cohort is asked, and one sum is opened or none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudfl.config_privacy import SecureAggregationConfig
from fraudfl.errors import QuorumError, TrustError, WireError
from fraudfl.protocols import Kind, Reply, Scalar
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.bitpack import unpack
from fraudfl.secagg.errors import SecureAggregationError, UnmaskingError
from fraudfl.secagg.reveals import Reveal, read_reveal
from fraudfl.secagg.sums import MaskedSum
from fraudfl.secagg.survivors import SurvivorSet, needed, pack_confirmations
from fraudfl.summed import Part, asked_digest, attempt_of, parts_of, spell_members
from fraudfl.trust.keys import parse_signed
from pipelines.asking import Asked, Enclosed, addresses, one_attempt, payload
from pipelines.peers import admit_newcomers, roster_of
from pipelines.turns import fewest, whose_turn, why_left_out
from pipelines.world import Phase


@dataclass(frozen=True)
class Summed:
    """What was opened.

    Attributes:
        vectors: Name to the sum over `banks`, float64.
        banks: Whose vectors are in it.
    """

    vectors: Mapping[str, NDArray[np.float64]]
    banks: frozenset[str]


def add_up(phase: Phase, kind: Kind, number: int, enclose: Callable[[str], Enclosed], width: int = 0) -> Summed:
    """Ask a cohort, and open the sum of what it releases; try again as often as the plan allows.

    Args:
        number: The round.
        enclose: What to send to a bank; the same for each attempt.
        width: Inputs of the model, for updates.

    Raises:
        QuorumError: when no attempt could be opened.
    """
    reason, since = "no bank was asked", len(phase.state.excluded)
    first = phase.world.checkpoints.attempt(kind, number)
    for attempt in range(first, phase.plan.attempts + 1):
        phase.world.checkpoints.note_attempt(kind, number, attempt)
        if attempt > first and phase.state.encoder:
            # With who sits out: a resumed phase that drew another cohort would have the attempt charged once more.
            phase.save()
        since = len(phase.state.excluded)
        admit_newcomers(phase)
        cohort = whose_turn(phase, kind, number, attempt)
        try:
            summed = _Attempt(phase, kind, (number, attempt), cohort, width, enclose).run()
        except SecureAggregationError as error:
            reason = str(error)
            _sit_out(phase, number, set(cohort))
            phase.world.progress.event("dropped", kind=kind, round=number, attempt=attempt, reason=reason)
            continue
        _sit_out(phase, number, set(cohort) - summed.banks)
        phase.state.circle.took_part(summed.banks, turn=kind == "train")
        phase.state.took_part |= summed.banks
        return summed
    raise QuorumError(
        f"{kind} in round {number}: no sum was opened in {phase.plan.attempts} attempts; the last: {reason}. "
        f"{why_left_out(phase, since)}"
    )


def _sit_out(phase: Phase, number: int, banks: Collection[str]) -> None:
    """Leave out banks that did not answer: for some rounds, and for good where they said no again."""
    for bank in banks:
        code = phase.state.refusals.pop(bank, None)
        if code == "refused" and bank in phase.state.circle.rests:
            phase.state.circle.gone.add(bank)
        elif code is not None:
            phase.state.circle.rest(bank, number)
        if code == "refused":
            # It may only have lost the keys: once, it is handed them again.
            phase.state.circle.members.discard(bank)


class _Attempt:
    """One attempt at one sum."""

    def __init__(
        self,
        phase: Phase,
        kind: Kind,
        where: tuple[int, int],
        cohort: tuple[str, ...],
        width: int,
        enclose: Callable[[str], Enclosed],
    ) -> None:
        assert phase.plan.secure_aggregation is not None  # the caller has looked
        self._phase = phase
        self._terms: SecureAggregationConfig = phase.plan.secure_aggregation
        self._kind = kind
        self._where = where
        self._banks = tuple(phase.state.circle.keys)
        self._enclose = enclose
        # The same for every bank, or the masks would not cancel.
        self._asked = asked_digest(enclose(cohort[0]).values)
        self._attempt: Attempt = attempt_of(
            phase.plan, phase.terms.instance, kind, where, cohort, phase.state.circle.digest, self._asked
        )
        self._parts = parts_of(phase.plan, kind, width, len(cohort))
        self._sums = {part.name: self._empty(part) for part in self._parts}

    def run(self) -> Summed:
        """Raises SecureAggregationError when the sum cannot be opened."""
        asked = Asked(self._kind, *self._where, self._attempt.digest)

        def enclosed(bank: str) -> Enclosed:
            extra = self._enclose(bank)
            return Enclosed({**extra.values, **self._address()}, extra.payloads)

        requests = addresses(self._phase, asked, self._attempt.cohort, enclosed)
        one_attempt(self._phase, requests, self._take, fewest(self._phase, self._kind))
        opened = self._open() if self._terms.recover else {name: sum_.complete() for name, sum_ in self._sums.items()}
        vectors = {part.name: part.encoding.decode(opened[part.name]) for part in self._parts}
        return Summed(vectors, frozenset(self._survivors))

    @property
    def _survivors(self) -> tuple[str, ...]:
        return self._sums[self._parts[0].name].survivors

    def _empty(self, part: Part) -> MaskedSum:
        return MaskedSum(self._attempt, part.name, part.size, part.encoding.bits, self_masked=self._terms.recover)

    def _address(self) -> dict[str, Scalar]:
        return {"peers": self._attempt.peers, "members": spell_members(self._attempt.cohort, self._banks)}

    def _take(self, reply: Reply) -> None:
        read = {part: unpack(payload(reply, part.name), part.size, part.encoding.bits) for part in self._parts}
        # Nothing of a reply is added before all of it was read.
        for part, residues in read.items():
            self._sums[part.name].add(reply.bank, residues)

    def _open(self) -> dict[str, NDArray[np.uint64]]:
        """Let the survivors agree on who they are, and reveal what this one sum needs."""
        survivors = self._survivors
        if len(survivors) < self._phase.plan.min_cohort:
            raise UnmaskingError(
                f"{len(survivors)} of {len(self._attempt.cohort)} banks answered; no sum over fewer than "
                f"{self._phase.plan.min_cohort} is opened",
                set(self._attempt.cohort) - set(survivors),
            )
        payloads = {}
        if self._terms.coordinator == "malicious":
            payloads = {"confirmations": pack_confirmations(self._confirmations(survivors))}
        reveals = self._reveals(survivors, payloads)
        return {name: sum_.unmask(reveals) for name, sum_ in self._sums.items()}

    def _confirmations(self, survivors: tuple[str, ...]) -> list[SurvivorSet]:
        records: list[SurvivorSet] = []
        least = needed(self._terms.min_cohort, len(self._attempt.cohort), self._terms.colluding)

        def take(reply: Reply) -> None:
            record = _signed(reply, payload(reply, "confirmation"))
            if (record.attempt, record.survivors) != (self._attempt.digest, survivors):
                raise WireError("the confirmation is of another set of banks")
            records.append(record)

        self._about("confirm", survivors, {}, take)
        if len(records) < least:
            said = {record.bank for record in records}
            raise UnmaskingError(
                f"{len(records)} banks confirmed who is in the sum, and {least} are needed", set(survivors) - said
            )
        return records

    def _reveals(self, survivors: tuple[str, ...], payloads: Mapping[str, bytes]) -> list[Reveal]:
        found: list[Reveal] = []
        roster = roster_of(self._phase)

        def take(reply: Reply) -> None:
            reveal = read_reveal(payload(reply, "reveal"), roster)
            if reveal.bank != reply.bank:
                raise WireError(f"the reveal is bank {reveal.bank}'s")
            found.append(reveal)

        self._about("reveal", survivors, payloads, take)
        return found

    def _about(
        self,
        kind: Kind,
        survivors: tuple[str, ...],
        payloads: Mapping[str, bytes],
        take: Callable[[Reply], None],
    ) -> None:
        spelled = spell_members(survivors, self._banks)
        enclosed = Enclosed({**self._address(), "asked": self._asked, "survivors": spelled}, payloads)
        asked = Asked(kind, *self._where, self._attempt.digest, self._kind)
        # Each survivor's reveal is needed: the patience of the terms is for all of them.
        requests = addresses(self._phase, asked, survivors, lambda _bank: enclosed)
        one_attempt(self._phase, requests, take, len(survivors))


def _signed(reply: Reply, data: bytes) -> SurvivorSet:
    try:
        record = parse_signed(data, SurvivorSet, "confirmation")
    except TrustError as error:
        raise WireError(str(error)) from error
    if record.bank != reply.bank:
        raise WireError(f"the confirmation is bank {record.bank}'s")
    return record
