"""A budget of bytes, and what a round takes of it as Flower's messages measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flwr.app import RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from memory_fleet import Consortium

from fraudfl.transfer.frame import unframe
from fraudfl.wire import reply_to_record, request_to_record, serialised_size
from pipelines.phase import run_phase


def wire_bytes(record: RecordDict) -> int:
    """As the coordinator measures a message, with ids of the usual lengths."""
    ids = {"run_id": 2**63 - 1, "src_node_id": 2**63, "dst_node_id": 2**63, "created_at": 1.7e9, "ttl": 3600.0}
    names = {"message_id": "ab" * 32, "reply_to_message_id": "ab" * 32, "group_id": "12345", "message_type": "query"}
    return serialised_size(make_message(metadata=Metadata(**ids, **names), content=record))


def test_a_round_takes_no_more_bytes_than_the_plan_allows(consortium: Callable[..., Consortium]) -> None:
    one = consortium(
        codec={"up": "auto", "down": "auto", "max_bytes_per_round": 2700}, baselines=[], rounds=3, evaluate_every=100
    )
    assert one.plan.codec.up == "topk"
    run_phase(one.phase(), ())
    measured = []
    for bank, request in zip(one.fleet.asked_of, one.fleet.asked, strict=True):
        # The first round brings the encoder, and the last has a look.
        if (request.kind, request.round) == ("train", 2):
            reply = replace(unframe(one.fleet.sent[bank, request.key][0]), entry=10**6, entry_hash="ab" * 32)
            signed = replace(request, payloads={**request.payloads, "receipt": bytes(range(250))}, seen=10**6)
            measured.append(wire_bytes(request_to_record(signed)) + wire_bytes(reply_to_record(reply)))
    assert len(measured) == 6
    assert 0.8 * 2700 < max(measured) <= 2700
