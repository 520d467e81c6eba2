"""Requests and replies as Flower records: round trips, malformed records, and what we use of Flower's internals."""

from __future__ import annotations

import importlib
import inspect
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import flwr
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from hypothesis import given
from hypothesis import strategies as st

from fraudfl.errors import WireError
from fraudfl.protocols import KINDS, REFUSED, Refusal, Reply, Request
from fraudfl.wire import (
    bank_from_record,
    bank_to_record,
    hello_to_record,
    is_hello,
    refusal_from_record,
    refusal_to_record,
    reply_from_record,
    reply_to_record,
    request_from_record,
    request_to_record,
    serialised_size,
)

NAMES = st.text("abcdefghij_", min_size=1, max_size=8)
VALUES = st.dictionaries(
    NAMES, st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(max_size=20), max_size=4
)
PAYLOADS = st.dictionaries(NAMES, st.binary(max_size=64), max_size=4)
COUNTS = st.integers(0, 2**31 - 1)
HASHES = st.just("") | st.binary(min_size=32, max_size=32).map(bytes.hex)
REQUESTS = st.builds(
    Request,
    kind=st.sampled_from(KINDS),
    plan_hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    instance=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    round=COUNTS,
    attempt=COUNTS,
    cohort=st.binary(min_size=32, max_size=32).map(bytes.hex),
    acknowledged=COUNTS,
    seen=COUNTS,
    seen_hash=HASHES,
    values=VALUES,
    payloads=PAYLOADS,
)
REPLIES = st.builds(
    Reply,
    bank=st.text(max_size=128),
    kind=st.sampled_from(KINDS),
    key=st.text(max_size=512),
    entry=COUNTS,
    entry_hash=HASHES,
    values=VALUES,
    payloads=PAYLOADS,
)
REFUSALS = st.builds(
    Refusal,
    bank=st.text(max_size=128),
    reason=st.text(max_size=1000),
    code=st.sampled_from(REFUSED),
    opens_at=st.just("") | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
)


def over_the_wire(record: RecordDict) -> RecordDict:
    """Through Flower's own serialisation and back."""
    (config,) = (ConfigRecord.inflate(item.deflate()) for item in record.values())
    return RecordDict({"fraudfl": config})


@given(REQUESTS)
def test_a_request_comes_through_as_it_was(request: Request) -> None:
    assert request_from_record(over_the_wire(request_to_record(request))) == request


@given(REPLIES)
def test_a_reply_comes_through_as_it_was(reply: Reply) -> None:
    assert reply_from_record(over_the_wire(reply_to_record(reply))) == reply


@given(REFUSALS)
def test_a_refusal_comes_through_as_it_was(refusal: Refusal) -> None:
    assert refusal_from_record(over_the_wire(refusal_to_record(refusal))) == refusal


GOOD = dict(
    request_to_record(Request(kind="train", plan_hash="00" * 32, instance="abc", round=1, attempt=1, cohort="11" * 32))[
        "fraudfl"
    ]
)
WRONG: list[tuple[str, Any, str]] = [
    ("wire", 3, "wire version 3, expected 2"),
    ("kind", "steal", "field 'kind' is 'steal', expected one of join"),
    ("kind", 3, "field 'kind' is 3"),
    ("plan", b"\x00" * 31, "field 'plan' must be 32 bytes"),
    ("plan", "00" * 32, "field 'plan' must be 32 bytes"),
    ("cohort", b"", "field 'cohort' must be 32 bytes"),
    ("instance", "x" * 65, "field 'instance' must be text of at most 64"),
    ("instance", "../../etc", "field 'instance' is '../../etc', expected letters"),
    ("instance", "", "field 'instance' is ''"),
    ("round", -1, "field 'round' must be a whole number from 0, found -1"),
    ("round", 1.5, "field 'round'"),
    ("round", True, "field 'round'"),
    ("attempt", 2**31, "field 'attempt'"),
    ("ack", "7", "field 'ack'"),
    ("seen", -1, "field 'seen' must be a whole number from 0, found -1"),
    ("seen", 2**31, "field 'seen'"),
    ("seen-hash", "", "field 'seen-hash' must be 32 bytes"),
    ("seen-hash", bytes(31), "field 'seen-hash' must be 32 bytes"),
    ("v.rate", [1.0, 2.0], "value 'rate' must be a number or text, found"),
    ("v.flag", True, "value 'flag'"),
    ("p.update", "text", "payload 'update' must be bytes"),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG)
def test_a_wrong_field_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(WireError, match=message.replace("(", r"\(")):
        request_from_record(RecordDict({"fraudfl": ConfigRecord({**GOOD, field: value})}))


@pytest.mark.parametrize(
    "field", ["wire", "kind", "plan", "instance", "round", "attempt", "cohort", "ack", "seen", "seen-hash"]
)
def test_a_missing_field_is_named(field: str) -> None:
    rest = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(WireError, match=field):
        request_from_record(RecordDict({"fraudfl": ConfigRecord(rest)}))


@pytest.mark.parametrize(
    "record",
    [
        RecordDict(),
        RecordDict({"other": ConfigRecord()}),
        RecordDict({"fraudfl": MetricRecord({"x": 1})}),
        RecordDict({"fraudfl": ConfigRecord(), "extra": ConfigRecord()}),
    ],
)
def test_a_record_of_another_shape_is_refused(record: RecordDict) -> None:
    for read in (request_from_record, reply_from_record, refusal_from_record, bank_from_record, is_hello):
        with pytest.raises(WireError):
            read(record)


