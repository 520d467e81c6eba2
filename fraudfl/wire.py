"""Requests and replies as Flower records, for both sides, validated when they are read.

A message holds one ConfigRecord, since each Flower object costs one exchange.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute

from fraudfl.errors import WireError
from fraudfl.protocols import INSTANCE, KINDS, REFUSED, SUMMED, Kind, Refusal, Refused, Reply, Request, Scalar
from fraudfl.transfer.squeeze import expand, squeeze

RECORD = "fraudfl"
MESSAGE_TYPE = "query"
WIRE_VERSION = 2
MAX_PAYLOAD_BYTES = 256 * 2**20
_VALUE, _PAYLOAD = "v.", "p."


def request_to_record(request: Request) -> RecordDict:
    """One request as a Flower record."""
    fields: dict[str, Any] = {
        "wire": WIRE_VERSION,
        "kind": request.kind,
        "plan": bytes.fromhex(request.plan_hash),
        "instance": request.instance,
        "round": request.round,
        "attempt": request.attempt,
        "cohort": bytes.fromhex(request.cohort),
        "about": request.about,
        "ack": request.acknowledged,
        "seen": request.seen,
        "seen-hash": bytes.fromhex(request.seen_hash),
    }
    return _record(fields, dict(request.values), dict(request.payloads))


def request_from_record(record: RecordDict) -> Request:
    """Read a request; raises WireError naming the field that is wrong."""
    fields = _fields(record)
    return Request(
        kind=_kind(fields),
        plan_hash=_bytes(fields, "plan", 32).hex(),
        instance=_name(fields, "instance"),
        round=_count(fields, "round"),
        attempt=_count(fields, "attempt"),
        cohort=_bytes(fields, "cohort", 32).hex(),
        about=_about(fields),
        acknowledged=_count(fields, "ack"),
        seen=_count(fields, "seen"),
        seen_hash=_hash(fields, "seen-hash"),
        values=_values(fields),
        payloads=_payloads(fields),
    )


def reply_to_record(reply: Reply) -> RecordDict:
    """One reply as a Flower record."""
    fields: dict[str, Any] = {"wire": WIRE_VERSION, "kind": reply.kind, "bank": reply.bank, "key": reply.key}
    fields |= {"entry": reply.entry, "entry-hash": bytes.fromhex(reply.entry_hash)}
    return _record(fields, dict(reply.values), dict(reply.payloads))


def reply_from_record(record: RecordDict) -> Reply:
    """Read a reply; raises WireError naming the field that is wrong."""
    fields = _fields(record)
    return Reply(
        bank=_text(fields, "bank", 128),
        kind=_kind(fields),
        key=_text(fields, "key", 512),
        entry=_count(fields, "entry"),
        entry_hash=_hash(fields, "entry-hash"),
        values=_values(fields),
        payloads=_payloads(fields),
    )


def refusal_to_record(refusal: Refusal) -> RecordDict:
    """Why a bank sends nothing, as a Flower record."""
    fields = {"wire": WIRE_VERSION, "kind": "refusal", "bank": refusal.bank, "reason": refusal.reason[:1000]}
    return _record({**fields, "code": refusal.code, "opens": refusal.opens_at}, {}, {})


def refusal_from_record(record: RecordDict) -> Refusal | None:
    """The refusal in a record, or None when the record is something else."""
    fields = _fields(record)
    if fields.get("kind") != "refusal":
        return None
    code = fields.get("code")
    if code not in REFUSED:
        raise WireError(f"field 'code' is {code!r}, expected one of {', '.join(REFUSED)}")
    return Refusal(
        bank=_text(fields, "bank", 128),
        reason=_text(fields, "reason", 1000),
        code=cast(Refused, code),
        opens_at=_text(fields, "opens", 64),
    )


def hello_to_record() -> RecordDict:
    """Ask a node which bank it is."""
    return _record({"wire": WIRE_VERSION, "kind": "hello"}, {}, {})


def is_hello(record: RecordDict) -> bool:
    """Whether a record asks which bank this is."""
    return _fields(record).get("kind") == "hello"


def bank_to_record(bank: str) -> RecordDict:
    """Say which bank a node is."""
    return _record({"wire": WIRE_VERSION, "kind": "hello", "bank": bank}, {}, {})


def bank_from_record(record: RecordDict) -> str:
    """Read which bank a node is."""
    return _text(_fields(record), "bank", 128)


def serialised_size(message: Message) -> int:
    """Bytes of a message's objects as Flower serialises them, content and metadata."""
    with no_object_id_recompute():
        return sum(len(item.deflate()) for item in get_all_nested_objects(message).values())


