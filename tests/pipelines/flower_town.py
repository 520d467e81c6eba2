"""A town of banks on Flower's own state: daemons as the Fleet API sees them, without the network in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.superlink.servicer.fleet import fleet_handlers
from memory_fleet import asking, plan_of

from fraudfl.protocols import Answer, Reply, Request
from fraudfl.trust.keys import new_key
from fraudfl.wire import bank_to_record, is_hello, reply_to_record, request_from_record, serialised_size
from server.deployment.link import Link
from server.rounds.flower_fleet import FlowerFleet, Presence

OPEN = plan_of()
BANKS = ("bank-01", "bank-02", "bank-03")
DEADLINE = 60.0
DATA = bytes(range(256)) * 4


def reply_of(bank: str, request: Request) -> RecordDict:
    reply = Reply(bank=bank, kind=request.kind, key=request.key, entry=3, payloads={"update": DATA})
    return reply_to_record(reply)


@dataclass
class BankNode:
    """One bank's daemon, as Flower's Fleet API sees it, without the network in between.

    Attributes:
        says: What it answers to a request; None while it works on.
        got: Requests that it has received, in order.
    """

    link: Link
    bank: str
    node: int
    says: Callable[[str, Request], RecordDict | None] = reply_of
    got: list[Request] = field(default_factory=list)
    coming: list[tuple[Metadata, list[str]]] = field(default_factory=list)
    working: list[Message] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def connect(self) -> None:
        assert self.link.state.activate_node(self.node, 30)

    def leave(self) -> None:
        assert self.link.state.deactivate_node(self.node)

    def restart(self) -> None:
        """Die and come back, with all that was under way forgotten."""
        self.coming.clear()
        self.working.clear()
        self.leave()
        self.connect()

    def work(self) -> None:
        """Take what has come, and answer what can be answered."""
        self.receive()
        for asked in list(self.working):
            record = self._answer(asked)
            if record is not None:
                self.working.remove(asked)
                self.send(asked, record)

    def _answer(self, asked: Message) -> RecordDict | None:
        if is_hello(asked.content):
            return bank_to_record(self.bank)
        return self.says(self.bank, request_from_record(asked.content))

    def receive(self) -> None:
        """Take what has come whole; a message is announced before its objects are there."""
        state = self.link.state
        request = PullMessagesRequest(node=Node(node_id=self.node))
        pulled = fleet_handlers.pull_messages(request, state, state.object_store)
        for head, tree in zip(pulled.messages_list, pulled.message_object_trees, strict=True):
            names = [item.object_id for item in iterate_object_tree(tree)]
            self.coming.append((message_from_proto(head).metadata, names))
        for metadata, names in list(self.coming):
            contents = {name: data for name in names if (data := state.get_object(metadata.run_id, name))}
            if len(contents) < len(set(names)):
                continue
            self.coming.remove((metadata, names))
            state.object_store.delete(metadata.message_id)
            message = cast(Message, inflate_object_from_contents(metadata.message_id, contents))
            message.metadata.__dict__["_message_id"] = metadata.message_id
            self.working.append(message)
            if not is_hello(message.content):
                self.got.append(request_from_record(message.content))

    def send(self, asked: Message, said: RecordDict | Error) -> None:
        for push in self.begin_to_send(asked, said):
            push()

    def begin_to_send(self, asked: Message, said: RecordDict | Error) -> list[Callable[[], object]]:
        """Announce a reply; returns what pushes each of its objects."""
        reply = Message(said, reply_to=asked)
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            tree = get_object_tree(reply)
            objects = {name: item.deflate() for name, item in get_all_nested_objects(reply).items()}
        self.sizes.append(serialised_size(reply))
        node = Node(node_id=self.node)
        head = message_to_proto(remove_content_from_message(reply) if not reply.has_error() else reply)
        pushed = fleet_handlers.push_messages(
            PushMessagesRequest(node=node, messages_list=[head], message_object_trees=[tree]), self.link.state
        )
        facts = {"node": node, "run_id": reply.metadata.run_id, "session_id": pushed.session_id}
        return [
            lambda name=name: fleet_handlers.push_object(
                PushObjectRequest(object_id=name, object_content=objects[name], **facts), self.link.state
            )
            for name in pushed.objects_to_push
        ]


@dataclass
class Town:
    """Three banks on one link; whenever the fleet waits, what `steps` say happens, and then the banks work.

    It also stands in for the `time` module, so that a deadline passes when a test says so.
    """

    link: Link
    grid: Grid
    nodes: Mapping[str, BankNode]
    keys: Mapping[str, bytes]
    steps: list[Callable[[], object]] = field(default_factory=list)
    ahead: float = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def pass_deadline(self) -> None:
        """As when much time has passed."""
        self.ahead += 10_000.0

    def wait(self, _seconds: float) -> None:
        if self.steps:
            self.steps.pop(0)()
        for node in self.nodes.values():
            node.work()

    def fleet(self) -> FlowerFleet:
        ids = {bank: node.node for bank, node in self.nodes.items()}
        return FlowerFleet(self.grid, ids, presence=Presence(self.link.present, self.wait))

    def ask(self, fleet: FlowerFleet, *banks: str, **facts: Any) -> dict[str, Answer]:
        """Ask these banks, or all; each must be answered for exactly once."""
        wanted = banks or BANKS
        answers = list(fleet.ask(dict.fromkeys(wanted, asking(OPEN, **facts)), deadline=DEADLINE))
        assert sorted(answer.bank for answer in answers) == sorted(wanted)
        return {answer.bank: answer for answer in answers}


def public_keys() -> dict[str, bytes]:
    """A fresh public key for each bank, PEM."""
    spelling = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {bank: new_key().public_key().public_bytes(*spelling) for bank in BANKS}
