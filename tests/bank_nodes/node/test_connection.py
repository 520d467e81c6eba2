"""The bank's connection: every part of Flower that it and the coordinator's link stand on, and a real link over TLS."""

from __future__ import annotations

import ast
import base64
import importlib
import inspect
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from deployment import free_port, wait_until
from google.protobuf.message import Message as ProtobufMessage

from fraudfl.errors import TrustError, WireError
from fraudfl.trust.keys import PrivateKey, new_key
from server.trust.certificates import Hosts
from server.trust.pki import Pki

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")

ROOT = Path(__file__).parents[3]
TOUCHING = (
    "bank_nodes/node/connection.py",
    "server/deployment/link.py",
    "server/deployment/front.py",
    "server/rounds/flower_fleet.py",
)
"""Where Flower's internals are used. They are imported late, so that what an upgrade moved fails by name."""


# What of Flower is used, read from the source that uses it.


@dataclass(frozen=True)
class Imported:
    """One name that a module of ours imports from Flower."""

    source: str
    module: str
    name: str
    alias: str

    def __str__(self) -> str:
        return f"{self.source}:{self.module}.{self.name}"

    def found(self) -> Any:
        # As `from … import …` does, which also finds modules.
        return getattr(__import__(self.module, fromlist=[self.name]), self.name)


def tree_of(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text())


