"""The front: a member's daemon passes, and everything else is refused before any of it is read."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse, PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from fraudfl.trust.keys import new_key
from server.deployment.front import MAX_BODY_BYTES, Front, Receive, Scope, Send
from server.deployment.link import CALLS, FLEET, Link

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")

MEMBER = b"a member's key"
KEY = {FLEET_HTTP_PUBLIC_KEY_HEADER: MEMBER.decode()}
PULL = FLEET + "pull-messages"


@dataclass
class Behind:
    """An application that reads the whole body and says how long it was."""

    bodies: list[bytes] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.kinds.append(scope["type"])
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})


@dataclass
class House:
    """A front with something behind it, whose roster and bell can be looked at."""

    behind: Behind = field(default_factory=Behind)
    admitted: set[bytes] = field(default_factory=lambda: {MEMBER})
    rung: list[int] = field(default_factory=list)
    front: Front = field(init=False)

    def __post_init__(self) -> None:
        self.front = Front(self.behind, lambda: self.admitted, lambda: self.rung.append(len(self.behind.bodies)))

    def call(self, method: str = "POST", path: str = PULL, **facts: Any) -> httpx.Response:
        return called(self.front, method, path, **({"headers": KEY, "content": b"body"} | facts))


def called(app: Any, method: str, path: str, **facts: Any) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://coordinator") as client:
            return await client.request(method, path, **facts)

    return asyncio.run(call())


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize("path", sorted(CALLS))
def test_a_members_call_is_passed_on_whole(house: House, path: str) -> None:
    answer = house.call(path=path, content=b"x" * 1000)
    assert (answer.status_code, answer.text) == (200, "1000")
    assert house.behind.bodies == [b"x" * 1000]
    assert house.front.refused == 0


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1/fleet/", "/v1/fleet/register-node", "/v1/fleet/unregister-node", "/v1/fleet/get-fab"),
        *("/v1/fleet/get-run", "/v1/control/start-run", "/v1/runtime/push-messages", "/docs", "/openapi.json"),
        *("/v1/fleet/pull-messages/", "/V1/fleet/pull-messages", "/v1/fleet/%2E%2E/fleet/pull-messages", "//v1/fleet"),
    ],
)
def test_what_no_daemon_needs_is_not_there(house: House, path: str) -> None:
    answer = house.call(path=path)
    assert (answer.status_code, answer.text) == (404, "there is no such call here")
    assert (house.behind.kinds, house.front.refused) == ([], 1)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_calls_by_another_method_are_not_there(house: House, method: str) -> None:
    assert house.call(method).status_code == 404
    assert house.behind.kinds == []


@pytest.mark.parametrize("headers", [{}, {FLEET_HTTP_PUBLIC_KEY_HEADER: "somebody's"}, {"authorization": MEMBER}])
def test_a_key_that_is_not_on_the_roster_is_refused(house: House, headers: dict[str, str]) -> None:
    answer = house.call(headers=headers)
    assert (answer.status_code, answer.text) == (401, "this key is not on the roster")
    assert house.behind.kinds == []


def test_an_empty_roster_admits_nobody_not_even_an_empty_key(house: House) -> None:
    house.admitted.clear()
    assert house.call(headers={FLEET_HTTP_PUBLIC_KEY_HEADER: ""}).status_code == 401


def test_the_roster_of_the_moment_counts(house: House) -> None:
    assert house.call().status_code == 200
    house.admitted.clear()
    assert house.call().status_code == 401
    house.admitted.add(MEMBER)
    assert house.call().status_code == 200


def test_a_body_of_no_stated_length_is_refused(house: House) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"who knows how much"

    answer = house.call(content=parts())
    assert (answer.status_code, answer.text) == (411, "the length must be stated")
    assert house.behind.kinds == []


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", " ", "12, 12", "१"])
def test_a_length_that_is_no_number_is_refused(house: House, length: str) -> None:
    answer = house.call(headers=[*KEY.items(), ("content-length", length.encode())])
    assert answer.status_code == 411
    assert house.behind.kinds == []


@pytest.mark.parametrize(("length", "status"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413), (10**30, 413)])
def test_a_body_larger_than_any_reply_is_refused_by_its_length(house: House, length: int, status: int) -> None:
    headers = {**KEY, "content-length": str(length)}
    assert house.call(headers=headers, content=b"short").status_code == status
    assert len(house.behind.bodies) == (1 if status == 200 else 0)


def test_nothing_of_a_refused_body_is_read(house: House) -> None:
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": PULL, "headers": [(b"content-length", b"9")], "client": None}
    asyncio.run(house.front(scope, receive, send))
    assert said[0]["status"] == 401
    assert (b"connection", b"close") in said[0]["headers"]


@pytest.mark.parametrize(("call", "rings"), [("push-object", 1), ("push-messages", 1), ("pull-messages", 0)])
def test_whoever_waits_for_replies_is_told_after_a_push_and_not_after_anything_else(
    house: House, call: str, rings: int
) -> None:
    house.call(path=FLEET + call)
    assert house.rung == [1] * rings
    house.call(path=FLEET + call, headers={})
    assert house.rung == [1] * rings


def test_a_refusal_is_logged_with_path_and_reason_and_without_the_key(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.call(headers={FLEET_HTTP_PUBLIC_KEY_HEADER: "somebody's"})
    assert f"refused {PULL} from 127.0.0.1: this key is not on the roster" in caplog.text
    assert "somebody's" not in caplog.text


def test_the_servers_own_messages_are_passed_on(house: House) -> None:
    async def nothing(*_: Any) -> Any:
        return {}

    asyncio.run(house.front({"type": "lifespan"}, nothing, nothing))
    assert house.behind.kinds == ["lifespan"]


# Before Flower's own Fleet API.


@dataclass
class Member:
    """A bank's key, its node, and how it signs its calls."""

    key: ec.EllipticCurvePrivateKey
    node: int = 0

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def headers(self, key: ec.EllipticCurvePrivateKey | None = None) -> dict[str, str]:
        moment = now().isoformat()
        signature = sign_message(key or self.key, moment.encode())
        return {
            FLEET_HTTP_PUBLIC_KEY_HEADER: base64.b64encode(self.public).decode(),
            TIMESTAMP_HEADER: moment,
            FLEET_HTTP_SIGNATURE_HEADER: base64.b64encode(signature).decode(),
            "content-type": PROTOBUF_MEDIA_TYPE,
            "accept": PROTOBUF_MEDIA_TYPE,
        }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Link, Front, Member, Member]:
    link = Link(str(tmp_path_factory.mktemp("link") / "flower.db"))
    members = [Member(new_key()), Member(new_key())]
    nodes = link.admit({f"bank-0{number}": member.public for number, member in enumerate(members)})
    for number, member in enumerate(members):
        member.node = nodes[f"bank-0{number}"]
    admitted = {base64.b64encode(member.public) for member in members}
    return link, Front(link.fleet_app(), lambda: admitted, link.notice), *members


