"""Residues as bytes: against Python's own big integers, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.secagg.bitpack import pack, unpack
from fraudfl.secagg.errors import SecureAggregationError

VECTORS = st.integers(1, 64).flatmap(
    lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), max_size=20))
)


def packed(values: list[int], bits: int) -> bytes:
    """One big integer with the first value in its lowest bits, little-endian."""
    digits = "".join(f"{value:0{bits}b}" for value in reversed(values))
    return int(digits or "0", 2).to_bytes(-(-len(values) * bits // 8), "little")


@given(VECTORS)
def test_packing_is_one_long_integer_and_reads_back(vector: tuple[int, list[int]]) -> None:
    bits, values = vector
    data = pack(np.array(values, dtype=np.uint64), bits)
    assert data == packed(values, bits)
    assert unpack(data, len(values), bits).tolist() == values


@pytest.mark.parametrize("bits", [1, 7, 20, 33, 64])
def test_long_vectors_read_back_across_chunks(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits - 1, 70_001, dtype=np.uint64, endpoint=True)
    data = pack(values, bits)
    assert data == packed(values.tolist(), bits)
    assert np.array_equal(unpack(data, 70_001, bits), values)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""])
def test_bytes_of_another_length_are_refused(change: Any) -> None:
    data = pack(np.arange(5, dtype=np.uint64), 13)
    with pytest.raises(SecureAggregationError, match="bytes; expected 9 for 5 numbers of 13 bits"):
        unpack(change(data), 5, 13)


def test_spare_bits_must_be_zero() -> None:
    data = bytearray(pack(np.full(5, 2**13 - 1, dtype=np.uint64), 13))
    assert unpack(bytes(data), 5, 13).tolist() == [2**13 - 1] * 5
    for spare in range(1, 8):
        changed = bytes(data[:-1]) + bytes([data[-1] | 1 << spare])
        with pytest.raises(SecureAggregationError, match="spare bit"):
            unpack(changed, 5, 13)


@pytest.mark.parametrize("bits", [0, 65, -1])
def test_bits_outside_of_a_word_are_refused(bits: int) -> None:
    with pytest.raises(SecureAggregationError, match=f"found {bits} bits; expected 1 to 64"):
        pack(np.zeros(2, dtype=np.uint64), bits)
    with pytest.raises(SecureAggregationError, match=f"found {bits} bits; expected 1 to 64"):
        unpack(b"", 0, bits)


def test_numbers_that_do_not_fit_and_negative_sizes_are_refused() -> None:
    with pytest.raises(SecureAggregationError, match=r"found 8; expected numbers below 2\^3"):
        pack(np.array([8], dtype=np.uint64), 3)
    with pytest.raises(SecureAggregationError, match="packed vector"):
        unpack(b"", -1, 8)
