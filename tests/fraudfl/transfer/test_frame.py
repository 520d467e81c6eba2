"""A reply as one block of bytes, and blocks that are not one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.errors import WireError
from fraudfl.protocols import KINDS, Reply
from fraudfl.transfer.frame import frame, unframe

NAMES = st.text(min_size=1, max_size=8)
REPLIES = st.builds(
    Reply,
    bank=st.text(max_size=20),
    kind=st.sampled_from(KINDS),
    key=st.text(max_size=40),
    values=st.dictionaries(NAMES, st.integers() | st.floats(allow_nan=False) | st.text(max_size=9), max_size=3),
    payloads=st.dictionaries(NAMES, st.binary(max_size=64), max_size=3),
)
ONE = frame(Reply(bank="b", kind="train", key="k", values={"loss": 0.1}, payloads={"update": b"12345", "a": b""}))


@given(REPLIES)
def test_a_framed_reply_is_read_back_as_it_was(reply: Reply) -> None:
    assert unframe(frame(reply)) == reply


@given(REPLIES)
def test_equal_replies_have_equal_bytes_whatever_the_order_of_their_parts(reply: Reply) -> None:
    payloads = dict(reversed(list(reply.payloads.items())))
    again = Reply(bank=reply.bank, kind=reply.kind, key=reply.key, values=dict(reply.values), payloads=payloads)
    assert frame(again) == frame(reply)


@pytest.mark.parametrize("length", range(len(ONE)))
def test_a_frame_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(WireError):
        unframe(ONE[:length])


def test_bytes_after_the_last_payload_are_refused() -> None:
    with pytest.raises(WireError, match="its header says"):
        unframe(ONE + b"x")


@given(st.binary(max_size=80))
def test_noise_is_refused_with_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(WireError):
        unframe(data)


@pytest.mark.parametrize("header", [b"[]", b"3", b'{"payloads": 5}', b'{"payloads": [["a", -1]]}', b'{"payloads": []}'])
def test_a_header_of_another_shape_is_refused(header: bytes) -> None:
    with pytest.raises(WireError):
        unframe(len(header).to_bytes(4, "little") + header)
