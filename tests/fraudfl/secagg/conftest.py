"""A consortium of twelve banks with real keys, and the masks spelled out again from the standard's primitives."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy.stats import chisquare

from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.masking import Masker
from fraudfl.secagg.peers import Peers
from fraudfl.secagg.phase_keys import PhaseSecret
from fraudfl.secagg.reveals import Reveal
from fraudfl.trust.keys import new_key, public_text
from fraudfl.trust.roster import Member, sign_roster

PLAN = "ab" * 32
INSTANCE = "pilot-1"
BANKS = tuple(f"bank-{n:02}" for n in range(12))


class Consortium:
    """Twelve banks of which each has its long-term key, phase secret and masker."""

    plan = PLAN
    instance = INSTANCE
    banks = BANKS

    def __init__(self, folder: Path) -> None:
        self.operator = new_key()
        self.keys = {bank: new_key() for bank in BANKS}
        self.roster = sign_roster(
            self.operator,
            "baltic",
            1,
            [
                Member(bank=b, public_key=public_text(k), since="2025-03-01T09:30:00+00:00")
                for b, k in self.keys.items()
            ],
        )
        self.paths = {bank: folder / bank / "phase.json" for bank in BANKS}
        self.secrets = {bank: PhaseSecret.create(path) for bank, path in self.paths.items()}
        self.phase_keys = {bank: self.secrets[bank].sign(bank, PLAN, INSTANCE, self.keys[bank]) for bank in BANKS}
        self.peers = Peers.checked(self.phase_keys.values(), self.roster, PLAN, INSTANCE)
        self.maskers = {bank: Masker(self.secrets[bank], bank, self.peers) for bank in BANKS}

    def attempt(self, cohort: Iterable[str] = BANKS, **fields: object) -> Attempt:
        given = {
            "plan_hash": PLAN,
            "instance": INSTANCE,
            "kind": "train",
            "round": 3,
            "attempt": 1,
            "cohort": tuple(cohort),
            "peers": self.peers.digest,
        }
        return Attempt(**given | fields)  # type: ignore[arg-type]

    def reveal(self, bank: str, attempt: Attempt, survivors: tuple[str, ...], part: str = "update") -> Reveal:
        return self.maskers[bank].reveal(attempt, [part], survivors, 2, self.keys[bank])

    # What follows repeats the construction from RFC 5869, RFC 7748 and RFC 8439, without fraudfl.secagg.

    def seed(self, attempt: Attempt, purpose: str, part: str, *banks: str) -> bytes:
        kept = {bank: json.loads(self.paths[bank].read_text()) for bank in banks}
        if len(banks) == 1:
            secret = bytes.fromhex(kept[banks[0]]["own"])
        else:
            one, other = (X25519PrivateKey.from_private_bytes(bytes.fromhex(kept[b]["agreement"])) for b in banks)
            secret = one.exchange(other.public_key())
        facts = {
            name: getattr(attempt, name)
            for name in ("asked", "attempt", "cohort", "instance", "kind", "peers", "plan_hash", "round")
        }
        digest = hashlib.sha256(b"fraudfl/secagg/attempt/1\0" + _json(facts)).hexdigest()
        info = _json(["fraudfl/secagg/seed/1", purpose, digest, part, list(banks)])
        extracted = hmac.new(b"fraudfl/secagg/1", secret, hashlib.sha256).digest()
        return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()

    def masks(
        self, bank: str, attempt: Attempt, part: str, size: int, bits: int, *, self_mask: bool = True
    ) -> list[int]:
        """All masks of one bank, modulo 2^bits."""
        total = np.array(stream(self.seed(attempt, "own", part, bank), size, bits) if self_mask else [0] * size, object)
        purpose = "pair" if self_mask else "pair-one-exchange"
        for other in attempt.cohort:
            if other != bank:
                words = np.array(stream(self.seed(attempt, purpose, part, *sorted((bank, other))), size, bits), object)
                total = total + words if bank < other else total - words
        return [int(value) % 2**bits for value in total]


def stream(seed: bytes, size: int, bits: int) -> list[int]:
    """A stream's words as Python integers: the whole of it from one ChaCha20 call."""
    width = 2 if bits <= 16 else 4 if bits <= 32 else 8
    raw = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor().update(bytes(size * width))
    return [int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)]


def _json(facts: object) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


@pytest.fixture(scope="session")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("secagg"))


@pytest.fixture(scope="session")
def stream_of() -> object:
    return stream


@pytest.fixture(scope="session")
def uniform() -> object:
    return uniform_p


def uniform_p(residues: npt.NDArray[np.uint64], bits: int) -> float:
    """The smaller chi-square p-value of the lowest and the highest four bits against a uniform distribution."""
    nibbles = (residues & np.uint64(15), residues >> np.uint64(bits - 4))
    counts = [np.bincount(nibble.astype(np.int64), minlength=16) for nibble in nibbles]
    return min(float(chisquare(count).pvalue) for count in counts)
