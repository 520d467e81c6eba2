"""Enrolment: what a bank signs, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraudfl.errors import TrustError
from fraudfl.trust.enrolment import Enrolment, make_enrolment, read_enrolment
from fraudfl.trust.keys import new_key, public_text, sign

KEY, OTHER = new_key(), new_key()
WHEN = datetime(2025, 3, 1, 9, 30, tzinfo=UTC)
REQUEST = make_enrolment(KEY, "north", WHEN)
GOOD = REQUEST.to_bytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("enrolment") / "request.json"


def read(path: Path, data: bytes) -> Enrolment:
    path.write_bytes(data)
    return read_enrolment(path)


def changed(**fields: object) -> bytes:
    facts = json.loads(GOOD) | fields
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def test_a_request_comes_back_whole(path: Path) -> None:
    assert read(path, GOOD) == REQUEST
    assert (REQUEST.bank, REQUEST.public_key, REQUEST.created) == (
        "north",
        public_text(KEY),
        "2025-03-01T09:30:00+00:00",
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_end_added_on_the_way_is_overlooked(path: Path, end: bytes) -> None:
    assert read(path, GOOD + end) == REQUEST


@settings(deadline=None, derandomize=True)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@example(len(GOOD) - 1, 1)
def test_no_changed_byte_is_overlooked(path: Path, position: int, mask: int) -> None:
    data = bytearray(GOOD)
    data[position] ^= mask
    with pytest.raises(TrustError, match=r"request\.json: "):
        read(path, bytes(data))


@settings(deadline=None, derandomize=True)
@given(st.integers(0, len(GOOD) - 1))
def test_a_cut_request_is_refused(path: Path, length: int) -> None:
    with pytest.raises(TrustError, match=r"request\.json: "):
        read(path, GOOD[:length])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no valid enrolment"),
        (b"\xff\xfe", "not JSON"),
        (changed(version=2), "version 2 .* is not known here"),
        (changed(bank="South"), r"bank: found 'South'"),
        (changed(bank="south"), "signature is not by"),
        (changed(created="2025-03-01T10:30:00+01:00"), "created: found"),
        (changed(created="0001-01-01T00:00:00+23:59"), "created: found"),
        (changed(public_key=public_text(OTHER)), "signature is not by"),
        (changed(public_key="ssh-rsa AAAA"), "public_key: found 'ssh-rsa AAAA'"),
        (changed(signature=""), "signature is not by"),
        (changed(extra=1), "extra: "),
        (changed(version="1"), "version '1'"),
        (json.dumps(json.loads(GOOD), indent=1).encode(), "edited or reformatted"),
        (GOOD.replace(b'"bank":', b'"bank":"south","bank":'), "edited or reformatted"),
    ],
)
def test_what_is_not_a_request_is_refused_with_file_and_field(path: Path, data: bytes, problem: str) -> None:
    with pytest.raises(TrustError, match=rf"request\.json: .*{problem}"):
        read(path, data)


def test_a_request_for_somebody_elses_key_cannot_be_signed_by_another(path: Path) -> None:
    unsigned = json.loads(GOOD) | {"public_key": public_text(OTHER)}
    del unsigned["signature"]
    data = json.dumps(unsigned, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(TrustError, match="signature is not by"):
        read(path, changed(public_key=public_text(OTHER), signature=sign(KEY, "enrolment", data)))
    mine = changed(public_key=public_text(OTHER), signature=sign(OTHER, "enrolment", data))
    assert read(path, mine).public_key == public_text(OTHER)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"none\.json: cannot be read \(No such file"):
        read_enrolment(tmp_path / "none.json")


@pytest.mark.parametrize("bank", ["", "North Bank", "-north", "n" * 64, "../north", "north\n"])
def test_a_bank_id_that_is_not_one_is_refused_before_anything_is_signed(bank: str) -> None:
    with pytest.raises(TrustError, match="lower-case letters"):
        make_enrolment(KEY, bank)