def _record(fields: dict[str, Any], values: dict[str, Scalar], payloads: dict[str, bytes]) -> RecordDict:
    fields |= {_VALUE + name: value for name, value in values.items()}
    fields |= {_PAYLOAD + name: _squeezed(data) for name, data in payloads.items()}
    return RecordDict({RECORD: ConfigRecord(fields)})


def _fields(record: RecordDict) -> dict[str, Any]:
    if list(record.keys()) != [RECORD] or not isinstance(record[RECORD], ConfigRecord):
        raise WireError(f"expected one ConfigRecord named {RECORD!r}, found {sorted(record.keys())}")
    fields = dict(cast(ConfigRecord, record[RECORD]))
    if fields.get("wire") != WIRE_VERSION:
        raise WireError(f"wire version {fields.get('wire')!r}, expected {WIRE_VERSION}; both sides need one release")
    return fields


def _kind(fields: dict[str, Any]) -> Kind:
    kind = fields.get("kind")
    if kind not in KINDS:
        raise WireError(f"field 'kind' is {kind!r}, expected one of {', '.join(KINDS)}")
    return cast(Kind, kind)


def _about(fields: dict[str, Any]) -> Kind | Literal[""]:
    about = fields.get("about")
    if about != "" and about not in SUMMED:
        raise WireError(f"field 'about' is {about!r}, expected nothing or one of {', '.join(SUMMED)}")
    return cast("Kind | Literal['']", about)


def _text(fields: dict[str, Any], name: str, longest: int) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise WireError(f"field {name!r} must be text of at most {longest} characters")
    return value


def _name(fields: dict[str, Any], name: str) -> str:
    value = _text(fields, name, 64)
    # It becomes a folder's name at the bank.
    if not INSTANCE.fullmatch(value):
        raise WireError(f"field {name!r} is {value!r}, expected letters, digits, - and _ only")
    return value


def _bytes(fields: dict[str, Any], name: str, size: int) -> bytes:
    value = fields.get(name)
    if not isinstance(value, bytes) or len(value) != size:
        raise WireError(f"field {name!r} must be {size} bytes")
    return value


def _hash(fields: dict[str, Any], name: str) -> str:
    """A hash in hex; empty where there is nothing yet that it would be of."""
    return "" if fields.get(name) == b"" else _bytes(fields, name, 32).hex()


def _count(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise WireError(f"field {name!r} must be a whole number from 0, found {value!r}")
    return value


def _values(fields: dict[str, Any]) -> dict[str, Scalar]:
    values = {name[2:]: value for name, value in fields.items() if name.startswith(_VALUE)}
    for name, value in values.items():
        if not isinstance(value, int | float | str) or isinstance(value, bool):
            raise WireError(f"value {name!r} must be a number or text, found {type(value).__name__}")
    return values


def _payloads(fields: dict[str, Any]) -> dict[str, bytes]:
    payloads = {name[2:]: data for name, data in fields.items() if name.startswith(_PAYLOAD)}
    for name, data in payloads.items():
        if not isinstance(data, bytes) or not 1 <= len(data) <= MAX_PAYLOAD_BYTES:
            raise WireError(f"payload {name!r} must be bytes, at least 1 and at most {MAX_PAYLOAD_BYTES}")
    return {name: expand(data[0], data[1:], limit=MAX_PAYLOAD_BYTES) for name, data in payloads.items()}


def _squeezed(data: bytes) -> bytes:
    """A leading byte that says whether the rest is compressed, and the rest."""
    flag, body = squeeze(data)
    return bytes([flag]) + body