def test_a_members_signed_call_reaches_flower(served: tuple[Link, Front, Member, Member]) -> None:
    link, front, member, _ = served
    request = ActivateNodeRequest(public_key=member.public, heartbeat_interval=10)
    answer = called(
        front, "POST", FLEET + "activate-node", headers=member.headers(), content=request.SerializeToString()
    )
    assert answer.status_code == 200
    assert ActivateNodeResponse.FromString(answer.content).node_id == member.node
    assert member.node in link.present()


def test_a_members_key_without_its_signature_or_for_anothers_node_is_refused_by_flower(
    served: tuple[Link, Front, Member, Member],
) -> None:
    _, front, member, other = served
    own = PullMessagesRequest(node=Node(node_id=member.node)).SerializeToString()
    others = PullMessagesRequest(node=Node(node_id=other.node)).SerializeToString()
    for headers, content in (
        (member.headers(new_key()), own),
        (member.headers() | {TIMESTAMP_HEADER: "2020-01-01T00:00:00+00:00"}, own),
        (member.headers(), others),
    ):
        assert called(front, "POST", PULL, headers=headers, content=content).status_code == 401
    assert called(front, "POST", PULL, headers=member.headers(), content=own).status_code == 200


def test_a_stranger_never_reaches_flower(served: tuple[Link, Front, Member, Member]) -> None:
    _, front, _, _ = served
    stranger = Member(new_key())
    request = ActivateNodeRequest(public_key=stranger.public, heartbeat_interval=10)
    answer = called(
        front, "POST", FLEET + "activate-node", headers=stranger.headers(), content=request.SerializeToString()
    )
    assert (answer.status_code, answer.text) == (401, "this key is not on the roster")
