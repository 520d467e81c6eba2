"""Weight codecs: what comes back, what it costs, and what is refused."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fraudfl.errors import CheckpointError, NonFiniteError, WireError
from fraudfl.transfer.codec import ErrorFeedback, decode, encode, layout_size

LAYOUT = (("hidden.weight", (5, 4)), ("hidden.bias", (5,)), ("out.weight", (1, 5)), ("out.bias", (1,)))
SIZE = 31
MLP = (
    ("0.weight", (64, 15)),
    ("0.bias", (64,)),
    ("1.weight", (32, 64)),
    ("1.bias", (32,)),
    ("2.weight", (1, 32)),
    ("2.bias", (1,)),
)
CODECS = ("float32", "float16", "int8", "topk")

anything = hnp.arrays(np.float32, SIZE, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
moderate = hnp.arrays(np.float32, SIZE, elements=st.floats(-1000, 1000, width=32))
seeds = st.integers(0, 2**32 - 1)


def owners():
    return np.repeat([0, 1, 2, 3], [20, 5, 5, 1])


def update(layout, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_t(4, layout_size(layout)) * 0.01).astype(np.float32)


@given(anything)
def test_float32_comes_back_bit_for_bit(vector):
    assert decode(encode(vector, "float32", LAYOUT), LAYOUT).tobytes() == vector.tobytes()


@given(moderate)
def test_float16_is_within_its_relative_precision(vector):
    error = np.abs(decode(encode(vector, "float16", LAYOUT), LAYOUT) - vector)
    assert np.all(error <= np.abs(vector) * 2.0**-11 + 2.0**-25)


@given(anything, seeds)
def test_int8_is_within_one_step_of_each_tensors_scale(vector, seed):
    back = decode(encode(vector, "int8", LAYOUT, rng=np.random.default_rng(seed)), LAYOUT)
    largest = np.array([np.abs(vector[owners() == tensor].astype(np.float64)).max() for tensor in range(4)])
    step = (largest / 127)[owners()]
    # A scale is a float32: next to zero it is a multiple of 2^-149, and 127 of them may pass the largest float.
    allowed = step * (1 + 1e-6) + 2.0**-149
    assert np.all(np.abs(back.astype(np.float64) - vector) <= allowed + 1e-6 * np.abs(vector))


def test_int8_is_unbiased():
    vector = update(LAYOUT, seed=3)
    rng = np.random.default_rng(4)
    draws = np.array([decode(encode(vector, "int8", LAYOUT, rng=rng), LAYOUT) for _ in range(4000)])
    step = np.array([np.abs(vector[owners() == tensor]).max() for tensor in range(4)])[owners()] / 127
    # The error of one draw has at most half a step as its standard deviation; five of the mean's are allowed.
    assert np.all(np.abs(draws.mean(axis=0) - vector) <= 5 * 0.5 * step / np.sqrt(4000) + 1e-9)


@given(moderate, seeds, st.floats(0.01, 1.0))
def test_topk_keeps_the_largest_and_only_them(vector, seed, keep):
    back = decode(encode(vector, "topk", LAYOUT, keep=keep, rng=np.random.default_rng(seed)), LAYOUT)
    kept = int(np.ceil(keep * SIZE - 1e-9))
    border = np.sort(np.abs(vector))[-kept]
    assert np.all(back[np.abs(vector) < border] == 0)
    assert np.count_nonzero(back) <= kept
    assert np.all(np.abs(back - vector)[np.abs(vector) > border] <= np.abs(vector).max() / 127 * 1.001)


@given(st.lists(moderate, min_size=1, max_size=6), seeds)
def test_error_feedback_loses_nothing_over_many_messages(vectors, seed):
    feedback = ErrorFeedback(LAYOUT, 0.1, np.zeros(SIZE, dtype=np.float32))
    rng = np.random.default_rng(seed)
    received = sum(decode(feedback.compress(v, rng), LAYOUT).astype(float) for v in vectors)
    wanted = sum(vector.astype(float) for vector in vectors)
    np.testing.assert_allclose(received + feedback.residual, wanted, rtol=1e-5, atol=2e-2)


def test_error_feedback_survives_storage_and_refuses_another_models_residual():
    feedback = ErrorFeedback(LAYOUT, 0.1, update(LAYOUT))
    kept = feedback.to_bytes()
    assert ErrorFeedback.from_bytes(kept, LAYOUT, 0.1).residual.tobytes() == feedback.residual.tobytes()
    for damaged, layout in ((kept, MLP), (kept[:-3], LAYOUT), (b"", LAYOUT), (b"\x80\x04N.", LAYOUT)):
        with pytest.raises(CheckpointError):
            ErrorFeedback.from_bytes(damaged, layout, 0.1)


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_random_numbers_give_the_same_bytes(codec):
    vector = update(MLP)
    first, second = (encode(vector, codec, MLP, rng=np.random.default_rng(5)) for _ in range(2))
    assert first == second


def test_a_model_of_three_thousand_weights_is_small():
    vector = update(MLP)
    assert layout_size(MLP) == 3137
    sizes = {codec: len(encode(vector, codec, MLP, keep=0.1, rng=np.random.default_rng(1))) for codec in CODECS}
    assert sizes["int8"] <= 3200
    assert sizes["topk"] <= 600
    assert sizes["float16"] <= 2 * 3137 + 8
    assert sizes["float32"] <= 4 * 3137 + 8


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_never_encoded(codec, bad):
    vector = update(LAYOUT)
    vector[7] = bad
    with pytest.raises(NonFiniteError, match="position 7"):
        encode(vector, codec, LAYOUT, rng=np.random.default_rng(0))


def test_float16_refuses_what_it_cannot_hold():
    vector = update(LAYOUT)
    vector[3] = 70_000
    with pytest.raises(NonFiniteError, match="65504"):
        encode(vector, "float16", LAYOUT)


@pytest.mark.parametrize("codec", CODECS)
def test_an_empty_and_a_zero_vector_come_back(codec):
    zeros = np.zeros(SIZE, dtype=np.float32)
    rng = np.random.default_rng(0)
    assert not decode(encode(zeros, codec, LAYOUT, rng=rng), LAYOUT).any()
    assert decode(encode(zeros[:0], codec, (), rng=rng), ()).shape == (0,)


@pytest.mark.parametrize("codec", CODECS)
def test_a_message_cut_short_or_longer_or_for_another_model_is_refused(codec):
    data = encode(update(MLP), codec, MLP, rng=np.random.default_rng(0))
    for damaged in (data[:-1], data + b"\0", data[: len(data) // 2], b""):
        with pytest.raises(WireError):
            decode(damaged, MLP)
    with pytest.raises(WireError, match="holds 3137 values; expected 31"):
        decode(data, LAYOUT)


def test_another_codec_than_the_plans_is_refused():
    data = encode(update(LAYOUT), "float32", LAYOUT)
    with pytest.raises(WireError, match="the plan says int8"):
        decode(data, LAYOUT, expected="int8")


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_a_scale_that_is_no_scale_is_refused(scale):
    body = np.array([1, 1, scale, 1], dtype="<f4").tobytes() + bytes(SIZE)
    with pytest.raises(WireError, match="scales must be finite"):
        decode(bytes([3, SIZE]) + body, LAYOUT)


def test_received_values_that_are_not_finite_are_refused():
    planes = np.full(SIZE, np.nan, dtype="<f4").view(np.uint8).reshape(SIZE, 4).T.tobytes()
    with pytest.raises(WireError, match="not finite"):
        decode(bytes([1, SIZE]) + planes, LAYOUT)


def test_a_frame_that_announces_gigabytes_is_refused_before_it_is_opened():
    bomb = bytes.fromhex("28b52ffde0") + (2**40).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(WireError, match="announces"):
        decode(bytes([0x83, SIZE]) + bomb, LAYOUT)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_by_name_or_decode_to_finite_weights(noise):
    for header in (b"", bytes([1, SIZE]), bytes([0x83, SIZE]), bytes([3, SIZE]), bytes([4, SIZE]), bytes([0x84, SIZE])):
        try:
            vector = decode(header + noise, LAYOUT)
        except WireError:
            continue
        assert vector.shape == (SIZE,)
        assert np.all(np.isfinite(vector))


@given(st.data())
def test_a_damaged_message_is_refused_by_name_or_decodes_to_finite_weights(data):
    codec = data.draw(st.sampled_from(CODECS))
    message = bytearray(encode(update(MLP), codec, MLP, rng=np.random.default_rng(2)))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(WireError):
        assert np.all(np.isfinite(decode(bytes(message), MLP)))