GOOD_REPLY = dict(reply_to_record(Reply(bank="bank-01", kind="train", key="k"))["fraudfl"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bank", "b" * 129, "field 'bank' must be text of at most 128"),
        ("kind", "refusal", "field 'kind' is 'refusal'"),
        ("key", b"k", "field 'key' must be text"),
        ("entry", -1, "field 'entry' must be a whole number from 0"),
        ("entry", 1.0, "field 'entry'"),
        ("entry-hash", bytes(33), "field 'entry-hash' must be 32 bytes"),
        ("v.loss", [0.5], "value 'loss' must be a number or text"),
        ("p.update", b"", "payload 'update' must be bytes, at least 1"),
    ],
)
def test_a_wrong_field_of_a_reply_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(WireError, match=message):
        reply_from_record(RecordDict({"fraudfl": ConfigRecord({**GOOD_REPLY, field: value})}))


def test_a_refusal_is_told_from_a_reply_and_cut_to_length() -> None:
    refusal = refusal_from_record(refusal_to_record(Refusal(bank="bank-01", reason="no" * 1000)))
    assert refusal == Refusal(bank="bank-01", reason="no" * 500, code="refused", opens_at="")
    assert refusal_from_record(reply_to_record(Reply(bank="bank-01", kind="train", key="k"))) is None


GOOD_REFUSAL = dict(refusal_to_record(Refusal(bank="bank-01", reason="no"))["fraudfl"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("code", "maybe", "field 'code' is 'maybe', expected one of refused, not-approved, not-now, away, silent"),
        ("code", 7, "field 'code' is 7"),
        ("reason", "n" * 1001, "field 'reason' must be text of at most 1000"),
        ("opens", "0" * 65, "field 'opens' must be text of at most 64"),
        ("bank", 3, "field 'bank' must be text"),
    ],
)
def test_a_wrong_field_of_a_refusal_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(WireError, match=message):
        refusal_from_record(RecordDict({"fraudfl": ConfigRecord({**GOOD_REFUSAL, field: value})}))


@pytest.mark.parametrize("field", ["bank", "reason", "code", "opens"])
def test_a_missing_field_of_a_refusal_is_named(field: str) -> None:
    rest = {name: value for name, value in GOOD_REFUSAL.items() if name != field}
    with pytest.raises(WireError, match=field):
        refusal_from_record(RecordDict({"fraudfl": ConfigRecord(rest)}))


def test_hello_asks_and_tells_which_bank_a_node_is() -> None:
    assert is_hello(hello_to_record())
    assert bank_from_record(bank_to_record("north")) == "north"
    with pytest.raises(WireError, match="'bank'"):
        bank_from_record(hello_to_record())


def asked() -> Message:
    metadata = Metadata(
        run_id=1,
        message_id="m",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="",
        created_at=0.0,
        ttl=1e12,
        message_type="query",
    )
    return make_message(metadata=metadata, content=hello_to_record())


def test_the_size_of_a_message_grows_by_its_payload() -> None:
    sizes = []
    for payload in (b"", random.Random(1).randbytes(1000)):
        request = Request(
            kind="train",
            plan_hash="00" * 32,
            instance="a",
            round=1,
            attempt=1,
            cohort="00" * 32,
            payloads={"x": payload},
        )
        sizes.append(serialised_size(Message(request_to_record(request), reply_to=asked())))
    assert 1000 <= sizes[1] - sizes[0] <= 1020
    assert 100 < sizes[0] < 1000


# What we use of Flower beyond its documented API. When Flower moves one of these, a test here fails by its name.


def test_flower_is_the_version_we_pin() -> None:
    assert flwr.__version__ == "1.41.0"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("flwr.supercore.inflatable.inflatable_object", "get_all_nested_objects"),
        ("flwr.app.message", "make_message"),
        ("flwr.app.metadata", "Metadata"),
        ("flwr.clientapp", "ClientApp"),
        ("flwr.serverapp", "ServerApp"),
        ("flwr.serverapp", "Grid"),
    ],
)
def test_flower_still_has(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_flowers_metadata_still_takes_the_fields_we_fill() -> None:
    fields = {"run_id", "message_id", "src_node_id", "dst_node_id", "reply_to_message_id", "group_id"}
    fields |= {"created_at", "ttl", "message_type"}
    assert fields <= set(inspect.signature(Metadata.__init__).parameters)


@pytest.mark.parametrize("name", ["push_messages", "pull_messages", "get_node_ids"])
def test_flowers_grid_still_has(name: str) -> None:
    from flwr.serverapp import Grid

    assert callable(getattr(Grid, name))


@pytest.mark.parametrize("name", ["FedAvg", "FedAdam", "FedMedian", "FedTrimmedAvg", "Krum"])
def test_flowers_strategies_still_aggregate_from_replies(name: str) -> None:
    strategy = getattr(importlib.import_module("flwr.serverapp.strategy"), name)
    assert list(inspect.signature(strategy.aggregate_train).parameters) == ["self", "server_round", "replies"]


def test_flowers_fedadam_still_keeps_its_moments_where_we_save_them() -> None:
    from flwr.serverapp.strategy import FedAdam

    strategy = FedAdam(eta=0.1)
    assert strategy.m_t is None
    assert strategy.v_t is None
    assert hasattr(strategy, "current_arrays")


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["flower-superlink"], ["--insecure", "--simulation", "--isolation", "--host", "--port"]),
        (["flower-superlink"], ["--disable-runtime-dependency-installation"]),
        (["flwr", "run"], ["--run-config", "--federation-config", "--format"]),
        (["flwr", "list"], ["--format"]),
    ],
)
def test_flowers_commands_still_take_our_options(command: list[str], options: list[str], tmp_path: Path) -> None:
    tool = Path(sys.executable).parent / command[0]
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "FLWR_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    said = subprocess.run([tool, *command[1:], "--help"], capture_output=True, text=True, env=environment, check=True)
    assert [option for option in options if option not in said.stdout] == []
