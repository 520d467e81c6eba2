"""Stable 64-bit hashes of id columns: the same on every machine, in every version, for the same salt."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def stable_hash(ids: pa.ChunkedArray, salt: str) -> NDArray[np.uint64]:
    """Hash every id, without nulls.

    Integers pass the SplitMix64 finaliser (Steele, Lea and Flood 2014) after the salt's digest is added; texts
    pass BLAKE2b keyed by the salt, once per distinct value. An id in both forms has two different hashes.

    Args:
        ids: Integer or text column, shape (rows,).
        salt: Names the purpose and the seed, so that two uses are independent.

    Returns:
        uint64, shape (rows,).
    """
    key = blake2b(salt.encode(), digest_size=32).digest()
    if pa.types.is_integer(ids.type):
        return _mix(ids.to_numpy().astype(np.int64).view(np.uint64) + np.uint64(int.from_bytes(key[:8], "little")))
    encoded = pc.dictionary_encode(ids.combine_chunks().cast(pa.string()))
    distinct = np.array([_text_hash(text, key) for text in encoded.dictionary.to_pylist()], np.uint64)
    hashes: NDArray[np.uint64] = distinct[encoded.indices.to_numpy()]
    return hashes


def unit_interval(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map hashes to [0, 1), using their upper 53 bits."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _text_hash(text: str, key: bytes) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8, key=key).digest(), "little")


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
