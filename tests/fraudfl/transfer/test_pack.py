"""Packed counts come back exactly, cost little, and are refused when damaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fraudfl.errors import WireError
from fraudfl.transfer.indices import decode_indices, encode_indices
from fraudfl.transfer.pack import pack_counts, pack_signed, unpack_counts, unpack_signed
from fraudfl.transfer.varints import decode_varints, encode_varints

count = st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 2**63 - 1))
vectors = hnp.arrays(np.int64, st.integers(0, 300), elements=count)


@given(vectors)
def test_counts_come_back_exactly(counts):
    back = unpack_counts(pack_counts(counts), counts.size)
    assert back.dtype == np.int64
    assert back.tolist() == counts.tolist()


def test_a_small_banks_score_histogram_takes_a_fraction_of_its_bins():
    rng = np.random.default_rng(0)
    scores = np.concatenate((rng.normal(-6, 1, 8000), rng.normal(-2, 2, 80)))
    counts = np.concatenate(
        [
            np.bincount(np.digitize(s, np.linspace(-16, 16, 1025)), minlength=1026)
            for s in (scores[:8000], scores[8000:])
        ]
    )
    packed = pack_counts(counts)
    assert len(packed) < 500
    assert unpack_counts(packed, 2052).tolist() == counts.tolist()


def test_an_empty_histogram_takes_a_few_bytes():
    assert len(pack_counts(np.zeros(100_000, dtype=np.int64))) < 12


@given(vectors.filter(lambda counts: counts.size > 0))
def test_a_message_cut_short_or_longer_or_of_another_size_is_refused(counts):
    data = pack_counts(counts)
    for damaged in (data[:-1], data + b"\0", b""):
        with pytest.raises(WireError):
            unpack_counts(damaged, counts.size)
    with pytest.raises(WireError, match=f"holds {counts.size} counts; expected {counts.size + 1}"):
        unpack_counts(data, counts.size + 1)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x01\x40", b"\x02\x40", b"\x81\x40", b"\x82\x40"]))
def test_random_bytes_are_refused_by_name_or_are_counts(noise, header):
    try:
        counts = unpack_counts(header + noise, 64)
    except WireError:
        return
    assert counts.shape == (64,)
    assert counts.min() >= 0


@pytest.mark.parametrize("bad", [np.array([1, -1]), np.array([1.0]), np.zeros((2, 2), dtype=np.int64)])
def test_what_are_no_counts_cannot_be_packed(bad):
    with pytest.raises(ValueError, match=r"expected one vector|negative"):
        pack_counts(bad)


@given(st.sets(st.integers(0, 5000)))
def test_positions_come_back_exactly(positions):
    indices = np.array(sorted(positions), dtype=np.int64)
    assert decode_indices(encode_indices(indices), indices.size, 5001).tolist() == indices.tolist()


def test_positions_take_about_their_entropy():
    rng = np.random.default_rng(1)
    indices = np.sort(rng.choice(3137, 314, replace=False)).astype(np.int64)
    entropy_bytes = 3137 * 0.469 / 8
    assert len(encode_indices(indices)) < 1.1 * entropy_bytes


def test_a_position_beyond_the_vector_is_refused():
    data = encode_indices(np.array([3, 90], dtype=np.int64))
    with pytest.raises(WireError, match="beyond"):
        decode_indices(data, 2, 90)


@given(st.lists(st.integers(0, 2**63 - 1), max_size=50))
def test_varints_come_back_exactly_and_match_the_standard_encoding(values):
    def leb128(value):
        out = []
        while value >= 128:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes([*out, value])

    data = encode_varints(np.array(values, dtype=np.int64))
    assert data == b"".join(leb128(value) for value in values)
    back, used = decode_varints(data, len(values))
    assert (back.tolist(), used) == (values, len(data))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x01", b"\x80" * 20])
def test_varints_without_an_end_or_longer_than_needed_are_refused(data):
    with pytest.raises(WireError):
        decode_varints(data, 1)


signed = hnp.arrays(
    np.int64, st.integers(0, 300), elements=st.integers(-5, 5) | st.integers(-(2**62), 2**62 - 1) | st.just(0)
)


@given(signed)
def test_counts_that_noise_brought_below_zero_come_back_exactly(counts):
    back = unpack_signed(pack_signed(counts), counts.size)
    assert back.dtype == np.int64
    assert back.tolist() == counts.tolist()


@pytest.mark.parametrize("count", [2**62, 2**63 - 1, -(2**62) - 1, -(2**63)])
def test_what_has_no_room_for_its_sign_is_refused_and_not_wrapped(count):
    with pytest.raises(ValueError, match="must not be negative"):
        pack_signed(np.array([1, count], dtype=np.int64))


@given(st.binary(max_size=100))
def test_random_bytes_are_no_signed_counts_or_are_refused_by_name(noise):
    try:
        counts = unpack_signed(noise, 7)
    except WireError:
        return
    assert counts.shape == (7,)