def imported(source: str) -> list[Imported]:
    return [
        Imported(source, node.module, alias.name, alias.asname or alias.name)
        for node in ast.walk(tree_of(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "flwr"
        for alias in node.names
    ]


IMPORTED = [name for source in TOUCHING for name in imported(source)]


def calls(source: str, of: Callable[[ast.expr], str | None]) -> list[tuple[str, ast.Call]]:
    """Every call in a file whose callee `of` names."""
    found = [(of(node.func), node) for node in ast.walk(tree_of(source)) if isinstance(node, ast.Call)]
    return [(name, node) for name, node in found if name is not None]


def shape(call: ast.Call) -> str:
    """A call's arguments as text, so that one parameter stands for every call of that shape."""
    return ",".join(["_"] * len(call.args) + [f"{keyword.arg}=" for keyword in call.keywords])


def assert_takes(callee: Any, call: ast.Call) -> None:
    """The callee's signature, or the message's fields, take what this call gives."""
    names = [keyword.arg for keyword in call.keywords if keyword.arg is not None]
    if inspect.isclass(callee) and issubclass(callee, ProtobufMessage):
        assert set(names) <= set(callee.DESCRIPTOR.fields_by_name)
        return
    inspect.signature(callee).bind(*call.args, **dict.fromkeys(names))


def direct_calls() -> list[tuple[Imported, ast.Call]]:
    found = []
    for source in TOUCHING:
        aliases = {item.alias: item for item in imported(source)}
        named = calls(
            source, lambda func, known=aliases: func.id if isinstance(func, ast.Name) and func.id in known else None
        )
        found += [(aliases[name], call) for name, call in named]
    return found


def state_calls() -> list[tuple[str, ast.Call]]:
    """Calls of the link state: on `state`, `self.state` and `self._state`."""

    def named(func: ast.expr) -> str | None:
        if not isinstance(func, ast.Attribute):
            return None
        owner = func.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        is_state = name in ("state", "_state") and not ast.unparse(owner).startswith("app.")
        return func.attr if is_state else None

    return calls("server/deployment/link.py", named)


def members() -> list[tuple[Imported, str]]:
    """Attributes read from imported names, such as members of enumerations."""
    found = []
    for source in TOUCHING:
        aliases = {item.alias: item for item in imported(source)}
        found += [
            (aliases[node.value.id], node.attr)
            for node in ast.walk(tree_of(source))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
        ]
    return sorted(set(found), key=str)


def fleet_calls() -> list[tuple[str, str]]:
    """Names of the Fleet API's calls that the bank makes, each with the class of its request."""
    found = []
    for _, call in calls(
        "bank_nodes/node/connection.py", lambda func: "" if ast.unparse(func) == "self._call" else None
    ):
        name, request = call.args
        assert isinstance(name, ast.Constant)
        assert isinstance(request, ast.Call)
        kind = "ActivateNodeRequest" if ast.unparse(request) == "self._activation()" else ast.unparse(request.func)
        found.append((str(name.value), kind))
    return sorted(set(found))


def test_flower_is_the_pinned_version() -> None:
    import flwr

    (pinned,) = re.findall(r"^flwr==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert flwr.__version__ == pinned
    assert f'"flwr[simulation]=={pinned}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", IMPORTED, ids=str)
def test_flower_has_every_name_that_we_import(name: Imported) -> None:
    assert name.found() is not None


@pytest.mark.parametrize(
    ("name", "call"), direct_calls(), ids=lambda value: shape(value) if isinstance(value, ast.Call) else str(value)
)
def test_flower_takes_what_we_give_it(name: Imported, call: ast.Call) -> None:
    assert_takes(name.found(), call)


@pytest.mark.parametrize(("name", "member"), members(), ids=str)
def test_flower_has_every_member_that_we_read(name: Imported, member: str) -> None:
    found = name.found()
    # Not read: a class may refuse that until the value is set.
    nothing = object()
    static = [inspect.getattr_static(owner, member, nothing) for owner in (found, type(found))]
    assert static != [nothing, nothing]


@pytest.mark.parametrize(
    ("name", "call"), state_calls(), ids=lambda value: shape(value) if isinstance(value, ast.Call) else str(value)
)
def test_flowers_link_state_has_every_method_that_the_link_calls(name: str, call: ast.Call) -> None:
    from flwr.server.superlink.linkstate import LinkState

    method = getattr(LinkState, name)
    assert_takes(method, ast.Call(call.func, [ast.Name("self"), *call.args], call.keywords))


@pytest.mark.parametrize(("name", "request_class"), fleet_calls(), ids=str)
def test_flowers_fleet_client_has_every_call_that_the_bank_makes(name: str, request_class: str) -> None:
    from flwr.supernode.fleet_http_client import FleetHttpClient

    (asked,) = list(inspect.signature(getattr(FleetHttpClient, name)).parameters.values())[1:]
    annotation = asked.annotation if isinstance(asked.annotation, str) else asked.annotation.__name__
    assert annotation == request_class


def test_the_bank_makes_eight_calls_and_none_that_fetches_an_app() -> None:
    assert [name for name, _ in fleet_calls()] == [
        *("ActivateNode", "ConfirmMessageReceived", "DeactivateNode", "PullMessages", "PullObject"),
        *("PushMessages", "PushObject", "SendNodeHeartbeat"),
    ]


READ = {
    "fleet_pb2.ActivateNodeResponse": ("node_id",),
    "fleet_pb2.PullMessagesResponse": ("messages_list", "message_object_trees"),
    "fleet_pb2.PushMessagesResponse": ("objects_to_push", "session_id"),
    "message_pb2.PullObjectResponse": ("object_found", "object_available", "object_content"),
    "message_pb2.Message": ("metadata",),
    "message_pb2.Metadata": ("run_id", "message_id", "src_node_id", "reply_to_message_id"),
    "message_pb2.ObjectTree": ("object_id",),
    "runtime_pb2.PullAppMessagesResponse": ("messages_list", "message_object_trees"),
    "node_pb2.NodeInfo": ("node_id", "public_key", "last_activated_at"),
}


@pytest.mark.parametrize(("place", "name"), [(place, name) for place, names in READ.items() for name in names])
def test_flowers_answers_have_every_field_that_we_read(place: str, name: str) -> None:
    module, kind = place.split(".")
    assert name in getattr(importlib.import_module(f"flwr.proto.{module}"), kind).DESCRIPTOR.fields_by_name


def test_flowers_client_keeps_an_httpx_client_that_can_be_told_not_to_follow_and_to_look_at_answers() -> None:
    from flwr.supernode.fleet_http_client import FleetHttpClient

    client = FleetHttpClient("https://nowhere.invalid")
    try:
        inner = client._client
        assert isinstance(inner, httpx.Client)
        assert inner.follow_redirects is True
        inner.follow_redirects = False
        inner.event_hooks = {"response": [print]}
        assert inner.event_hooks["response"] == [print]
    finally:
        client.close()


def test_flowers_grid_asks_its_attribute_client_once_it_is_set() -> None:
    from flwr.superlink.grid import HttpGrid

    grid = HttpGrid(token="local")
    assert vars(grid)["_client"] is None
    runtime = object()
    vars(grid)["_client"] = runtime
    assert grid._runtime_client is runtime
    assert isinstance(inspect.getattr_static(HttpGrid, "run"), property)
    assert grid.node.node_id == 1


def test_flowers_link_state_in_sqlite_has_sessions_and_nodes_whose_status_can_be_set() -> None:
    from flwr.server.superlink.linkstate import SqlLinkState
    from flwr.supercore.state.schema.linkstate_models import Node

    inspect.signature(SqlLinkState.session).bind(object())
    assert {"public_key", "status", "unregistered_at"} <= set(Node.__table__.columns.keys())


def test_flowers_message_id_is_the_attribute_that_we_set() -> None:
    from flwr.app import Metadata

    metadata = Metadata(1, "theirs", 2, 3, "", "", 0.0, 60.0, "query")
    assert metadata.message_id == "theirs"
    metadata.__dict__["_message_id"] = "ours"
    assert metadata.message_id == "ours"


def test_flowers_calls_carry_the_senders_key_in_the_header_that_the_front_reads() -> None:
    from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
    from flwr.supercore.protobuf.client import ProtobufRequestContext
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    key = new_key()
    request = httpx.Request("POST", "https://nowhere.invalid/")
    context = ProtobufRequestContext(rpc_method="", message=None, request=request)  # type: ignore[arg-type]
    NodeAuthHttpInterceptor(key, key.public_key()).intercept(context, lambda _: httpx.Response(200))
    assert base64.b64decode(request.headers[FLEET_HTTP_PUBLIC_KEY_HEADER]) == pem(key)


# Before a real link, over TLS.


def pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


Said = tuple[int, dict[str, str], bytes]


@dataclass
class Served:
    """A link behind its front on a port of this machine; `instead` says what a hostile one answers to a path."""

    pki: Pki
    link: Any
    front: Any
    port: int
    keys: dict[str, PrivateKey]
    nodes: dict[str, int]
    admitted: set[bytes]
    paths: list[str] = field(default_factory=list)
    instead: dict[str, Said] = field(default_factory=dict)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        said = self.instead.get(scope["path"].removeprefix("/v1/fleet/"))
        if said is None:
            await self.front(scope, receive, send)
            return
        status, headers, body = said
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        with suppress(Exception):
            await send({"type": "http.response.body", "body": body})

    def admit(self, *banks: str) -> None:
        keys = {bank: pem(self.keys[bank]) for bank in banks}
        self.nodes = self.link.admit(keys)
        self.admitted = {base64.b64encode(key) for key in keys.values()}

    def connect(self, bank: str = "north", **endpoint: Any) -> Any:
        from bank_nodes.node.connection import Connection, Endpoint

        facts = {"address": f"127.0.0.1:{self.port}", "ca": self.pki.ca_pem.read_bytes(), "timeout": 5.0}
        return Connection(Endpoint(**(facts | endpoint)), self.keys[bank])


@contextmanager
def serving(app: Any, pki: Pki, port: int) -> Iterator[None]:
    files: dict[str, Any] = {"ssl_certfile": pki.coordinator_pem, "ssl_keyfile": str(pki.coordinator_key)}
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, ws="none", lifespan="off", **files)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the server listens", 20.0)
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def hosts() -> Hosts:
    return Hosts(("localhost",), ("127.0.0.1",))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from server.deployment.front import Front
    from server.deployment.link import Link

    folder = tmp_path_factory.mktemp("town")
    keys = {bank: new_key() for bank in ("north", "south", "stranger")}
    link = Link(str(folder / "flower.db"))
    made = Served(Pki.create(folder / "pki", "small", hosts()), link, None, free_port(), keys, {}, set())
    made.front = Front(link.fleet_app(), lambda: made.admitted, link.notice)
    with serving(made, made.pki, made.port):
        yield made


@pytest.fixture
def served(town: Served) -> Iterator[Served]:
    town.admit("north", "south")
    town.paths.clear()
    yield town
    town.instead.clear()


@pytest.fixture
def bank() -> ModuleType:
    return importlib.import_module("bank_nodes.node.connection")


def question(node: int, *, records: int = 1) -> Any:
    from flwr.app import ConfigRecord, Message, RecordDict

    return Message(RecordDict({f"r{i}": ConfigRecord({"x": i}) for i in range(records)}), node, "query", ttl=60)


def answer_to(asked: Any, size: int = 1000) -> Any:
    from flwr.app import ConfigRecord, Message, RecordDict

    return Message(RecordDict({"answer": ConfigRecord({"bytes": bytes(size)})}), reply_to=asked)


def received(connection: Any) -> Any:
    return wait_until(connection.receive, "a message", 10.0)


def test_a_request_reaches_the_bank_and_its_reply_the_coordinator_whole(served: Served) -> None:
    with served.connect() as connection, served.link.run() as grid:
        assert connection.node == served.nodes["north"]
        assert connection.receive() is None
        (asked,) = grid.push_messages([question(connection.node)])
        message = received(connection)
        assert dict(message.content["r0"]) == {"x": 0}
        assert grid.pull_messages([asked]) == []
        sent = connection.send(answer_to(message, 100_000), 0.1)
        assert 100_000 < sent < 102_000
        (reply,) = grid.pull_messages([asked])
        assert reply.content["answer"]["bytes"] == bytes(100_000)
        assert reply.metadata.src_node_id == connection.node
    assert served.nodes["north"] not in served.link.present()


def test_the_bank_never_asks_for_an_app_or_a_run_and_nothing_it_says_is_refused(served: Served) -> None:
    from server.deployment.link import CALLS

    refused = served.front.refused
    with served.connect() as connection, served.link.run() as grid:
        grid.push_messages([question(connection.node)])
        connection.send(answer_to(received(connection)), 0.0)
        wait_until(lambda: connection.receive() is None, "no more")
    said = {path.removeprefix("/v1/fleet/") for path in served.paths}
    assert set(served.paths) <= CALLS
    assert not said & {"get-fab", "get-run", "register-node"}
    assert {"activate-node", "pull-object", "push-object", "deactivate-node"} <= said
    assert served.front.refused == refused


@pytest.mark.parametrize(("pause", "stays"), [(0.2, True), (60.0, False)])
def test_the_heartbeat_alone_keeps_a_bank_that_works_for_long_connected(
    served: Served, bank: ModuleType, monkeypatch: pytest.MonkeyPatch, pause: float, stays: bool
) -> None:
    from flwr.superlink.servicer.fleet import fleet_handlers

    monkeypatch.setattr(fleet_handlers, "HEARTBEAT_MIN_INTERVAL", 0.1)
    monkeypatch.setattr(bank, "PROMISED_SECONDS", 0.75)
    monkeypatch.setattr(bank, "HEARTBEAT_SECONDS", pause)
    with served.connect() as connection:
        assert connection.node in served.link.present()
        time.sleep(2.5)
        assert (connection.node in served.link.present()) is stays


def test_a_key_that_is_not_on_the_roster_is_turned_away_with_advice(served: Served) -> None:
    with pytest.raises(TrustError, match=r"not on the roster.*bank-node check"), served.connect("stranger"):
        pass


def test_a_bank_that_is_taken_off_the_roster_is_turned_away_at_its_next_call(served: Served) -> None:
    with served.connect("south") as connection:
        served.admit("north")
        with pytest.raises(TrustError, match="removed"):
            connection.receive()
    with pytest.raises(TrustError, match="removed"), served.connect("south"):
        pass


def test_a_coordinator_by_another_ca_is_not_spoken_to(served: Served, tmp_path: Path) -> None:
    foreign = Pki.create(tmp_path / "pki", "small", hosts())
    with pytest.raises(TrustError, match=r"certificate is not accepted.*ca\.pem"):
        served.connect(ca=foreign.ca_pem.read_bytes()).__enter__()
    assert served.paths == []


def test_a_coordinator_by_a_name_that_is_not_in_its_certificate_is_not_spoken_to(tmp_path: Path) -> None:
    pki = Pki.create(tmp_path / "pki", "small", Hosts(("coordinator.example",)))
    assert_not_accepted(pki, "mismatch|not valid for")


def test_an_expired_certificate_is_not_accepted(tmp_path: Path) -> None:
    pki = Pki.create(tmp_path / "pki", "small", hosts(), days=1, now=datetime.now(UTC) - timedelta(days=9))
    assert_not_accepted(pki, "expired")


def assert_not_accepted(pki: Pki, why: str) -> None:
    made = Served(pki, None, None, free_port(), {"north": new_key()}, {}, set())
    with serving(made, pki, made.port), pytest.raises(TrustError, match=why):
        made.connect().__enter__()
    assert made.paths == []


def test_where_nobody_listens_the_connection_is_lost_and_not_mistrusted(served: Served, bank: ModuleType) -> None:
    with pytest.raises(bank.ConnectionLost, match="ActivateNode"):
        served.connect(address=f"127.0.0.1:{free_port()}").__enter__()


def test_a_reply_to_a_run_that_has_ended_is_dismissed(served: Served, bank: ModuleType) -> None:
    with served.connect() as connection:
        with served.link.run() as grid:
            grid.push_messages([question(connection.node)])
            message = received(connection)
        with pytest.raises(bank.Dismissed, match="the run has ended"):
            connection.send(answer_to(message), 0.0)
        assert connection.receive() is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ((200, {"content-length": "269484033"}, b"x"), "has 269484033 bytes"),
        ((200, {"content-length": str(10**15)}, b"x"), "at most 269,484,032 are read"),
        ((200, {"transfer-encoding": "chunked"}, b"x"), "no stated number of bytes"),
        ((200, {"content-length": "5", "content-encoding": "gzip"}, b"short"), "compressed"),
        ((200, {"content-length": "5"}, b"short"), "cannot be read"),
    ],
)
def test_an_answer_that_is_too_large_or_no_answer_is_not_read_and_the_next_is(
    served: Served, said: Said, reason: str
) -> None:
    with served.connect() as connection:
        served.instead["pull-messages"] = said
        with pytest.raises(WireError, match=reason):
            connection.receive()
        served.instead.clear()
        assert connection.receive() is None


