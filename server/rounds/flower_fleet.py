"""The fleet on Flower's grid: messages out, replies in as they come, and nobody waited for beyond the deadline."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fraudfl.errors import FraudflError, RoundError
from fraudfl.protocols import Answer, Refused, Request
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
LOOK_SECONDS = 0.5
GATHER_SECONDS = 60.0
GREET_SECONDS = 0.2
"""Time to gather that each bank adds."""
AT_ONCE = max(32, 16 * (os.cpu_count() or 1))
"""Questions under way at once in simulation, where so few banks work at once as there are cores: Flower's runtime looks
through all of them for each node, and all of them take memory."""
LATE_SECONDS = 3600.0


@dataclass(frozen=True)
class Presence:
    """What a deployment knows of its nodes, and simulation need not ask.

    Attributes:
        present: Ids of connected nodes, each with the time at which it connected last.
        wait: Waits until something arrived, at most so many seconds; may raise to end the phase.
    """

    present: Callable[[], Mapping[int, str]]
    wait: Callable[[float], None]


@dataclass(frozen=True)
class _Sent:
    """A message under way: what it asks of whom, its size, and when that bank had connected."""

    bank: str
    request: Request
    size: int
    connected: str


class FlowerFleet:
    """Banks behind Flower nodes."""

    def __init__(
        self,
        grid: Grid,
        nodes: Mapping[str, int],
        spent: Mapping[str, tuple[int, int]] | None = None,
        presence: Presence | None = None,
        at_once: int | None = None,
    ) -> None:
        """Ask through `grid`.

        Args:
            nodes: Bank id to Flower's node id.
            spent: Bank id to the bytes that finding it has cost.
            presence: Who is connected; without it every node counts as there.
            at_once: Most questions under way at once; None asks all banks at the same time.
        """
        self._grid = grid
        self._nodes = dict(sorted(nodes.items()))
        self._spent = dict(spent or {})
        self._presence = presence
        self._at_once = at_once
        self._overdue: dict[str, _Sent] = {}

    @classmethod
    def discover(cls, grid: Grid, count: int) -> FlowerFleet:
        """Wait for `count` simulated nodes and ask each which bank it is: Flower's node ids say nothing.

        Raises:
            RoundError: when fewer are there, or answer, in time; or two say they are the same bank.
        """
        within = GATHER_SECONDS + GREET_SECONDS * count
        ends = time.monotonic() + within
        while len(nodes := list(grid.get_node_ids())) < count and time.monotonic() < ends:
            time.sleep(POLL_SECONDS)
        if len(nodes) < count:
            raise RoundError(f"{len(nodes)} banks are there within {within:g} s, expected {count}")
        asked: dict[str, tuple[int, int]] = {}
        banks, spent = {}, {}
        while (asked or nodes) and time.monotonic() < ends:
            while nodes and len(asked) < AT_ONCE:
                message = Message(hello_to_record(), node := nodes.pop(), MESSAGE_TYPE, ttl=within)
                asked |= dict.fromkeys(grid.push_messages([message]), (node, serialised_size(message)))
            for reply in grid.pull_messages(list(asked)):
                node, size = asked.pop(reply.metadata.reply_to_message_id)
                if reply.has_error():
                    raise RoundError(f"a node does not say which bank it is: {reply.error.reason}")
                bank = bank_from_record(reply.content)
                if bank in banks:
                    raise RoundError(f"two nodes say that they are bank {bank!r}")
                banks[bank], spent[bank] = node, (size, serialised_size(reply))
            time.sleep(POLL_SECONDS)
        if len(banks) != count:
            raise RoundError(f"{len(banks)} banks said who they are within {within:g} s, expected {count}")
        return cls(grid, banks, spent, at_once=AT_ONCE)

    def overhead(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (down, up) per bank that finding out who is there has cost."""
        return self._spent

    def banks(self) -> tuple[str, ...]:
        """Ids of the banks, sorted."""
        return tuple(self._nodes)

    def present(self) -> tuple[str, ...]:
        """Ids of the banks that are connected; all, where nobody keeps track."""
        present = self._present()
        return tuple(bank for bank, node in self._nodes.items() if present is None or node in present)

    def pause(self, seconds: float) -> None:
        """Let time pass; raises when the phase is to end."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self._wait(min(left, LOOK_SECONDS))

    def ask(self, requests: Mapping[str, Request], *, deadline: float) -> Iterator[Answer]:
        """Send each bank its request and yield each answer as it comes."""
        sent: dict[str, _Sent] = {}
        waiting = deque(requests)
        ends = look = time.monotonic()
        ends += deadline
        while (waiting or sent) and time.monotonic() < ends:
            while waiting and len(sent) < (self._at_once or len(requests)):
                bank = waiting.popleft()
                if not self._reach(bank, requests[bank], ends - time.monotonic(), sent):
                    yield _away(bank, 0)
            for reply in self._grid.pull_messages(list(sent)):
                under_way = sent.pop(reply.metadata.reply_to_message_id)
                if self._broken(reply):
                    # Its connection broke half-way: the same question again has the same answer.
                    if not self._send(under_way.bank, under_way.request, ends - time.monotonic(), sent):
                        yield _away(under_way.bank, under_way.size)
                    continue
                yield _answer(under_way.bank, reply, under_way.size)
            if time.monotonic() - look > LOOK_SECONDS:
                look = time.monotonic()
                self._send_again(sent, ends - look)
            if sent:
                self._wait(POLL_SECONDS)
        self._overdue |= sent
        for bank in waiting:
            yield Answer(bank=bank, reply=None, reason=f"not asked within {deadline:g} s", code="silent")
        for under_way in sent.values():
            reason = f"no answer within {deadline:g} s"
            yield Answer(bank=under_way.bank, reply=None, reason=reason, code="silent", bytes_down=under_way.size)

    def late(self) -> Sequence[tuple[Request, Answer]]:
        """Answers that came after their deadline, with the questions; each once."""
        if not self._overdue:
            return []
        found = []
        for reply in self._grid.pull_messages(list(self._overdue)):
            was = self._overdue.pop(reply.metadata.reply_to_message_id)
            if not reply.has_error():
                # The question's bytes were counted when it was asked.
                found.append((was.request, _answer(was.bank, reply, 0)))
        return found

    def _present(self) -> Mapping[int, str] | None:
        return None if self._presence is None else self._presence.present()

    def _wait(self, seconds: float) -> None:
        if self._presence is None:
            time.sleep(seconds)
        else:
            self._presence.wait(seconds)

    def _broken(self, reply: Message) -> bool:
        """Whether Flower lost the question or the reply, where a bank may have connected anew."""
        unavailable = reply.has_error() and reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE
        return unavailable and self._presence is not None

    def _reach(self, bank: str, request: Request, deadline: float, sent: dict[str, _Sent]) -> bool:
        """Send to a bank that is there; returns whether it is."""
        present = self._present()
        gone = present is not None and self._nodes[bank] not in present
        return not gone and self._send(bank, request, deadline, sent)

    def _send(self, bank: str, request: Request, deadline: float, sent: dict[str, _Sent]) -> bool:
        """Push one question; returns whether Flower took it, which it does not for a node that was deleted."""
        message = Message(request_to_record(request), self._nodes[bank], MESSAGE_TYPE, ttl=deadline + LATE_SECONDS)
        connected = (self._present() or {}).get(self._nodes[bank], "")
        under_way = _Sent(bank, request, serialised_size(message), connected)
        pushed = [name for name in self._grid.push_messages([message]) if name]
        sent |= dict.fromkeys(pushed, under_way)
        return bool(pushed)

    def _send_again(self, sent: dict[str, _Sent], left: float) -> None:
        """A bank that connected anew since it was asked may have lost the question."""
        present = self._present()
        if present is None:
            return
        for name, under_way in list(sent.items()):
            connected = present.get(self._nodes[under_way.bank])
            if connected is None or connected == under_way.connected:
                continue
            if self._send(under_way.bank, under_way.request, left, sent):
                del sent[name]


def _away(bank: str, bytes_down: int) -> Answer:
    return Answer(bank=bank, reply=None, reason="not connected", code="away", bytes_down=bytes_down)


def _answer(bank: str, message: Message, bytes_down: int) -> Answer:
    size = serialised_size(message)
    if message.has_error():
        code: Refused = "away" if message.error.code == ErrorCode.NODE_UNAVAILABLE else "refused"
        reason = message.error.reason or "no reason given"
        return Answer(bank=bank, reply=None, reason=reason, code=code, bytes_down=bytes_down, bytes_up=size)
    try:
        refusal = refusal_from_record(message.content)
        if refusal is not None:
            return Answer(
                bank=bank,
                reply=None,
                reason=refusal.reason,
                code=refusal.code,
                opens_at=refusal.opens_at,
                bytes_down=bytes_down,
                bytes_up=size,
            )
        reply = reply_from_record(message.content)
    except FraudflError as error:
        return Answer(bank=bank, reply=None, reason=str(error), bytes_down=bytes_down, bytes_up=size)
    return Answer(bank=bank, reply=reply, bytes_down=bytes_down, bytes_up=size)
