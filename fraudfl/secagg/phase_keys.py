"""Phase keys: a bank's X25519 key for one phase, kept at the bank and signed with its long-term key."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, ValidationError

from fraudfl.errors import TrustError
from fraudfl.frozen import Frozen, Name
from fraudfl.protocols import INSTANCE
from fraudfl.secagg.errors import SecureAggregationError, invalid
from fraudfl.trust.keys import PrivateKey, PublicText, Signed, canonical, public_text, read_secret, write_secret

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Instance = Annotated[str, Field(pattern=f"^{INSTANCE.pattern}$")]

_SALT = b"fraudfl/secagg/1"


class PhaseKey(Signed):
    """A bank's key for one phase.

    Attributes:
        bank: Whose it is.
        plan_hash, instance: The phase it is good for, and no other.
        agreement: X25519 public key, hex.
        public_key: The bank's long-term public key, which signs.
    """

    purpose: ClassVar[str] = "phase-key"

    version: Literal[1] = 1
    bank: Name
    plan_hash: Hex32
    instance: Instance
    agreement: Hex32
    public_key: PublicText

    @property
    def signer(self) -> str:
        """The bank itself."""
        return self.public_key


class _Kept(Frozen):
    """A phase secret's file."""

    version: Literal[1] = 1
    agreement: Hex32
    own: Hex32


class PhaseSecret:
    """What a bank keeps for one phase: a private X25519 key, and 32 random bytes that its self masks come from.

    It never leaves the bank, whole or in parts, and nobody can rebuild it. A phase instance has one, made once: a
    restored or copied one would put two values under one mask.
    """

    def __init__(self, agreement: X25519PrivateKey, own: bytes) -> None:
        """Hold both; use `create` or `load`."""
        self._agreement = agreement
        self._own = own

    def __repr__(self) -> str:
        """Name the public half only."""
        return f"PhaseSecret({self.agreement[:12]}…)"

    @classmethod
    def create(cls, path: Path) -> PhaseSecret:
        """Make a fresh secret and keep it in a new file with mode 0600.

        Raises:
            TrustError: when the file is there already (it is never overwritten), or cannot be written.
        """
        secret = cls(X25519PrivateKey.generate(), secrets.token_bytes(32))
        kept = _Kept(agreement=secret._agreement.private_bytes_raw().hex(), own=secret._own.hex())
        write_secret(path, canonical(kept.model_dump(mode="json")))
        return secret

    @classmethod
    def load(cls, path: Path) -> PhaseSecret:
        """Read a secret.

        Raises:
            TrustError: when it is missing, open to other users, or damaged.
        """
        data = read_secret(path)
        try:
            kept = _Kept.model_validate_json(data)
        except ValidationError as error:
            # The cause is left out: it would quote the secret.
            field = ".".join(str(part) for part in error.errors()[0]["loc"]) or "file"
            raise TrustError(
                f"{path}: {field}: not a phase secret as this version writes it; it cannot be mended, and this bank "
                "can join the next phase only"
            ) from None
        return cls(X25519PrivateKey.from_private_bytes(bytes.fromhex(kept.agreement)), bytes.fromhex(kept.own))

    @property
    def agreement(self) -> str:
        """X25519 public key, hex."""
        return self._agreement.public_key().public_bytes_raw().hex()

    def sign(self, bank: str, plan_hash: str, instance: str, long_term: PrivateKey) -> PhaseKey:
        """The public half, signed with the bank's long-term key for one phase instance.

        Raises:
            SecureAggregationError: when a field is not what it should be.
        """
        try:
            key = PhaseKey(
                bank=bank,
                plan_hash=plan_hash,
                instance=instance,
                agreement=self.agreement,
                public_key=public_text(long_term),
            )
        except ValidationError as error:
            raise invalid("phase key", error) from error
        return key.signed_by(long_term)

    def shared_key(self, peer: PhaseKey) -> bytes:
        """32 bytes that only this bank and one peer know: HKDF-Extract of their X25519 secret.

        Raises:
            SecureAggregationError: when the peer's key would give the same secret whatever ours is.
        """
        return _extract(exchange(self._agreement, peer))

    def own_key(self) -> bytes:
        """32 bytes that only this bank knows."""
        return _extract(self._own)


def exchange(private: X25519PrivateKey, peer: PhaseKey) -> bytes:
    """The X25519 secret with a peer.

    Raises:
        SecureAggregationError: when the peer's key is a point of low order, whose secret is the same with every key.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(peer.agreement)))
    except ValueError as error:
        # OpenSSL refuses the all-zero secret, which is what points of low order give.
        raise SecureAggregationError(
            f"phase key of bank {peer.bank}: agreement: found a point of low order ({peer.agreement}); expected an "
            "X25519 public key. Every secret shared with it would be known to all"
        ) from error


def _extract(secret: bytes) -> bytes:
    return HKDF.extract(hashes.SHA256(), _SALT, secret)
