"""Unsigned integers as LEB128: seven bits a byte, least significant first, the high bit says that more follow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fraudfl.errors import WireError

LONGEST = 9
"""Bytes of the longest varint: 9 x 7 = 63 bits, the non-negative half of int64."""


def encode_varints(values: npt.NDArray[np.int64]) -> bytes:
    """Encode non-negative integers one after another.

    Args:
        values: int64, shape (n,), all >= 0.

    Raises:
        ValueError: if a value is negative.
    """
    rest = np.asarray(values, dtype=np.int64)
    if rest.size and int(rest.min()) < 0:
        raise ValueError(f"varints hold non-negative integers; found {int(rest.min())}")
    columns = np.zeros((rest.size, LONGEST), dtype=np.uint8)
    used = np.zeros((rest.size, LONGEST), dtype=np.bool_)
    used[:, 0] = True
    for position in range(LONGEST):
        columns[:, position] = rest & 0x7F
        rest = rest >> 7
        more = rest > 0
        if not more.any():
            break
        columns[more, position] |= 0x80
        used[more, position + 1] = True
    return columns[used].tobytes()


def decode_varints(data: bytes, count: int) -> tuple[npt.NDArray[np.int64], int]:
    """Decode the first `count` varints.

    Returns:
        The values, int64 of shape (count,), and the number of bytes they took.

    Raises:
        WireError: if there are fewer than `count`, or one is longer than it needs to be.
    """
    if count == 0:
        return np.zeros(0, dtype=np.int64), 0
    raw = np.frombuffer(data, dtype=np.uint8, count=min(len(data), count * LONGEST))
    ends = np.flatnonzero(raw < 0x80)[:count]
    if ends.size < count:
        raise WireError(f"expected {count} varints, found {ends.size} whole ones in {len(data)} bytes")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if int(lengths.max()) > LONGEST or bool(np.any((raw[ends] == 0) & (lengths > 1))):
        raise WireError(f"a varint is longer than it needs to be, or than {LONGEST} bytes")
    values = np.zeros(count, dtype=np.int64)
    for position in range(int(lengths.max())):
        here = lengths > position
        values[here] |= (raw[starts[here] + position] & 0x7F).astype(np.int64) << (7 * position)
    return values, int(ends[-1]) + 1


def read_varint(data: bytes) -> tuple[int, bytes]:
    """Split one varint off the front.

    Raises:
        WireError: if there is none.
    """
    values, used = decode_varints(data[:LONGEST], 1)
    return int(values[0]), data[used:]