def test_a_coordinator_cannot_send_the_bank_elsewhere(served: Served, bank: ModuleType) -> None:
    with served.connect() as connection:
        served.instead["pull-messages"] = (307, {"location": "/v1/fleet/get-fab", "content-length": "0"}, b"")
        with pytest.raises(bank.ConnectionLost, match="HTTP 307"):
            connection.receive()
    assert "/v1/fleet/get-fab" not in served.paths


def test_a_message_of_more_objects_than_a_request_has_is_not_read(served: Served, bank: ModuleType) -> None:
    with served.connect() as connection, served.link.run() as grid:
        grid.push_messages([question(connection.node, records=bank.MAX_OBJECTS)])
        with pytest.raises(WireError, match=rf"has {bank.MAX_OBJECTS + 2} objects; at most {bank.MAX_OBJECTS}"):
            received(connection)
        grid.push_messages([question(connection.node, records=bank.MAX_OBJECTS - 2)])
        assert len(received(connection).content) == bank.MAX_OBJECTS - 2


def test_a_message_whose_objects_are_together_too_large_is_not_read(
    served: Served, bank: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served.connect() as connection, served.link.run() as grid:
        grid.push_messages([question(connection.node, records=20)])
        # The answer to each call is smaller, the largest of them 2,813 bytes.
        monkeypatch.setattr(bank, "MAX_MESSAGE_BYTES", 3000)
        with pytest.raises(WireError, match="larger than 3,000 bytes"):
            received(connection)


@pytest.mark.parametrize("facts", [{"object_found": False}, {"object_found": True, "object_available": False}])
def test_a_message_with_an_object_that_never_comes_is_given_up(
    served: Served, bank: ModuleType, monkeypatch: pytest.MonkeyPatch, facts: Mapping[str, bool]
) -> None:
    from flwr.proto.message_pb2 import PullObjectResponse

    monkeypatch.setattr(bank, "OBJECT_SECONDS", 0.3)
    with served.connect() as connection, served.link.run() as grid:
        served.instead["pull-object"] = protobuf(PullObjectResponse(**facts))
        grid.push_messages([question(connection.node)])
        with pytest.raises(WireError, match="is not there"):
            received(connection)


def protobuf(answer: ProtobufMessage) -> Said:
    data = answer.SerializeToString()
    return 200, {"content-length": str(len(data)), "content-type": "application/x-protobuf"}, data


def test_an_object_that_is_there_a_little_later_is_waited_for(served: Served) -> None:
    from flwr.proto.message_pb2 import PullObjectResponse

    with served.connect() as connection, served.link.run() as grid:
        served.instead["pull-object"] = protobuf(PullObjectResponse(object_found=True, object_available=False))
        grid.push_messages([question(connection.node)])
        threading.Timer(0.3, served.instead.clear).start()
        assert dict(received(connection).content["r0"]) == {"x": 0}


def test_a_message_without_its_tree_of_objects_is_refused(served: Served) -> None:
    from flwr.proto.fleet_pb2 import PullMessagesResponse
    from flwr.proto.message_pb2 import Message as MessageProto

    with served.connect() as connection:
        served.instead["pull-messages"] = protobuf(PullMessagesResponse(messages_list=[MessageProto()]))
        with pytest.raises(WireError, match="announced message cannot be read"):
            connection.receive()


def test_an_object_that_is_no_message_is_refused(served: Served) -> None:
    from flwr.app import ConfigRecord
    from flwr.proto.message_pb2 import PullObjectResponse

    record = ConfigRecord({"x": 1}).deflate()
    for content, found in ((record, "found a ConfigRecord"), (b"anything", "cannot be read: ")):
        with served.connect() as connection, served.link.run() as grid:
            answer = PullObjectResponse(object_found=True, object_available=True, object_content=content)
            served.instead["pull-object"] = protobuf(answer)
            grid.push_messages([question(connection.node)])
            with pytest.raises(WireError, match=found):
                received(connection)
            served.instead.clear()


# What the door of a deployment lets in.


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/control/start-run", "/v1/control/list-runs", "/v1/runtime/push-messages", "/v1/runtime/get-nodes"),
        *("/v1/fleet/get-fab", "/v1/fleet/get-run", "/v1/fleet/register-node", "/v1/fleet/unregister-node"),
        *("/", "/health", "/metrics", "/status", "/docs", "/openapi.json"),
    ],
)
def test_no_control_runtime_or_app_call_is_there_also_for_a_members_signed_one(served: Served, path: str) -> None:
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    key = served.keys["north"]
    context = ssl.create_default_context(cafile=str(served.pki.ca_pem))
    client = FleetHttpClient(
        f"https://127.0.0.1:{served.port}",
        interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
        verify=context,
    )
    try:
        with pytest.raises(httpx.HTTPStatusError) as refused:
            client._unary_unary(
                path=path, rpc_method="", request=question_proto(), response_type=type(question_proto())
            )
        assert refused.value.response.status_code == 404
        assert client._client.get(f"https://127.0.0.1:{served.port}{path}").status_code == 404
    finally:
        client.close()


def question_proto() -> Any:
    from flwr.proto.node_pb2 import Node

    return Node(node_id=1)
