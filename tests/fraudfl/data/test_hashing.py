"""Stable hashes of id columns, against the published definitions written out in Python integers."""

from hashlib import blake2b

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.data.hashing import stable_hash, unit_interval

MASK = 2**64 - 1


def splitmix64(value: int, salt: str) -> int:
    offset = int.from_bytes(blake2b(salt.encode(), digest_size=32).digest()[:8], "little")
    z = (value + offset + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.text(max_size=9))
def test_integer_ids_hash_by_splitmix64(ids, salt):
    hashes = stable_hash(pa.chunked_array([pa.array(ids, pa.int64())]), salt)
    assert hashes.tolist() == [splitmix64(value, salt) for value in ids]


@given(st.lists(st.text(), min_size=1), st.text(max_size=9))
def test_text_ids_hash_by_keyed_blake2b(ids, salt):
    key = blake2b(salt.encode(), digest_size=32).digest()
    expected = [int.from_bytes(blake2b(text.encode(), digest_size=8, key=key).digest(), "little") for text in ids]
    assert stable_hash(pa.chunked_array([pa.array(ids)]), salt).tolist() == expected


def test_chunks_do_not_matter():
    whole = pa.chunked_array([pa.array(["a", "b", "c", "a"])])
    pieces = pa.chunked_array([pa.array(["a", "b"]), pa.array(["c", "a"])])
    assert np.array_equal(stable_hash(whole, "x"), stable_hash(pieces, "x"))


def test_hashes_of_consecutive_integers_are_even_over_the_unit_interval():
    position = unit_interval(stable_hash(pa.chunked_array([np.arange(100_000)]), "even"))
    assert position.min() >= 0
    assert position.max() < 1
    counts, _ = np.histogram(position, 20, (0, 1))
    assert abs(counts - 5000).max() < 5 * 5000**0.5
