"""Banks of one sum, in one process: each encodes and masks its vector, and the coordinator opens the sum."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fraudfl.privacy.audit.bounds import FloatArray
from fraudfl.privacy.noise import NoiseSource
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.fixed_point import FixedPoint
from fraudfl.secagg.masking import Masker
from fraudfl.secagg.peers import Peers
from fraudfl.secagg.phase_keys import PhaseSecret
from fraudfl.secagg.streams import Residues
from fraudfl.secagg.sums import MaskedSum
from fraudfl.trust.keys import new_key, now_text, public_text
from fraudfl.trust.roster import Member, sign_roster

_PLAN = hashlib.sha256(b"fraudfl audit").hexdigest()
_INSTANCE = "audit"
_PART = "update"


class Circle:
    """Banks that add up vectors in fixed point, under masks where there are several."""

    def __init__(self, parties: int, encoding: FixedPoint, *, masked: bool = True) -> None:
        """Agree on keys.

        Args:
            parties: Banks; a single one has nobody to mask with.
            encoding: Of their vectors.
            masked: Whether they mask; masks cancel, so that the sums are the same.
        """
        self.parties = parties
        self._encoding = encoding
        self._banks = tuple(f"bank-{number:04d}" for number in range(parties))
        self._peers: Peers | None = None
        self._maskers: list[Masker] = []
        if masked and parties > 1:
            self._peers, self._maskers = _agree(self._banks)
        self._round = 0

    def open(self, vectors: Sequence[FloatArray], sources: Sequence[NoiseSource]) -> tuple[FloatArray, FloatArray]:
        """Encode, mask, add and open.

        Args:
            vectors: One of each bank, shape (size,), noise included.
            sources: Each bank's randomness, for rounding.

        Returns:
            The sum as the coordinator reads it, shape (size,), and each bank's own part of it, shape (parties, size).
        """
        own = [
            self._encoding.encode(vector, source.uniform(vector.size))
            for vector, source in zip(vectors, sources, strict=True)
        ]
        return self._encoding.decode(self._total(own)), np.stack([self._encoding.decode(part) for part in own])

    def _total(self, own: list[Residues]) -> Residues:
        bits = self._encoding.bits
        if self._peers is None:
            return np.bitwise_and(np.sum(own, axis=0, dtype=np.uint64), np.uint64(2**bits - 1))
        self._round += 1
        attempt = Attempt(
            plan_hash=_PLAN,
            instance=_INSTANCE,
            kind="train",
            round=self._round,
            attempt=1,
            cohort=self._banks,
            peers=self._peers.digest,
        )
        total = MaskedSum(attempt, _PART, own[0].size, bits, self_masked=False)
        for bank, masker, residues in zip(self._banks, self._maskers, own, strict=True):
            total.add(bank, masker.mask(attempt, _PART, residues, bits, self_mask=False))
        return total.complete()


def _agree(banks: tuple[str, ...]) -> tuple[Peers, list[Masker]]:
    """Do what banks do at the start of a phase: sign phase keys, and check them against a roster."""
    long_term = {bank: new_key() for bank in banks}
    members = [Member(bank=bank, public_key=public_text(key), since=now_text()) for bank, key in long_term.items()]
    roster = sign_roster(new_key(), "audit", 1, members)
    own = {bank: PhaseSecret(X25519PrivateKey.generate(), secrets.token_bytes(32)) for bank in banks}
    keys = [own[bank].sign(bank, _PLAN, _INSTANCE, long_term[bank]) for bank in banks]
    peers = Peers.checked(keys, roster, _PLAN, _INSTANCE)
    return peers, [Masker(own[bank], bank, peers) for bank in banks]
