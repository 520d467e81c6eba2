"""The bank's Flower client: every message gets an answer, and errors tell nobody what a row holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from memory_fleet import INSTANCE, make_banks, tiny_config

from bank_nodes import client_app
from bank_nodes.answers import answering
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.folder import bank_paths
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.protocols import Kind, Refusal, Request
from fraudfl.wire import (
    WIRE_VERSION,
    bank_from_record,
    hello_to_record,
    refusal_from_record,
    reply_from_record,
    request_to_record,
)

CONFIG = tiny_config(banks=2)
PLAN: Plan = make_plan(CONFIG, CONFIG.phases[0], GENERATED_CONTRACT)
SECRET = "Jane Roe 4929-1111"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    roster = tmp_path / "coordinator" / "phases" / "pilot" / "roster.json"
    roster.parent.mkdir(parents=True)
    roster.write_text(json.dumps({"banks": [path.name for path in bank_paths(make_banks(tmp_path, CONFIG))]}))
    return tmp_path


def send(workspace: Path, content: RecordDict, node: int = 0) -> RecordDict:
    """Hand a message to the client as Flower does, and take its answer's content."""
    metadata = Metadata(
        run_id=1,
        message_id="m",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="",
        created_at=0.0,
        ttl=1e9,
        message_type="query",
    )
    context = Context(
        run_id=1,
        node_id=2,
        node_config={"partition-id": node},
        state=RecordDict(),
        run_config={"workspace": str(workspace), "phase": "pilot"},
    )
    answer: Message = client_app.app(make_message(metadata=metadata, content=content), context)
    return answer.content


def ask(workspace: Path, kind: Kind, **facts: Any) -> RecordDict:
    cohort = hashlib.sha256(b"x").hexdigest()
    usual = {"plan_hash": PLAN.hash, "instance": INSTANCE, "round": 0, "attempt": 1, "cohort": cohort}
    return send(workspace, request_to_record(Request(kind=kind, **(usual | facts))))


def test_nodes_are_banks_in_order_of_id_and_say_so(workspace: Path) -> None:
    (workspace / "banks" / "a-stray-folder").mkdir()
    said = [bank_from_record(send(workspace, hello_to_record(), node)) for node in (0, 1)]
    assert said == ["bank-01", "bank-02"]


def test_a_question_is_answered_through_the_gate(workspace: Path) -> None:
    reply = reply_from_record(ask(workspace, "join", payloads={"plan": PLAN.canonical_json()}))
    assert (reply.bank, reply.kind) == ("bank-01", "join")
    assert set(reply_from_record(ask(workspace, "sketch")).payloads) == {"sketch"}


def test_a_refusal_says_which_error_and_why(workspace: Path) -> None:
    assert refusal_from_record(ask(workspace, "sketch")) == Refusal(
        bank="bank-01",
        reason=f"ReleaseRefused: plan {PLAN.hash[:12]} was never offered here; join it first",
        code="refused",
    )


def test_a_malformed_message_is_refused_with_the_field_named(workspace: Path) -> None:
    content = RecordDict({"fraudfl": ConfigRecord({"wire": WIRE_VERSION, "kind": "train", "plan": b"short"})})
    refusal = refusal_from_record(send(workspace, content))
    assert refusal is not None
    assert refusal.reason == "WireError: field 'plan' must be 32 bytes"


def test_an_unforeseen_errors_message_stays_at_the_bank(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(answering, "reply_to", fail)
    refusal = refusal_from_record(ask(workspace, "sketch"))
    assert refusal == Refusal(bank="bank-01", reason="unforeseen KeyError; the bank's errors.log has the details")
    assert SECRET in (workspace / "banks" / "bank-01" / "errors.log").read_text()


def test_what_is_wrong_with_a_banks_data_is_not_quoted_to_the_coordinator(workspace: Path) -> None:
    ask(workspace, "join", payloads={"plan": PLAN.canonical_json()})
    path = workspace / "banks" / "bank-01" / "transactions.parquet"
    path.write_bytes(b"PAR1" + SECRET.encode())
    refusal = refusal_from_record(ask(workspace, "sketch"))
    reason = "SourceError in this bank's data; the bank's errors.log has the details"
    assert refusal == Refusal(bank="bank-01", reason=reason)


def test_a_column_that_went_missing_is_a_refusal_without_values(workspace: Path) -> None:
    ask(workspace, "join", payloads={"plan": PLAN.canonical_json()})
    path = workspace / "banks" / "bank-01" / "transactions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "transaction_id", pa.array([SECRET] * len(table))).drop(["amount"]), path)
    refusal = refusal_from_record(ask(workspace, "sketch"))
    assert refusal is not None
    assert SECRET not in refusal.reason
