"""The bank's authenticated connection to the coordinator: Flower's Fleet API, and nothing that fetches an app.

The only module of the bank that touches Flower's internals; `tests/bank_nodes/node/test_connection.py` names each.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fraudfl.errors import RuntimeFailure, TrustError, WireError
from fraudfl.wire import MAX_PAYLOAD_BYTES

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 4.0
PROMISED_SECONDS = 10.0
"""A node that is silent for twice as long counts as gone (Flower's patience)."""
OBJECT_SECONDS = 30.0
OBJECT_PAUSE = 0.02
MAX_OBJECTS = 64
MAX_MESSAGE_BYTES = MAX_PAYLOAD_BYTES + 2**20


class ConnectionLost(RuntimeFailure):
    """The coordinator cannot be reached now; it may be later."""


class Dismissed(RuntimeFailure):
    """The coordinator no longer waits for this: its run has ended."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the coordinator is, and what it must show.

    Attributes:
        address: `host:port`.
        ca: The consortium's CA certificate, PEM.
        timeout: Seconds that one call may take.
    """

    address: str
    ca: bytes
    timeout: float = 30.0


class Connection:
    """One activated connection, with its heartbeat running beside the work."""

    def __init__(self, endpoint: Endpoint, key: EllipticCurvePrivateKey) -> None:
        """Prepare; nothing is sent yet."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=endpoint.ca.decode("ascii"))
        self._public = public_key_to_bytes(key.public_key())
        self._client = FleetHttpClient(
            f"https://{endpoint.address}",
            interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
            verify=context,
            timeout=endpoint.timeout,
        )
        # The bank follows nobody elsewhere, and reads no answer that is larger than a message may be.
        self._client._client.follow_redirects = False
        self._client._client.event_hooks = {"response": [_refuse_oversized]}
        self._client._client.headers["accept-encoding"] = "identity"
        self._node = Node()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def __enter__(self) -> Self:
        """Announce this bank.

        Raises:
            ConnectionLost: when nobody answers.
            TrustError: when the coordinator does not know this bank's key, or does not show the right certificate.
        """
        try:
            answer = self._call("ActivateNode", self._activation())
        except BaseException:
            self._client.close()
            raise
        self._node = Node(node_id=answer.node_id)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Say goodbye when somebody listens."""
        self._ended.set()
        with contextlib.suppress(RuntimeFailure, TrustError, WireError):
            self._call("DeactivateNode", DeactivateNodeRequest(node_id=self._node.node_id))
        self._client.close()
        self._heart.join()

    @property
    def node(self) -> int:
        """Flower's id of this bank."""
        return int(self._node.node_id)

    def receive(self) -> Message | None:
        """The next message, whole; None when there is none.

        Raises:
            WireError: when the message is larger than a request may be, or does not fit together.
        """
        answer = self._call("PullMessages", PullMessagesRequest(node=self._node))
        if not answer.messages_list:
            return None
        run, message_id, names = _announced(answer)
        if len(names) > MAX_OBJECTS:
            raise WireError(f"a message has {len(names)} objects; at most {MAX_OBJECTS} are read")
        contents: dict[str, bytes] = {}
        for name in names:
            contents[name] = self._object(run, name)
            if sum(map(len, contents.values())) > MAX_MESSAGE_BYTES:
                raise WireError(f"a message is larger than {MAX_MESSAGE_BYTES:,} bytes; it is not read")
        self._call(
            "ConfirmMessageReceived",
            ConfirmMessageReceivedRequest(node=self._node, run_id=run, message_object_id=message_id),
        )
        return _inflated(message_id, contents)

    def send(self, reply: Message, seconds: float) -> int:
        """Push one reply; returns the bytes that left.

        Args:
            seconds: How long the work took, for Flower's own statistics.

        Raises:
            Dismissed: when the run it answers has ended.
        """
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            tree = get_object_tree(reply)
            objects = {name: item.deflate() for name, item in get_all_nested_objects(reply).items()}
        pushed = self._call(
            "PushMessages",
            PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[tree],
                clientapp_runtime_list=[seconds],
            ),
        )
        run, sent = reply.metadata.run_id, 0
        for name in pushed.objects_to_push:
            self._call(
                "PushObject",
                PushObjectRequest(
                    node=self._node,
                    run_id=run,
                    object_id=name,
                    object_content=objects[name],
                    session_id=pushed.session_id,
                ),
            )
            sent += len(objects[name])
        return sent

    def _object(self, run: int, name: str) -> bytes:
        """One object of a message, which may be announced while its objects are still on their way."""
        ends = time.monotonic() + OBJECT_SECONDS
        while True:
            pulled = self._call("PullObject", PullObjectRequest(node=self._node, run_id=run, object_id=name))
            if pulled.object_found and pulled.object_available:
                return bytes(pulled.object_content)
            if not pulled.object_found or time.monotonic() > ends or self._ended.wait(OBJECT_PAUSE):
                raise WireError(f"object {name[:12]} of a message is not there")

    def _activation(self) -> ActivateNodeRequest:
        return ActivateNodeRequest(public_key=self._public, heartbeat_interval=PROMISED_SECONDS)

    def _beat(self) -> None:
        """Tell the coordinator that this bank lives, also while it trains."""
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                self._call(
                    "SendNodeHeartbeat",
                    SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=PROMISED_SECONDS),
                )
            except (RuntimeFailure, TrustError, WireError) as error:
                log.info("heartbeat: %s", error)

    def _call(self, name: str, request: Any) -> Any:
        try:
            return getattr(self._client, name)(request)
        except httpx.HTTPStatusError as error:
            raise _of_status(name, error) from error
        except httpx.TransportError as error:
            if "certificate" in str(error).lower():
                raise TrustError(
                    f"the coordinator's certificate is not accepted: {error}. Compare ca.pem with the operator's, "
                    "and the address with the certificate's names"
                ) from error
            raise ConnectionLost(f"{name}: {type(error).__name__}: {error}") from error
        except ValueError as error:
            raise WireError(f"{name}: the coordinator's answer cannot be read ({error})") from error


