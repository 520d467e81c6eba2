"""The link: who may connect, runs that never stay open, and replies that are whole and nobody else's.

What of Flower it stands on is named, part by part, in `tests/bank_nodes/node/test_connection.py`.
"""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flower_town import BankNode
from flwr.app import ConfigRecord, Error, Message, Metadata, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink.servicer.fleet import fleet_handlers
from google.protobuf.message import Message as ProtobufMessage

from fraudfl.errors import ConfigError
from fraudfl.trust.keys import PrivateKey, new_key
from server.deployment.link import FLEET, Link

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")

PRIVATE: dict[str, PrivateKey] = {bank: new_key() for bank in ("east", "north", "south")}
KEYS = {
    bank: key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for bank, key in PRIVATE.items()
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Link:
    return Link(str(tmp_path_factory.mktemp("link") / "flower.db"))


@pytest.fixture
def link(shared: Link) -> Link:
    shared.admit({})
    return shared


@pytest.fixture
def nodes(link: Link) -> dict[str, BankNode]:
    made = {bank: BankNode(link, bank, node) for bank, node in link.admit(KEYS).items()}
    for node in made.values():
        node.connect()
    return made


@pytest.fixture
def grid(link: Link, nodes: dict[str, BankNode]) -> Iterator[Any]:
    with link.run() as grid:
        yield grid


# Who may connect.


def test_banks_are_added_and_removed_and_the_others_keep_their_nodes(link: Link) -> None:
    first = link.admit({bank: KEYS[bank] for bank in ("north", "south")})
    assert len(set(first.values())) == 2
    second = link.admit({bank: KEYS[bank] for bank in ("east", "north")})
    assert second["north"] == first["north"]
    assert second["east"] not in first.values()
    assert link.admit(dict(reversed(KEYS.items()))) == second | {"south": first["south"]}


def test_nodes_survive_the_coordinator(tmp_path: Path) -> None:
    path = str(tmp_path / "flower.db")
    before = Link(path).admit(KEYS)
    again = Link(path)
    assert again.admit(KEYS) == before
    del before["south"]
    assert again.admit({bank: KEYS[bank] for bank in before}) == before
    assert Link(path).admit({bank: KEYS[bank] for bank in before}) == before


def test_another_key_of_the_same_bank_is_another_node(link: Link) -> None:
    before = link.admit({"north": KEYS["north"]})
    assert link.admit({"north": KEYS["south"]})["north"] != before["north"]


def activate(link: Link, bank: str) -> int:
    request = ActivateNodeRequest(public_key=KEYS[bank], heartbeat_interval=10)
    return called(link, bank, "activate-node", request)


def called(link: Link, bank: str, name: str, request: ProtobufMessage) -> int:
    """Status of one signed call of the Fleet API."""
    moment = now().isoformat()
    headers = {
        FLEET_HTTP_PUBLIC_KEY_HEADER: base64.b64encode(KEYS[bank]).decode(),
        TIMESTAMP_HEADER: moment,
        FLEET_HTTP_SIGNATURE_HEADER: base64.b64encode(sign_message(PRIVATE[bank], moment.encode())).decode(),
        "content-type": PROTOBUF_MEDIA_TYPE,
        "accept": PROTOBUF_MEDIA_TYPE,
    }

    async def call() -> int:
        transport = httpx.ASGITransport(app=link.fleet_app())
        async with httpx.AsyncClient(transport=transport, base_url="https://coordinator") as client:
            answer = await client.post(FLEET + name, headers=headers, content=request.SerializeToString())
            return answer.status_code

    return asyncio.run(call())


def test_a_removed_key_can_no_longer_connect_until_it_is_admitted_again_as_the_same_node(link: Link) -> None:
    node = link.admit({"north": KEYS["north"]})["north"]
    assert activate(link, "north") == 200
    assert node in link.present()
    link.admit({"south": KEYS["south"]})
    assert node not in link.present()
    assert 400 <= activate(link, "north") < 500
    assert link.admit(KEYS)["north"] == node
    assert activate(link, "north") == 200
    assert node in link.present()


def test_a_bank_that_connects_anew_has_another_stamp(link: Link, nodes: dict[str, BankNode]) -> None:
    node = nodes["north"].node
    before = link.present()[node]
    assert link.present()[node] == before
    nodes["north"].restart()
    assert link.present()[node] > before
    nodes["north"].leave()
    assert node not in link.present()


@pytest.mark.parametrize("url", ["postgresql://coordinator@db/flower", "postgresql+psycopg://db/x", "mysql://db/x"])
def test_a_database_that_flower_does_not_support_is_refused_with_advice(url: str) -> None:
    with pytest.raises(ConfigError, match=r"coordinator\.database.*SQLite only.*mlflow\.tracking_uri"):
        Link(url)


def test_an_sqlite_url_is_a_file(tmp_path: Path) -> None:
    Link(f"sqlite:///{tmp_path / 'by-url.db'}").admit(KEYS)
    assert (tmp_path / "by-url.db").exists()


# Runs.


def ask(grid: Any, node: BankNode) -> str:
    content = RecordDict({"question": ConfigRecord({"x": 1})})
    (asked,) = grid.push_messages([Message(content, node.node, "query", ttl=60)])
    return str(asked)


def test_a_run_that_a_crash_left_open_is_closed_before_the_next(tmp_path: Path) -> None:
    path = str(tmp_path / "flower.db")
    crashed = Link(path)
    left = crashed.run()
    run_id = left.__enter__().run.run_id
    assert open_runs(crashed) == [run_id]
    after = Link(path)
    with after.run() as grid:
        assert open_runs(after) == [grid.run.run_id] != [run_id]
    assert open_runs(after) == []


def test_a_run_is_closed_also_when_the_phase_fails_in_it(link: Link) -> None:
    with pytest.raises(ZeroDivisionError), link.run():
        raise ZeroDivisionError
    assert open_runs(link) == []


def open_runs(link: Link) -> list[int]:
    return [run.run_id for run in link.state.get_run_info(statuses=["pending", "starting", "running"])]


# Replies.


def reply_to(asked: str, grid: Any, node: BankNode, size: int = 100) -> Message:
    """What an honest bank would say to a question, as its daemon builds it."""
    # Asked for 60 seconds by `ask`, some while ago.
    metadata = Metadata(grid.run.run_id, asked, 1, node.node, "", "", now().timestamp(), 40.0, "query", grid_task(grid))
    question = Message(metadata=metadata, content=RecordDict())  # type: ignore[call-overload]
    return Message(RecordDict({"answer": ConfigRecord({"bytes": bytes(size)})}), reply_to=question)


def grid_task(grid: Any) -> int:
    return int(grid.run.primary_task_id)


def push(link: Link, node: BankNode, head: Message, body: Any = None) -> list[Callable[[], object]]:
    """Announce a reply whose objects are those of `body`; returns what pushes each object."""
    body = head if body is None else body
    with no_object_id_recompute():
        name, tree = body.object_id, get_object_tree(body)
        objects = {name: item.deflate() for name, item in get_all_nested_objects(body).items()}
    return push_objects(link, node, head, (name, tree, objects))


def push_objects(
    link: Link, node: BankNode, head: Message, body: tuple[str, ObjectTree, dict[str, bytes]]
) -> list[Callable[[], object]]:
    name, tree, objects = body
    head.metadata.__dict__["_message_id"] = name
    request = PushMessagesRequest(
        node=Node(node_id=node.node),
        messages_list=[message_to_proto(remove_content_from_message(head))],
        message_object_trees=[tree],
    )
    pushed = fleet_handlers.push_messages(request, link.state)
    facts = {"node": Node(node_id=node.node), "run_id": head.metadata.run_id, "session_id": pushed.session_id}
    return [
        lambda name=name: fleet_handlers.push_object(
            PushObjectRequest(object_id=name, object_content=objects[name], **facts), link.state
        )
        for name in pushed.objects_to_push
    ]


def test_a_reply_is_returned_when_its_last_object_is_there_and_once(
    link: Link, grid: Any, nodes: dict[str, BankNode]
) -> None:
    asked = ask(grid, nodes["north"])
    pushes = push(link, nodes["north"], reply_to(asked, grid, nodes["north"], 5000))
    assert len(pushes) == 3
    for one in pushes:
        assert grid.pull_messages([asked]) == []
        one()
    (reply,) = grid.pull_messages([asked])
    assert reply.content["answer"]["bytes"] == bytes(5000)
    assert (reply.metadata.src_node_id, reply.metadata.reply_to_message_id) == (nodes["north"].node, asked)


def test_a_half_pushed_reply_does_not_hold_up_another_banks(link: Link, grid: Any, nodes: dict[str, BankNode]) -> None:
    slow, quick = ask(grid, nodes["north"]), ask(grid, nodes["south"])
    waiting = push(link, nodes["north"], reply_to(slow, grid, nodes["north"]))
    for one in push(link, nodes["south"], reply_to(quick, grid, nodes["south"])):
        one()
    (reply,) = grid.pull_messages([slow, quick])
    assert reply.metadata.reply_to_message_id == quick
    for one in waiting:
        one()
    (reply,) = grid.pull_messages([slow])
    assert reply.metadata.reply_to_message_id == slow


def test_a_reply_in_another_banks_name_is_refused_at_the_door(
    link: Link, grid: Any, nodes: dict[str, BankNode]
) -> None:
    asked = ask(grid, nodes["north"])
    forged = reply_to(asked, grid, nodes["north"])
    forged.metadata.__dict__["_message_id"] = forged.object_id
    request = PushMessagesRequest(
        node=Node(node_id=nodes["south"].node),
        messages_list=[message_to_proto(remove_content_from_message(forged))],
        message_object_trees=[get_object_tree(forged)],
    )
    assert called(link, "south", "push-messages", request) == 403
    own = PushMessagesRequest()
    own.CopyFrom(request)
    own.node.node_id = nodes["north"].node
    assert called(link, "south", "push-messages", own) == 401
    assert called(link, "north", "push-messages", own) == 200


@pytest.mark.parametrize("lie", ["_src_node_id", "_reply_to_message_id", "_run_id"])
def test_a_reply_that_names_another_bank_question_or_run_inside_than_outside_is_an_error_of_its_sender(
    link: Link, grid: Any, nodes: dict[str, BankNode], lie: str
) -> None:
    asked, others = ask(grid, nodes["south"]), ask(grid, nodes["north"])
    honest, forged = (reply_to(asked, grid, nodes["south"]) for _ in range(2))
    forged.metadata.__dict__[lie] = {"_src_node_id": nodes["north"].node, "_reply_to_message_id": others}.get(lie, 5)
    for one in push(link, nodes["south"], honest, forged):
        one()
    assert_an_error_of(grid.pull_messages([asked, others]), asked, nodes["south"], "names another sender")


def assert_an_error_of(replies: list[Message], asked: str, node: BankNode, reason: str) -> None:
    (reply,) = replies
    assert (reply.metadata.src_node_id, reply.metadata.reply_to_message_id) == (node.node, asked)
    assert reply.has_error()
    assert reason in reply.error.reason


def test_a_reply_that_is_no_message_is_an_error_of_its_sender(
    link: Link, grid: Any, nodes: dict[str, BankNode]
) -> None:
    asked = ask(grid, nodes["south"])
    for one in push(link, nodes["south"], reply_to(asked, grid, nodes["south"]), ConfigRecord({"x": 1})):
        one()
    assert_an_error_of(grid.pull_messages([asked]), asked, nodes["south"], "found ConfigRecord")


def test_an_error_that_a_bank_sends_stays_one(link: Link, grid: Any, nodes: dict[str, BankNode]) -> None:
    asked = ask(grid, nodes["south"])
    honest = reply_to(asked, grid, nodes["south"])
    error = Message(Error(7, "its reason"), metadata=honest.metadata)  # type: ignore[call-overload]
    for one in push(link, nodes["south"], error):
        one()
    assert_an_error_of(grid.pull_messages([asked]), asked, nodes["south"], "its reason")


# Waiting.


def test_waiting_ends_when_something_arrives_and_otherwise_in_time(link: Link) -> None:
    link.wait(0.0)
    threading.Timer(0.1, link.notice).start()
    began = time.monotonic()
    link.wait(20.0)
    assert time.monotonic() - began < 10.0
    began = time.monotonic()
    link.wait(0.2)
    assert time.monotonic() - began >= 0.19
