"""Mask streams: seeds from HKDF-SHA256, words from ChaCha20, added in chunks to a running total."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fraudfl.secagg.errors import SecureAggregationError

Residues = npt.NDArray[np.uint64]
"""Numbers modulo 2^bits, shape (size,)."""
Words = npt.NDArray[np.unsignedinteger[Any]]

PAIR, PAIR_ONE_EXCHANGE, OWN = "pair", "pair-one-exchange", "own"
"""What a seed is for. Masks of a plan with one exchange have a purpose of their own, so that no reveal touches them."""

_CHUNK = bytes(1 << 18)


def derive_seed(key: bytes, context: bytes) -> bytes:
    """32 bytes for one stream: HKDF-Expand, so that a seed says nothing about the key or another seed."""
    return HKDFExpand(hashes.SHA256(), 32, context).derive(key)


def empty_total(size: int, bits: int) -> Words:
    """Zeros to add streams to, in the smallest words that hold `bits` bits.

    Raises:
        SecureAggregationError: when size or bits are out of range.
    """
    if size < 0 or not 1 <= bits <= 64:
        raise SecureAggregationError(f"masked vector: found size {size} and {bits} bits; expected >= 0, and 1 to 64")
    return np.zeros(size, dtype="<u2" if bits <= 16 else "<u4" if bits <= 32 else "<u8")


def add_stream(total: Words, seed: bytes, *, minus: bool = False) -> None:
    """Add one seed's stream to the total, or subtract it, wrapping; memory does not grow with the vector.

    A seed is used for one stream only, so counter and nonce are zero.
    """
    stream = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor()
    words = len(_CHUNK) // total.itemsize
    combine = np.subtract if minus else np.add
    for start in range(0, total.size, words):
        part = total[start : start + words]
        combine(part, np.frombuffer(stream.update(_CHUNK[: part.nbytes]), dtype=total.dtype), out=part)


def modulo(total: Words, bits: int) -> Residues:
    """A total's residues modulo 2^bits."""
    return total.astype(np.uint64) & np.uint64(2**bits - 1)


def check_residues(residues: Residues, size: int, bits: int, what: str) -> None:
    """Check that a vector has one dimension, the right size and type, and no number of more than `bits` bits.

    Raises:
        SecureAggregationError: naming `what`.
    """
    if residues.dtype != np.uint64 or residues.shape != (size,):
        raise SecureAggregationError(
            f"{what}: found {residues.dtype} of shape {residues.shape}; expected uint64 of shape ({size},)"
        )
    if size and int(residues.max()) >> bits:
        raise SecureAggregationError(f"{what}: found {int(residues.max())}; expected numbers below 2^{bits}")
