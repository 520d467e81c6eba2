"""A reply as one block of bytes, so that a redelivery can be the same bytes."""

from __future__ import annotations

import json
import struct

from fraudfl.errors import WireError
from fraudfl.protocols import Reply

_LENGTH = struct.Struct("<I")


def frame(reply: Reply) -> bytes:
    """A JSON header (its length first), then the payloads in the header's order."""
    sizes = [(name, len(data)) for name, data in sorted(reply.payloads.items())]
    facts = {"bank": reply.bank, "kind": reply.kind, "key": reply.key, "values": dict(reply.values), "payloads": sizes}
    header = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(header)), header, *(reply.payloads[name] for name, _ in sizes)])


def unframe(data: bytes) -> Reply:
    """Read what `frame` wrote; raises WireError when it is damaged."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        facts = json.loads(data[_LENGTH.size : _LENGTH.size + length])
        payloads, start = {}, _LENGTH.size + length
        for name, size in facts["payloads"]:
            payloads[name] = data[start : start + size]
            start += size
        reply = Reply(
            bank=facts["bank"], kind=facts["kind"], key=facts["key"], values=facts["values"], payloads=payloads
        )
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise WireError(f"a kept reply is damaged: {error}") from error
    if start != len(data):
        raise WireError(f"a kept reply has {len(data)} bytes, its header says {start}")
    return reply