def _announced(answer: PullMessagesResponse) -> tuple[int, str, list[str]]:
    """Run and id of the first message of an answer, and the names of its objects."""
    try:
        metadata = message_from_proto(answer.messages_list[0]).metadata
        names = dict.fromkeys(node.object_id for node in iterate_object_tree(answer.message_object_trees[0]))
    except Exception as error:
        raise WireError(f"an announced message cannot be read: {type(error).__name__}") from error
    return metadata.run_id, metadata.message_id, list(names)


def _inflated(message_id: str, contents: dict[str, bytes]) -> Message:
    """A message from its objects, which may be anything."""
    try:
        message = inflate_object_from_contents(message_id, contents)
    except Exception as error:
        raise WireError(f"a message cannot be read: {type(error).__name__}") from error
    if not isinstance(message, Message):
        raise WireError(f"a message cannot be read: found a {type(message).__name__}")
    message.metadata.__dict__["_message_id"] = message_id
    return message


def _of_status(name: str, error: httpx.HTTPStatusError) -> RuntimeFailure | TrustError:
    status = error.response.status_code
    if status == httpx.codes.UNAUTHORIZED or (name == "ActivateNode" and status < 500):
        return TrustError(
            "the coordinator does not accept this bank's key: it is not on the roster, was removed from it, or this "
            "machine's clock is off by more than 5 s. Ask the operator, and run `bank-node check`"
        )
    if status == httpx.codes.FORBIDDEN:
        return Dismissed(f"{name}: the run has ended")
    return ConnectionLost(f"{name}: HTTP {status}")


def _refuse_oversized(response: httpx.Response) -> None:
    if "content-encoding" in response.headers:
        raise WireError("the coordinator's answer is compressed, so its size is not known; it is not read")
    length = response.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MAX_MESSAGE_BYTES:
        raise WireError(
            f"the coordinator's answer has {length or 'no stated number of'} bytes; "
            f"at most {MAX_MESSAGE_BYTES:,} are read"
        )
