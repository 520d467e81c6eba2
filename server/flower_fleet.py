"""The fleet on Flower's grid: messages out, replies in as they come, and nobody waited for beyond the deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fraudfl.errors import FraudflError, RoundError
from fraudfl.protocols import Answer, Request
from fraudfl.wire import (
    MESSAGE_TYPE,
    bank_from_record,
    hello_to_record,
    refusal_from_record,
    reply_from_record,
    request_to_record,
    serialised_size,
)

POLL_SECONDS = 0.02
GATHER_SECONDS = 60.0


class FlowerFleet:
    """Banks behind Flower nodes."""

    def __init__(self, grid: Grid, nodes: Mapping[str, int], spent: Mapping[str, tuple[int, int]]) -> None:
        """Ask through `grid`; `nodes` maps bank ids to Flower's node ids, `spent` to bytes of finding them."""
        self._grid = grid
        self._nodes = dict(sorted(nodes.items()))
        self._spent = dict(spent)

    @classmethod
    def discover(cls, grid: Grid, count: int) -> FlowerFleet:
        """Wait for `count` nodes and ask each which bank it is: Flower's node ids say nothing.

        Raises:
            RoundError: when fewer are there, or answer, in time; or two say they are the same bank.
        """
        ends = time.monotonic() + GATHER_SECONDS
        while len(nodes := list(grid.get_node_ids())) < count and time.monotonic() < ends:
            time.sleep(POLL_SECONDS)
        fleet = cls(grid, {str(node): node for node in nodes}, {})
        banks, spent = {}, {}
        for node, message, size in fleet._exchange({str(node): hello_to_record() for node in nodes}, GATHER_SECONDS):
            if message is None or message.has_error():
                raise RoundError(f"a node does not say which bank it is: {_reason(message)}")
            bank = bank_from_record(message.content)
            if bank in banks:
                raise RoundError(f"two nodes say that they are bank {bank!r}")
            banks[bank], spent[bank] = int(node), (size, serialised_size(message))
        if len(banks) != count:
            raise RoundError(f"{len(banks)} banks are there within {GATHER_SECONDS:g} s, expected {count}")
        return cls(grid, banks, spent)

    def overhead(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (down, up) per bank that finding out who is there has cost."""
        return self._spent

    def banks(self) -> tuple[str, ...]:
        """Ids of the banks, sorted."""
        return tuple(self._nodes)

    def ask(self, requests: Mapping[str, Request], *, deadline: float) -> Iterator[Answer]:
        """Send each bank its request and yield each answer as it comes."""
        records = {bank: request_to_record(request) for bank, request in requests.items()}
        for bank, message, size in self._exchange(records, deadline):
            if message is None:
                yield Answer(bank=bank, reply=None, reason=f"no answer within {deadline:g} s", bytes_down=size)
            else:
                yield _answer(bank, message, size)

    def _exchange(
        self, records: Mapping[str, RecordDict], deadline: float
    ) -> Iterator[tuple[str, Message | None, int]]:
        """Yield (bank, reply or None, bytes sent) as replies come, silent banks last."""
        sent: dict[str, tuple[str, int]] = {}
        for bank, record in records.items():
            message = Message(record, self._nodes[bank], MESSAGE_TYPE, ttl=deadline + 30)
            size = serialised_size(message)
            sent |= dict.fromkeys(self._grid.push_messages([message]), (bank, size))
        ends = time.monotonic() + deadline
        while sent and time.monotonic() < ends:
            for reply in self._grid.pull_messages(list(sent)):
                bank, size = sent.pop(reply.metadata.reply_to_message_id)
                yield bank, reply, size
            if sent:
                time.sleep(POLL_SECONDS)
        for bank, size in sent.values():
            yield bank, None, size


def _reason(message: Message | None) -> str:
    return "no answer" if message is None else message.error.reason or "no reason given"


def _answer(bank: str, message: Message, bytes_down: int) -> Answer:
    size = serialised_size(message)
    if message.has_error():
        return Answer(bank=bank, reply=None, reason=_reason(message), bytes_down=bytes_down, bytes_up=size)
    try:
        refusal = refusal_from_record(message.content)
        if refusal is not None:
            return Answer(bank=bank, reply=None, reason=refusal[1], bytes_down=bytes_down, bytes_up=size)
        reply = reply_from_record(message.content)
    except FraudflError as error:
        return Answer(bank=bank, reply=None, reason=str(error), bytes_down=bytes_down, bytes_up=size)
    return Answer(bank=bank, reply=reply, bytes_down=bytes_down, bytes_up=size)
