"""Vectors of counts as bytes and back: sketches and score histograms, most of whose bins are empty.

A message is one byte (form, and whether the body is a Zstandard frame), the vector's size as a varint, and the body:
`dense` is a varint per count; `sparse` is the number of counts above zero, each of them less one as a varint, then
their positions. The shorter form is sent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fraudfl.errors import WireError
from fraudfl.transfer.indices import decode_indices, encode_indices
from fraudfl.transfer.squeeze import SQUEEZED, expand, squeeze
from fraudfl.transfer.varints import LONGEST, decode_varints, encode_varints, read_varint

Counts = npt.NDArray[np.int64]

_DENSE, _SPARSE = 1, 2


def pack_counts(counts: Counts) -> bytes:
    """Encode non-negative counts.

    Args:
        counts: int64, shape (size,), all >= 0.

    Raises:
        ValueError: if a count is negative, or the array is not one vector of integers.
    """
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(f"expected one vector of integers, found {counts.dtype} of shape {counts.shape}")
    if counts.size and int(counts.min()) < 0:
        raise ValueError(f"counts must not be negative; found {int(counts.min())}")
    size = encode_varints(np.array([counts.size]))
    forms = []
    for form, body in ((_DENSE, encode_varints(counts)), (_SPARSE, _sparse(counts))):
        flag, packed = squeeze(body)
        forms.append(bytes([form | flag]) + size + packed)
    return min(forms, key=len)


def unpack_counts(data: bytes, size: int) -> Counts:
    """Decode counts, int64 of shape (size,).

    Args:
        data: One whole message.
        size: What the receiver expects; the message must fit it exactly.

    Raises:
        WireError: if the message is malformed in any way.
    """
    if not data:
        raise WireError("message of counts is empty; expected a leading byte")
    form = data[0] & ~SQUEEZED
    if form not in (_DENSE, _SPARSE):
        raise WireError(f"unknown form {form} of counts; expected {_DENSE} (dense) or {_SPARSE} (sparse)")
    found, body = read_varint(data[1:])
    if found != size:
        raise WireError(f"message holds {found} counts; expected {size}")
    body = expand(data[0], body, limit=LONGEST * (2 * size + 2))
    if form == _SPARSE:
        return _from_sparse(body, size)
    counts, used = decode_varints(body, size)
    if used != len(body):
        raise WireError(f"{len(body) - used} bytes follow the last of {size} counts")
    return counts


def pack_signed(counts: Counts) -> bytes:
    """Encode counts that noise may have brought below zero; raises ValueError as `pack_counts` does."""
    return pack_counts(np.where(counts >= 0, 2 * counts, -2 * counts - 1))


def unpack_signed(data: bytes, size: int) -> Counts:
    """Decode what `pack_signed` wrote; raises WireError as `unpack_counts` does."""
    folded = unpack_counts(data, size)
    return (folded >> 1) ^ -(folded & 1)


def _sparse(counts: Counts) -> bytes:
    filled = np.flatnonzero(counts).astype(np.int64)
    values = encode_varints(counts[filled] - 1)
    return encode_varints(np.array([filled.size])) + values + encode_indices(filled)


def _from_sparse(body: bytes, size: int) -> Counts:
    filled, rest = read_varint(body)
    if filled > size:
        raise WireError(f"message says {filled} of {size} counts are above zero")
    less_one, used = decode_varints(rest, filled)
    if filled and int(less_one.max()) == np.iinfo(np.int64).max:
        raise WireError("a count does not fit into 63 bits")
    counts = np.zeros(size, dtype=np.int64)
    counts[decode_indices(rest[used:], filled, size)] = less_one + 1
    return counts
