"""The peers of a phase: all banks' phase keys, checked against the roster in this bank's own folder."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import ValidationError

from fraudfl.errors import TrustError
from fraudfl.frozen import Frozen, Name
from fraudfl.secagg.errors import SecureAggregationError, invalid
from fraudfl.secagg.phase_keys import Hex32, PhaseKey, exchange
from fraudfl.trust.keys import canonical
from fraudfl.trust.roster import Roster


@dataclass(frozen=True)
class Peers:
    """The phase keys of the banks in one phase instance, each checked against the roster. Made by `checked` only.

    Attributes:
        plan_hash, instance: The phase.
        keys: One of each bank, sorted by bank.
    """

    plan_hash: str
    instance: str
    keys: tuple[PhaseKey, ...]

    @classmethod
    def checked(cls, keys: Iterable[PhaseKey], roster: Roster, plan_hash: str, instance: str) -> Peers:
        """Take keys that somebody handed on.

        Args:
            keys: In any order.
            roster: The one in this bank's own folder.
            plan_hash, instance: The phase that they must be for.

        Raises:
            SecureAggregationError: naming the bank whose key is not signed by its key on the roster, is for another
                phase, is there twice, is another bank's, or is no contributory X25519 key.
        """
        ordered = tuple(sorted(keys, key=lambda key: key.bank))
        for name in ("bank", "agreement"):
            for value, count in Counter(getattr(key, name) for key in ordered).items():
                if count > 1:
                    raise SecureAggregationError(f"phase keys: {name} {value} is there {count} times; expected once")
        if len(ordered) < 2:
            raise SecureAggregationError(f"phase keys: found {len(ordered)}; expected those of two banks or more")
        probe = X25519PrivateKey.generate()
        for key in ordered:
            _check(key, roster, plan_hash, instance)
            exchange(probe, key)
        return cls(plan_hash, instance, ordered)

    @staticmethod
    def from_bytes(data: bytes, roster: Roster, plan_hash: str, instance: str) -> Peers:
        """Read and check what `to_bytes` wrote; raises SecureAggregationError as `checked` does."""
        return _read(data, roster, plan_hash, instance)

    def to_bytes(self) -> bytes:
        """What a bank cannot know by itself of each key, as canonical JSON: whose it is, the key, the signature.

        Every bank gets everybody's, so that this list grows with the square of the banks; the rest of a signed key (the
        phase, and the long-term key that signed) is in the plan and on the roster.
        """
        rows = [_Row(bank=key.bank, agreement=key.agreement, signature=key.signature) for key in self.keys]
        return canonical(_Listed(keys=tuple(rows)).model_dump(mode="json"))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over each bank and its agreement key."""
        facts = [[key.bank, key.agreement] for key in self.keys]
        return hashlib.sha256(b"fraudfl/secagg/peers/1\0" + canonical(facts)).hexdigest()

    @cached_property
    def banks(self) -> tuple[str, ...]:
        """Their ids, sorted."""
        return tuple(key.bank for key in self.keys)

    def key(self, bank: str) -> PhaseKey:
        """One bank's key; raises SecureAggregationError when it has none in this phase."""
        if bank not in self._by_bank:
            raise SecureAggregationError(f"bank {bank} has no phase key in phase instance {self.instance}")
        return self._by_bank[bank]

    @cached_property
    def _by_bank(self) -> dict[str, PhaseKey]:
        return {key.bank: key for key in self.keys}


class _Row(Frozen):
    """One phase key on its way to the banks."""

    bank: Name
    agreement: Hex32
    signature: str

    def key(self, roster: Roster, plan_hash: str, instance: str) -> PhaseKey:
        """The signed key, if it is for this phase and signed by the bank's key on the roster; `checked` finds out."""
        return PhaseKey(
            bank=self.bank,
            plan_hash=plan_hash,
            instance=instance,
            agreement=self.agreement,
            public_key=_listed_key(self.bank, roster, "phase key"),
            signature=self.signature,
        )


class _Listed(Frozen):
    """All phase keys on their way to the banks."""

    keys: tuple[_Row, ...]


@lru_cache(maxsize=8)
def _read(data: bytes, roster: Roster, plan_hash: str, instance: str) -> Peers:
    """Simulated banks get the same list and have the same roster: it is checked once."""
    try:
        listed = _Listed.model_validate_json(data)
    except ValidationError as error:
        raise invalid("phase keys", error) from error
    return Peers.checked([row.key(roster, plan_hash, instance) for row in listed.keys], roster, plan_hash, instance)


class ByBank(Protocol):
    """A signed record that says which bank made it and with which key."""

    @property
    def bank(self) -> str:
        """Its id."""

    @property
    def public_key(self) -> str:
        """Its long-term public key, as it says."""

    def verify(self) -> None:
        """Check the signature."""


def check_signer(record: ByBank, roster: Roster, what: str) -> None:
    """Check that a record is signed, by the very key that the roster has for its bank.

    Raises:
        SecureAggregationError: naming `what` and the bank.
    """
    check_listed(record, roster, what)
    try:
        record.verify()
    except TrustError as error:
        raise SecureAggregationError(f"{what} of bank {record.bank}: {error}") from error


def check_listed(record: ByBank, roster: Roster, what: str) -> None:
    """Check that the key in a record is the one that the roster has for its bank; the signature is checked elsewhere.

    Raises:
        SecureAggregationError: naming `what` and the bank.
    """
    if record.public_key != _listed_key(record.bank, roster, what):
        raise SecureAggregationError(
            f"{what} of bank {record.bank}: is signed by another key than the bank's on roster {roster.number}"
        )


def _listed_key(bank: str, roster: Roster, what: str) -> str:
    try:
        return roster.member(bank).public_key
    except TrustError as error:
        raise SecureAggregationError(f"{what} of bank {bank}: {error}") from error


def _check(key: PhaseKey, roster: Roster, plan_hash: str, instance: str) -> None:
    for name, expected in (("plan_hash", plan_hash), ("instance", instance)):
        if getattr(key, name) != expected:
            raise SecureAggregationError(
                f"phase key of bank {key.bank}: {name}: found {getattr(key, name)!r}; expected {expected!r}"
            )
    check_signer(key, roster, "phase key")
