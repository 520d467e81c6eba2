"""Receipts: what they say, who must have signed them, and that each altered field is found."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fraudfl.errors import TrustError
from fraudfl.protocols import Reply
from fraudfl.transfer.frame import frame
from fraudfl.trust.keys import new_key, public_text, sign
from fraudfl.trust.receipts import Receipt, parse_receipt, read_receipts, sign_receipt
from fraudfl.wire import reply_from_record, reply_to_record

OPERATOR = new_key()
REPLY = Reply(
    bank="north",
    kind="train",
    key="plan/instance/3/1/train/cohort",
    entry=8,
    entry_hash="ab" * 32,
    values={"loss": 0.25},
    payloads={"update": b"\x00\x01"},
)
RECEIPT = sign_receipt(OPERATOR, REPLY, datetime(2025, 5, 1, tzinfo=UTC))


def parsed(data: bytes, bank: str = "north", operator: str = public_text(OPERATOR)) -> Receipt:
    return parse_receipt(data, bank, operator, "the coordinator's receipt")


def test_a_receipt_names_the_entry_and_the_digest_of_the_bytes_that_the_ledger_has() -> None:
    receipt = parsed(RECEIPT.to_bytes())
    assert (receipt.bank, receipt.entry, receipt.entry_hash, receipt.key) == ("north", 8, "ab" * 32, REPLY.key)
    assert receipt.digest == hashlib.sha256(frame(REPLY)).hexdigest()
    assert receipt.issued == "2025-05-01T00:00:00+00:00"


def test_the_digest_is_the_same_after_the_reply_crossed_the_network() -> None:
    assert sign_receipt(OPERATOR, reply_from_record(reply_to_record(REPLY))).digest == RECEIPT.digest


@pytest.mark.parametrize("field", ["bank", "entry", "entry_hash", "key", "digest", "issued", "signature"])
def test_a_receipt_with_one_altered_field_is_refused(field: str) -> None:
    facts = json.loads(RECEIPT.to_bytes())
    other = {"bank": "south", "entry": 9, "entry_hash": "cd" * 32, "digest": "cd" * 32}
    other["signature"] = (
        facts["signature"][:40] + ("A" if facts["signature"][40] != "A" else "B") + facts["signature"][41:]
    )
    facts[field] = other.get(field, str(facts[field]).replace("3", "4").replace("5-01", "6-01"))
    assert facts != json.loads(RECEIPT.to_bytes())
    altered = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(TrustError, match="the coordinator's receipt"):
        parsed(altered, bank=facts["bank"])


def test_a_receipt_by_another_key_or_for_another_bank_is_refused() -> None:
    with pytest.raises(TrustError, match="another key than this consortium's operator"):
        parsed(sign_receipt(new_key(), REPLY).to_bytes())
    with pytest.raises(TrustError, match="for bank 'north'; expected one for 'south'"):
        parsed(RECEIPT.to_bytes(), bank="south")


def test_a_signature_for_another_purpose_is_no_receipt() -> None:
    unsigned = RECEIPT.model_copy(update={"signature": ""})
    body = json.loads(unsigned.to_bytes())
    del body["signature"]
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    forged = RECEIPT.model_copy(update={"signature": sign(OPERATOR, "roster", text)})
    with pytest.raises(TrustError, match="signature is not by"):
        parsed(forged.to_bytes())


def test_a_reply_without_an_entry_gets_no_receipt() -> None:
    with pytest.raises(TrustError, match="names no entry"):
        sign_receipt(OPERATOR, Reply(bank="north", kind="join", key="k"))


def test_a_file_of_receipts_is_read_and_its_first_wrong_line_named(tmp_path: Path) -> None:
    path = tmp_path / "receipts.jsonl"
    path.write_bytes(RECEIPT.to_bytes() + b"\n" + RECEIPT.to_bytes() + b"\n")
    assert list(read_receipts(path, "north", public_text(OPERATOR))) == [RECEIPT, RECEIPT]
    path.write_bytes(RECEIPT.to_bytes() + b"\n" + RECEIPT.to_bytes().replace(b'"entry":8', b'"entry":7') + b"\n")
    with pytest.raises(TrustError, match=r"receipts\.jsonl, line 2"):
        list(read_receipts(path, "north", public_text(OPERATOR)))
    with pytest.raises(TrustError, match="cannot be read"):
        list(read_receipts(tmp_path / "none", "north", public_text(OPERATOR)))
