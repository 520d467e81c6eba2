"""Sorted positions in a vector, as Rice-coded gaps (Rice 1979): near the entropy of a random subset."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fraudfl.errors import WireError

_WIDEST = 40
"""Largest number of low bits per gap; a vector of 2^40 entries is beyond anything here."""


def encode_indices(indices: npt.NDArray[np.int64]) -> bytes:
    """Encode strictly increasing non-negative positions.

    One byte says how many low bits each gap keeps; then all low bits, then all high parts in unary (that many zeros,
    then a one), each stream padded with zero bits to a byte.

    Args:
        indices: int64, shape (k,), strictly increasing, >= 0. For k = 0 the result is empty.
    """
    if indices.size == 0:
        return b""
    gaps = np.diff(indices, prepend=-1) - 1
    cost = [gaps.size * (1 + width) + int((gaps >> width).sum()) for width in range(_WIDEST)]
    width = int(np.argmin(cost))
    low = (gaps[:, None] >> np.arange(width)) & 1
    ones = np.cumsum((gaps >> width) + 1) - 1
    unary = np.zeros(int(ones[-1]) + 1, dtype=np.uint8)
    unary[ones] = 1
    return bytes([width]) + np.packbits(low.astype(np.uint8).ravel()).tobytes() + np.packbits(unary).tobytes()


def decode_indices(data: bytes, count: int, size: int) -> npt.NDArray[np.int64]:
    """Decode `count` positions below `size`; `data` must hold them and nothing else.

    Raises:
        WireError: if it does not.
    """
    if count == 0:
        if data:
            raise WireError(f"{len(data)} bytes follow an empty list of positions")
        return np.zeros(0, dtype=np.int64)
    width = data[0] if data else _WIDEST
    low_bytes = (count * width + 7) // 8
    if width >= _WIDEST or len(data) < 1 + low_bytes:
        raise WireError(f"positions are cut short: {len(data)} bytes for {count} positions")
    low = np.unpackbits(np.frombuffer(data, dtype=np.uint8, count=low_bytes, offset=1))
    unary = np.unpackbits(np.frombuffer(data, dtype=np.uint8, offset=1 + low_bytes))
    ones = np.flatnonzero(unary)
    if ones.size != count or (int(ones[-1]) // 8 + 1) * 8 != unary.size or low[count * width :].any():
        raise WireError(f"expected {count} positions and zero padding, found {ones.size} with {len(data)} bytes")
    high = np.diff(ones, prepend=-1) - 1
    if int(high.max()) > size >> width:
        raise WireError(f"a position is beyond the vector's {size} entries")
    lows = (low[: count * width].reshape(count, width).astype(np.int64) << np.arange(width)).sum(axis=1)
    indices = np.cumsum((high.astype(np.int64) << width) + lows + 1) - 1
    if int(indices[-1]) >= size:
        raise WireError(f"position {int(indices[-1])} is beyond the vector's {size} entries")
    return indices.astype(np.int64)
