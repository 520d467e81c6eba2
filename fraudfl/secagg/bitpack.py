"""Residues as bytes and back, `bits` bits each, without gaps."""

from __future__ import annotations

import numpy as np

from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.streams import Residues, check_residues

# A multiple of 8, so that each chunk fills whole bytes; it bounds the memory that single bits take on the way.
_CHUNK = 1 << 16


def pack(residues: Residues, bits: int) -> bytes:
    """Pack numbers of `bits` bits, least significant bit first; the last byte's spare bits are zero.

    Args:
        residues: uint64, shape (size,), below 2^bits.
        bits: 1 to 64.

    Returns:
        ceil(size * bits / 8) bytes.

    Raises:
        SecureAggregationError: when a number does not fit.
    """
    _check_bits(bits)
    check_residues(residues, residues.size, bits, "vector to be packed")
    packed = []
    for start in range(0, residues.size, _CHUNK):
        raw = residues[start : start + _CHUNK].astype("<u8").view(np.uint8).reshape(-1, 8)
        single = np.unpackbits(raw, axis=1, count=bits, bitorder="little")
        packed.append(np.packbits(single.ravel(), bitorder="little").tobytes())
    return b"".join(packed)


def unpack(data: bytes, size: int, bits: int) -> Residues:
    """Read what `pack` wrote.

    Returns:
        uint64, shape (size,), below 2^bits.

    Raises:
        SecureAggregationError: when there are too few or too many bytes, or a spare bit is set.
    """
    _check_bits(bits)
    expected = -(-size * bits // 8)
    if size < 0 or len(data) != expected:
        raise SecureAggregationError(
            f"packed vector: found {len(data)} bytes; expected {expected} for {size} numbers of {bits} bits"
        )
    if size * bits % 8 and data[-1] >> size * bits % 8:
        raise SecureAggregationError("packed vector: a spare bit after the last number is set; expected zero")
    raw = np.frombuffer(data, dtype=np.uint8)
    residues = np.empty(size, dtype=np.uint64)
    for start in range(0, size, _CHUNK):
        count = min(_CHUNK, size - start)
        single = np.unpackbits(raw[start * bits // 8 :], count=count * bits, bitorder="little")
        wide = np.zeros((count, 64), dtype=np.uint8)
        wide[:, :bits] = single.reshape(count, bits)
        residues[start : start + count] = np.packbits(wide, axis=1, bitorder="little").view("<u8").ravel()
    return residues


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= 64:
        raise SecureAggregationError(f"packed vector: found {bits} bits; expected 1 to 64")
