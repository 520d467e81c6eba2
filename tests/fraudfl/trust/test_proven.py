"""What was checked before: remembered exactly, and not for ever."""

from __future__ import annotations

import pytest

from fraudfl.errors import TrustError
from fraudfl.trust.keys import new_key, public_text, sign, verify
from fraudfl.trust.proven import Proven


def test_only_the_very_same_parts_are_remembered() -> None:
    proven = Proven()
    proven.note(b"key", b"data", b"signature")
    assert proven.holds(b"key", b"data", b"signature")
    for other in ((b"key", b"data", b"other"), (b"keyd", b"ata", b"signature"), (b"key", b"datasignature")):
        assert not proven.holds(*other)


def test_the_oldest_are_forgotten_first_and_those_met_again_stay() -> None:
    proven = Proven(most=2)
    proven.note(b"first")
    proven.note(b"second")
    assert proven.holds(b"first")
    proven.note(b"third")
    assert [proven.holds(part) for part in (b"first", b"second", b"third")] == [True, False, True]


def test_a_good_signature_proves_nothing_about_other_data_purposes_keys_or_signatures() -> None:
    key, other = new_key(), new_key()
    signature = sign(key, "approval", b"yes")
    for _ in range(2):
        verify(public_text(key), "approval", b"yes", signature)
    for wrong in (
        (public_text(key), "approval", b"no", signature),
        (public_text(key), "receipt", b"yes", signature),
        (public_text(other), "approval", b"yes", signature),
        (public_text(key), "approval", b"yes", sign(other, "approval", b"yes")),
    ):
        for _ in range(2):
            with pytest.raises(TrustError):
                verify(*wrong)
