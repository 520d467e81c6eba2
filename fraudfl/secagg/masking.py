"""A bank's side: it masks its vectors, and later reveals what one survivor set needs."""

from __future__ import annotations

from collections.abc import Iterable

from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.peers import Peers
from fraudfl.secagg.phase_keys import PhaseSecret
from fraudfl.secagg.reveals import Reveal, Seeds
from fraudfl.secagg.streams import (
    OWN,
    PAIR,
    PAIR_ONE_EXCHANGE,
    Residues,
    add_stream,
    check_residues,
    derive_seed,
    empty_total,
    modulo,
)
from fraudfl.trust.keys import PrivateKey, public_text


class Masker:
    """One bank's masks in one phase instance. Secrets shared with peers are computed once each and kept in memory."""

    def __init__(self, secret: PhaseSecret, me: str, peers: Peers) -> None:
        """Stand for one bank.

        Raises:
            SecureAggregationError: when the peers hold another key for this bank than its own.
        """
        self._mine = peers.key(me)
        if self._mine.agreement != secret.agreement:
            raise SecureAggregationError(
                f"phase keys: bank {me} has the key {self._mine.agreement[:12]} there; its own is "
                f"{secret.agreement[:12]}. Somebody handed round another key in its name, or its secret was replaced"
            )
        self._secret = secret
        self._peers = peers
        self._shared: dict[str, bytes] = {}
        self._own = secret.own_key()

    def mask(self, attempt: Attempt, part: str, residues: Residues, bits: int, *, self_mask: bool) -> Residues:
        """Add this bank's masks to a vector.

        The caller makes sure, durably, that two different vectors never leave under one attempt and part.

        Args:
            attempt: What the masks are bound to.
            part: Which vector it is, when a reply has several: each has a stream of its own.
            residues: uint64, shape (size,), below 2^bits.
            bits: 1 to 64.
            self_mask: Whether the plan recovers from lost banks. Without self masks the pairwise ones are of another
                kind, which `reveal` never gives away.

        Returns:
            uint64, shape (size,), below 2^bits: uniform to whoever lacks one of the seeds.

        Raises:
            SecureAggregationError: when the attempt is of another phase, or this bank is not in its cohort.
        """
        self._check(attempt)
        check_residues(residues, residues.size, bits, f"vector {part!r} to be masked")
        total = empty_total(residues.size, bits)
        purpose = PAIR if self_mask else PAIR_ONE_EXCHANGE
        for bank in attempt.cohort:
            if bank != self._mine.bank:
                add_stream(total, self._pair_seed(attempt, purpose, part, bank), minus=self._mine.bank > bank)
        if self_mask:
            add_stream(total, self._own_seed(attempt, part))
        total += residues.astype(total.dtype)
        return modulo(total, bits)

    def reveal(
        self,
        attempt: Attempt,
        parts: Iterable[str],
        survivors: tuple[str, ...],
        min_cohort: int,
        long_term: PrivateKey,
    ) -> Reveal:
        """Give up this bank's self seeds and the seeds it shares with each lost bank, for one attempt.

        The caller has checked the confirmations of this set, and makes sure, durably, that it reveals for one set per
        attempt only.

        Args:
            attempt: Whose masks.
            parts: Names of the vectors that were masked.
            survivors: Banks in the sum, sorted.
            min_cohort: m; nothing is revealed for a smaller set.
            long_term: The bank's long-term key, which signs.

        Raises:
            SecureAggregationError: when this bank is not in the set (its self masks protect what it may have sent), or
                the set is malformed or too small.
        """
        self._check(attempt)
        lost = sorted(set(attempt.cohort) - set(attempt.survivors(survivors, min_cohort)))
        if self._mine.bank in lost:
            raise SecureAggregationError(
                f"survivor set: bank {self._mine.bank} is not in it, so it reveals nothing: its masks must stay closed"
            )
        reveal = Reveal(
            attempt=attempt.digest,
            parts={part: self._seeds(attempt, part, lost) for part in parts},
            bank=self._mine.bank,
            public_key=public_text(long_term),
        )
        return reveal.signed_by(long_term)

    def _seeds(self, attempt: Attempt, part: str, lost: list[str]) -> Seeds:
        return Seeds(
            own=self._own_seed(attempt, part).hex(),
            pairs={bank: self._pair_seed(attempt, PAIR, part, bank).hex() for bank in lost},
        )

    def _own_seed(self, attempt: Attempt, part: str) -> bytes:
        return derive_seed(self._own, attempt.context(OWN, part, self._mine.bank))

    def _pair_seed(self, attempt: Attempt, purpose: str, part: str, bank: str) -> bytes:
        if bank not in self._shared:
            self._shared[bank] = self._secret.shared_key(self._peers.key(bank))
        return derive_seed(self._shared[bank], attempt.context(purpose, part, *sorted((self._mine.bank, bank))))

    def _check(self, attempt: Attempt) -> None:
        for name, expected in (
            ("plan_hash", self._peers.plan_hash),
            ("instance", self._peers.instance),
            ("peers", self._peers.digest),
        ):
            if getattr(attempt, name) != expected:
                raise SecureAggregationError(
                    f"attempt: {name}: found {getattr(attempt, name)!r}; expected {expected!r}, as in the phase keys"
                )
        if self._mine.bank not in attempt.cohort:
            raise SecureAggregationError(f"attempt: cohort: bank {self._mine.bank} is not in it")
        for bank in attempt.cohort:
            self._peers.key(bank)
