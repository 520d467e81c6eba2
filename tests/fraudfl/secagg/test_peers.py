"""The phase keys of all banks: what a bank takes from the coordinator's hands, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fraudfl.secagg.errors import SecureAggregationError
from fraudfl.secagg.masking import Masker
from fraudfl.secagg.peers import Peers
from fraudfl.secagg.phase_keys import PhaseKey, PhaseSecret
from fraudfl.trust.keys import new_key, public_text

# u-coordinates of small order on Curve25519, RFC 7748 section 6.1 and Langley et al.: 0, 1, two of order 8, and p - 1.
LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def checked(consortium: Any, *keys: PhaseKey) -> Peers:
    """The good keys, with some replaced by bank."""
    by_bank = consortium.phase_keys | {key.bank: key for key in keys}
    return Peers.checked(by_bank.values(), consortium.roster, consortium.plan, consortium.instance)


def with_key(consortium: Any, **fields: object) -> PhaseKey:
    """Bank 4's key with other fields, signed anew by bank 4."""
    key: PhaseKey = consortium.phase_keys["bank-04"].model_copy(update=fields)
    return key.signed_by(consortium.keys["bank-04"])


def test_keys_that_every_bank_signed_are_taken_and_sorted(consortium: Any) -> None:
    peers = Peers.checked(
        reversed(consortium.phase_keys.values()), consortium.roster, consortium.plan, consortium.instance
    )
    assert peers.banks == consortium.banks
    assert peers.digest == consortium.peers.digest
    assert peers.key("bank-04").agreement == consortium.secrets["bank-04"].agreement


def test_the_digest_tells_any_two_sets_of_keys_apart(consortium: Any, tmp_path: Path) -> None:
    fresh = with_key(consortium, agreement=PhaseSecret.create(tmp_path / "fresh").agreement)
    fewer = Peers.checked(
        list(consortium.phase_keys.values())[:-1], consortium.roster, consortium.plan, consortium.instance
    )
    assert len({consortium.peers.digest, checked(consortium, fresh).digest, fewer.digest}) == 3


def test_a_key_signed_by_somebody_else_is_refused(consortium: Any) -> None:
    impostor = new_key()
    forged = consortium.phase_keys["bank-04"].model_copy(update={"public_key": public_text(impostor)})
    with pytest.raises(SecureAggregationError, match="phase key of bank bank-04: is signed by another key"):
        checked(consortium, forged.signed_by(impostor))
    with pytest.raises(SecureAggregationError, match="phase key of bank bank-04: the phase-key's signature is not by"):
        checked(consortium, consortium.phase_keys["bank-04"].signed_by(impostor))


def test_another_members_key_in_a_banks_name_is_refused(consortium: Any) -> None:
    moved = consortium.phase_keys["bank-05"].model_copy(update={"bank": "bank-04"})
    moved = moved.signed_by(consortium.keys["bank-05"])
    with pytest.raises(SecureAggregationError, match="phase key of bank bank-04: is signed by another key"):
        Peers.checked(
            [consortium.phase_keys["bank-00"], moved], consortium.roster, consortium.plan, consortium.instance
        )


@pytest.mark.parametrize(("field", "value"), [("plan_hash", "cd" * 32), ("instance", "pilot-2")])
def test_a_key_for_another_plan_or_instance_is_refused(consortium: Any, field: str, value: str) -> None:
    with pytest.raises(SecureAggregationError, match=f"phase key of bank bank-04: {field}: found '{value}'"):
        checked(consortium, with_key(consortium, **{field: value}))


def test_a_bank_that_is_not_on_the_roster_is_refused(consortium: Any, tmp_path: Path) -> None:
    sybil = PhaseSecret.create(tmp_path / "sybil").sign("sybil", consortium.plan, consortium.instance, new_key())
    with pytest.raises(SecureAggregationError, match="bank sybil is not on roster 1"):
        checked(consortium, sybil)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_point_of_low_order_is_refused(consortium: Any, point: str) -> None:
    with pytest.raises(SecureAggregationError, match="bank bank-04: agreement: found a point of low order"):
        checked(consortium, with_key(consortium, agreement=point))


def test_a_copied_agreement_key_is_refused(consortium: Any) -> None:
    copied = with_key(consortium, agreement=consortium.secrets["bank-05"].agreement)
    with pytest.raises(SecureAggregationError, match=r"phase keys: agreement .* is there 2 times"):
        checked(consortium, copied)


def test_a_bank_twice_and_a_bank_alone_are_refused(consortium: Any) -> None:
    one = consortium.phase_keys["bank-04"]
    for keys, said in [([one, one], "bank bank-04 is there 2 times"), ([one], "found 1"), ([], "found 0")]:
        with pytest.raises(SecureAggregationError, match=said):
            Peers.checked(keys, consortium.roster, consortium.plan, consortium.instance)


def test_peers_read_back_from_their_bytes(consortium: Any) -> None:
    data = consortium.peers.to_bytes()
    assert Peers.from_bytes(data, consortium.roster, consortium.plan, consortium.instance) == consortium.peers


@pytest.mark.parametrize("field", ["bank", "agreement", "signature"])
def test_a_change_to_any_field_on_the_way_is_refused(consortium: Any, field: str) -> None:
    listed = json.loads(consortium.peers.to_bytes())
    assert set(listed["keys"][3]) == {"bank", "agreement", "signature"}
    listed["keys"][3][field] = listed["keys"][4][field]
    with pytest.raises(SecureAggregationError):
        Peers.from_bytes(json.dumps(listed).encode(), consortium.roster, consortium.plan, consortium.instance)


def test_keys_of_another_phase_or_of_a_bank_off_the_roster_are_refused(consortium: Any) -> None:
    data = consortium.peers.to_bytes()
    for plan, instance in ((consortium.plan[::-1], consortium.instance), (consortium.plan, "another")):
        with pytest.raises(SecureAggregationError, match="phase key of bank bank-0"):
            Peers.from_bytes(data, consortium.roster, plan, instance)
    listed = json.loads(data)
    listed["keys"][3]["bank"] = "stranger"
    with pytest.raises(SecureAggregationError, match="phase key of bank stranger"):
        Peers.from_bytes(json.dumps(listed).encode(), consortium.roster, consortium.plan, consortium.instance)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [{}]}', b'{"keys": [], "more": 1}'])
def test_malformed_bytes_are_refused(consortium: Any, data: bytes) -> None:
    with pytest.raises(SecureAggregationError, match="phase keys"):
        Peers.from_bytes(data, consortium.roster, consortium.plan, consortium.instance)


def test_a_masker_refuses_peers_that_hold_another_key_in_its_name(consortium: Any, tmp_path: Path) -> None:
    with pytest.raises(SecureAggregationError, match=r"bank bank-04 has the key .* there; its own is"):
        Masker(PhaseSecret.create(tmp_path / "other"), "bank-04", consortium.peers)
    with pytest.raises(SecureAggregationError, match="bank north has no phase key"):
        Masker(consortium.secrets["bank-04"], "north", consortium.peers)
