"""What a bank says to one record: a reply, or a refusal with its code; no message of an error ever quotes a row."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from flwr.app import ConfigRecord, RecordDict
from memory_fleet import PRIVATE, UNSEALED, asking, make_banks, plan_of, plan_with, set_policy, tiny_config

from bank_nodes.answers.answering import answer_record
from bank_nodes.rules.approvals import Approvals
from fraudfl.errors import SchemaError
from fraudfl.features.encoder import Encoder, fit_encoder
from fraudfl.folder import BankFolder
from fraudfl.models.mlp import build_model, layout
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.protocols import SUMMED, Kind, Refusal, Request
from fraudfl.transfer.codec import encode
from fraudfl.transfer.model import start_vector, vector_digest
from fraudfl.wire import bank_from_record, hello_to_record, refusal_from_record, reply_from_record, request_to_record

OPEN, CLOSED = plan_of(), plan_of(**PRIVATE)
SECRET = "Jane Roe 4929-1111"
PLACES: dict[Kind, str] = {
    "join": "bank_nodes.gate.release.write_bytes",
    "sketch": "fraudfl.folder.sketch_table",
    "train": "bank_nodes.answers.tasks.train_plain",
    "evaluate": "bank_nodes.answers.tasks.score_logits",
    "alone": "bank_nodes.answers.tasks.train_plain",
    "gain": "bank_nodes.answers.gaining.own_figures",
    "look": "bank_nodes.answers.tasks.score_logits",
    "profile": "bank_nodes.answers.assessing.count_profile",
    "watch": "bank_nodes.answers.watching.sketch_table",
    "outcome": "bank_nodes.answers.watching.sketch_table",
}
"""Something that each kind of request makes a bank do with its rows (or, to join, with its folder)."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_banks(tmp_path_factory.mktemp("made"), tiny_config(banks=2)) / "bank-01"


@pytest.fixture(scope="module")
def encoder(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """The encoder that the bank's own rows fit, and the bank's features, computed once for all tests."""
    sketch = BankFolder(made).sketch(OPEN.features, OPEN.split, OPEN.encoder)
    return fit_encoder(OPEN.encoder, sketch)


@pytest.fixture
def bank(made: Path, encoder: Encoder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bank-01"))


def complete(kind: Kind, encoder: Encoder, plan: Plan | None = None, **facts: Any) -> Request:
    """A request with all that the bank needs to answer it."""
    plan = plan or plan_with(kind)
    start = start_vector(plan, encoder.width, {})
    values: dict[str, Any] = {"version": 0, "model": vector_digest(start), "encoder": encoder.digest}
    payloads = {"plan": plan.canonical_json(), "encoder": encoder.to_bytes()}
    if plan.given_start:
        values["threshold"] = 0.0
        payloads["model"] = encode(start, "float32", layout(build_model(plan.model, encoder.width)))
    return asking(plan, kind, values=values, payloads=payloads, **facts)


def refusal_of(bank: Path, request: Request) -> Refusal:
    refusal = refusal_from_record(answer_record(bank, request_to_record(request)))
    assert refusal is not None
    return refusal


@pytest.mark.parametrize("kind", UNSEALED)
def test_a_complete_request_of_any_kind_is_answered_with_what_the_ledger_released(
    bank: Path, encoder: Encoder, kind: Kind
) -> None:
    request = complete(kind, encoder)
    reply = reply_from_record(answer_record(bank, request_to_record(request)))
    assert (reply.bank, reply.kind, reply.key) == ("bank-01", kind, request.key)
    released = Ledger(bank / "ledger.db").entries()[-1]
    assert (released.event, released.entry, released.hash) == ("released", reply.entry, reply.entry_hash)


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("kind", UNSEALED)
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(f"cannot convert {SECRET!r}"), "unforeseen ValueError"),
        (KeyError(SECRET), "unforeseen KeyError"),
        (SchemaError(f"column 'amount' holds text ({SECRET!r})"), "SchemaError in this bank's data"),
    ],
    ids=["ValueError", "KeyError", "SchemaError"],
)
def test_an_error_in_the_midst_of_any_work_tells_its_kind_and_keeps_its_text_at_the_bank(
    bank: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, kind: Kind, error: Exception, told: str
) -> None:
    monkeypatch.setattr(PLACES[kind], raising(error))
    request = complete(kind, encoder)
    record = answer_record(bank, request_to_record(request))
    assert refusal_from_record(record) == Refusal(
        bank="bank-01", reason=f"{told}; the bank's errors.log has the details", code="refused"
    )
    assert SECRET.encode() not in b"".join(item.deflate() for item in record.values())
    assert SECRET in (bank / "errors.log").read_text()
    assert "Traceback" in (bank / "errors.log").read_text()
    # Auditors read the ledger, and nobody can take anything out of it.
    assert SECRET not in "\n".join(Ledger(bank / "ledger.db").export_lines())
    last = Ledger(bank / "ledger.db").entries()[-1]
    assert (last.event, last.key) == ("refused", request.key)
    assert type(error).__name__ in last.note


def test_an_error_within_private_training_leaves_no_value_either(
    bank: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudfl.training.dp.train_dp", raising(FloatingPointError(SECRET)))
    refusal = refusal_of(bank, complete("train", encoder, CLOSED))
    assert refusal.reason == "the work for this request failed at the bank; the bank's errors.log has the details"
    assert SECRET not in (bank / "ledger.db").read_bytes().decode("latin-1")
    assert len(Ledger(bank / "ledger.db").mechanisms()) == 1  # charged: the work had begun


def test_every_error_is_added_to_the_log_and_none_overwrites_another(
    bank: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("first", "second"):
        monkeypatch.setattr(PLACES["train"], raising(RuntimeError(f"{text} {SECRET}")))
        refusal_of(bank, complete("train", encoder))
    kept = (bank / "errors.log").read_text()
    assert [text in kept for text in (f"first {SECRET}", f"second {SECRET}")] == [True, True]


def test_a_bank_whose_error_log_cannot_be_written_still_answers(
    bank: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (bank / "errors.log").mkdir()
    monkeypatch.setattr(PLACES["train"], raising(RuntimeError(SECRET)))
    refusal = refusal_of(bank, complete("train", encoder))
    assert refusal.reason == "unforeseen RuntimeError; the bank's errors.log has the details"
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("damage", ["no folder", "no facts", "no lock"])
def test_a_bank_whose_folder_is_damaged_still_answers(tmp_path: Path, made: Path, damage: str) -> None:
    path = tmp_path / "bank-01"
    if damage != "no folder":
        shutil.copytree(made, path)
    if damage == "no facts":
        (path / "bank.json").write_text("{}")
    if damage == "no lock":
        (path / "gate.lock").mkdir()
    refusal = refusal_of(path, asking(OPEN, "join"))
    assert (refusal.bank, refusal.code) == ("bank-01", "refused")
    assert str(tmp_path) not in refusal.reason


def test_a_bank_says_who_it_is(bank: Path) -> None:
    assert bank_from_record(answer_record(bank, hello_to_record())) == "bank-01"


def test_a_refusal_that_waits_for_a_person_says_so(bank: Path) -> None:
    set_policy(bank, approve={"automatic": False})
    refusal = refusal_of(bank, asking(OPEN, "join"))
    assert (refusal.code, refusal.opens_at) == ("not-approved", "")
    assert refusal.reason.startswith(f"NotApproved: plan {OPEN.hash[:12]} waits for an approval")


@pytest.mark.parametrize("last", ["reject", "revoke"])
def test_a_plan_that_was_rejected_or_revoked_is_not_approved(bank: Path, last: str) -> None:
    answer_record(bank, request_to_record(asking(OPEN, "join")))
    Approvals(bank).decide(OPEN, "revoke", "ann")
    if last == "reject":
        Approvals(bank).decide(OPEN, "reject", "ann")
    assert refusal_of(bank, asking(OPEN, "sketch")).code == "not-approved"


def test_a_refusal_by_the_schedule_says_from_when_on(bank: Path) -> None:
    answer_record(bank, request_to_record(asking(OPEN, "join")))
    opening = (datetime.now(UTC) + timedelta(hours=6)).replace(minute=0, second=0, microsecond=0)
    set_policy(bank, hours={"windows": [f"daily {opening:%H}:00-{opening:%H}:30"]})
    refusal = refusal_of(bank, asking(OPEN, "sketch"))
    assert (refusal.code, refusal.reason) == ("not-now", f"NotNow: not now, from {opening:%H}:00 UTC")
    assert datetime.fromisoformat(refusal.opens_at) == opening


def test_other_refusals_are_for_good_and_say_why(bank: Path) -> None:
    answer_record(bank, request_to_record(asking(CLOSED, "join")))
    refusal = refusal_of(bank, asking(CLOSED, "alone"))
    assert refusal == Refusal(
        bank="bank-01", reason=f"ReleaseRefused: plan {CLOSED.hash[:12]} does not contain 'alone'", code="refused"
    )


@pytest.mark.parametrize(
    "record",
    [
        RecordDict(),
        RecordDict({"fraudfl": ConfigRecord({"wire": 99})}),
        RecordDict({"fraudfl": ConfigRecord({"wire": 1, "kind": "train", "plan": b"short"})}),
        RecordDict({"fraudfl": ConfigRecord({"wire": 1, "kind": "rows"})}),
    ],
    ids=["empty", "version", "field", "kind"],
)
def test_a_malformed_record_is_refused_and_logged_and_nothing_is_written(
    bank: Path, record: RecordDict, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = refusal_from_record(answer_record(bank, record))
    assert refusal is not None
    assert refusal.reason.startswith("WireError: ")
    assert "refused: " in caplog.text
    assert not (bank / "ledger.db").exists()


def test_a_payload_that_unpacks_to_more_than_a_message_may_hold_is_refused(bank: Path) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(2**29))
    good = request_to_record(asking(OPEN, "join"))
    fields = dict(good["fraudfl"]) | {"p.plan": b"\x80" + bomb}
    refusal = refusal_from_record(answer_record(bank, RecordDict({"fraudfl": ConfigRecord(fields)})))
    assert refusal is not None
    assert "announces 536870912 bytes" in refusal.reason


@pytest.mark.parametrize("kind", [kind for kind in SUMMED if kind not in ("sketch", "profile")])
def test_a_model_or_encoder_that_is_not_the_one_pinned_is_refused(bank: Path, encoder: Encoder, kind: Kind) -> None:
    request = complete(kind, encoder)
    for name, wrong in (("encoder", "00" * 32), ("model", "00" * 8)):
        if kind == "alone" and name == "model":
            continue  # it trains its own, from the public start
        refusal = refusal_of(bank, replace(request, values={**request.values, name: wrong}))
        assert "has digest" in refusal.reason
        assert refusal.reason.startswith("WireError")


def test_a_replayed_record_gets_the_same_bytes_and_after_its_acknowledgement_nothing(
    bank: Path, encoder: Encoder
) -> None:
    record = request_to_record(complete("train", encoder, CLOSED))
    first, again = (answer_record(bank, record) for _ in range(2))
    assert [item.deflate() for item in first.values()] == [item.deflate() for item in again.values()]
    answer_record(bank, request_to_record(complete("train", encoder, CLOSED, instance="other", acknowledged=1)))
    answer_record(bank, request_to_record(complete("evaluate", encoder, CLOSED, acknowledged=1)))
    refusal = refusal_from_record(answer_record(bank, record))
    assert refusal is not None
    assert "its bytes are gone" in refusal.reason
    assert len(Ledger(bank / "ledger.db").mechanisms()) == 2


def test_a_request_for_another_banks_instance_folder_changes_nothing_there(bank: Path) -> None:
    other = bank.parent / "bank-02"
    shutil.copytree(bank, other)
    before = sorted(other.rglob("*"))
    fields = dict(request_to_record(asking(OPEN, "join"))["fraudfl"]) | {"instance": "../../bank-02"}
    refusal = refusal_from_record(answer_record(bank, RecordDict({"fraudfl": ConfigRecord(fields)})))
    assert refusal is not None
    assert "'../../bank-02', expected letters, digits" in refusal.reason
    assert sorted(other.rglob("*")) == before


def test_refusals_are_in_the_process_log_at_the_bank(bank: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        refusal_of(bank, asking(OPEN, "sketch"))
    assert f"refused: plan {OPEN.hash[:12]} was never offered here" in caplog.text
