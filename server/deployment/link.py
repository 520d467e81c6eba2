"""Flower's SuperLink inside the coordinator's own process: its state, its Fleet API, and grids for our runs.

The only module of the server that touches Flower's internals; `tests/bank_nodes/node/test_connection.py` names each.
Flower's own `flower-superlink` serves its Control API, by which anybody who reaches the port may submit code, on the
same port as the Fleet API. Here there is no Control API and no Runtime API: a bank's daemon can fetch messages and push
replies, and that is all (decision 0006).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from fastapi import Depends, FastAPI, HTTPException, Request
from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SUPERLINK_NODE_ID, ErrorCode, Status, SubStatus
from flwr.common.serde import message_from_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.server.superlink.linkstate import LinkState, SqlLinkState
from flwr.serverapp import Grid
from flwr.supercore.constant import NOOP_FEDERATION_ID, NodeStatus, TaskType
from flwr.supercore.error import http_error_translator
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
from flwr.supercore.state.schema.linkstate_models import Node as NodeModel
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.config_loader import get_federation_manager, get_objectstore_linkstate_factories
from flwr.superlink.grid import HttpGrid
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
from flwr.superlink.routers.fleet.router import router as fleet_router
from flwr.superlink.servicer.runtime import runtime_handlers
from sqlalchemy import update
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from fraudfl.errors import ConfigError

FLEET = "/v1/fleet/"
# What a bank's daemon needs of Flower's Fleet API. It never fetches an app, and never registers itself.
CALLS = frozenset(
    FLEET + name
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
_HEARTBEAT_SECONDS = 10.0
_OURS = "replies are pushed under the sender's own node id"


class Link:
    """Flower's state in one database, and who may connect to it."""

    def __init__(self, database: str) -> None:
        """Open or create the database.

        Args:
            database: Path of an SQLite file, or an `sqlite://` URL.

        Raises:
            ConfigError: when Flower does not support this database.
        """
        try:
            _, self._factory = get_objectstore_linkstate_factories(database, get_federation_manager())
        except ValueError as error:
            raise ConfigError(
                f"coordinator.database is {database!r}; open Flower 1.41 keeps its state in SQLite only: give a file's "
                "path, or leave it out (the model registry takes PostgreSQL by mlflow.tracking_uri)"
            ) from error
        self.state: LinkState = self._factory.state()
        self._arrived = threading.Event()

    def admit(self, keys: Mapping[str, bytes]) -> dict[str, int]:
        """Make the nodes that may connect exactly these.

        Args:
            keys: Bank id to its public key, PEM.

        Returns:
            Bank id to Flower's node id; a key that was known keeps its id.
        """
        known = {bytes(node.public_key): int(node.node_id) for node in self._nodes()}
        for key in known.keys() - set(keys.values()):
            self.state.delete_node(NOOP_FLWR_AID, known[key])
        return {bank: known[key] if key in known else self._add(key) for bank, key in sorted(keys.items())}

    def present(self) -> dict[int, str]:
        """Nodes whose heartbeat is fresh, each with the time at which it connected last."""
        nodes = self.state.get_node_info(statuses=[NodeStatus.ONLINE])
        return {int(node.node_id): str(node.last_activated_at) for node in nodes}

    def wait(self, seconds: float) -> None:
        """Wait until something arrived from a bank, at most this long."""
        self._arrived.wait(seconds)
        self._arrived.clear()

    def notice(self) -> None:
        """Something arrived."""
        self._arrived.set()

    @contextmanager
    def run(self) -> Iterator[Grid]:
        """One run of ours, with the grid that reaches its nodes; runs that a crash left open are closed first."""
        self.close_runs()
        state = self.state
        run_id = state.create_run(None, None, None, {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP)
        (run,) = state.get_run_info(run_ids=[run_id])
        task_id = run.primary_task_id
        if task_id is None or state.claim_task(task_id) is None or not state.activate_task(task_id):
            raise RuntimeError("Flower's state does not let a run begin")
        (task,) = state.get_tasks(task_ids=[task_id])
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = task_id, run_id, SUPERLINK_NODE_ID
        grid = _LocalGrid(_LocalRuntime(state, task), state)
        grid.set_run(run)
        ended = threading.Event()
        heart = threading.Thread(target=_beat, args=(state, task_id, ended), daemon=True)
        heart.start()
        try:
            yield grid
        finally:
            ended.set()
            heart.join()
            state.finish_task(task_id, SubStatus.COMPLETED, "")
            state.cleanup_run(run_id)

    def close_runs(self) -> None:
        """End every run that is still open; banks' answers to them are turned away from now on."""
        for run in self.state.get_run_info(statuses=[Status.PENDING, Status.STARTING, Status.RUNNING]):
            self.state.stop_run(run.run_id)

    def fleet_app(self) -> FastAPI:
        """Flower's Fleet API with node authentication, and nothing else."""
        app = FastAPI(
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            dependencies=[Depends(_own_replies_only), Depends(self._let_back_in)],
            middleware=[
                Middleware(BaseHTTPMiddleware, dispatch=http_error_translator),
                Middleware(ProtobufTranslationMiddleware),
                Middleware(NodeAuthMiddleware),
            ],
        )
        app.state.linkstate_factory = self._factory
        app.state.enable_supernode_auth = True
        app.state.fleet_event_log_plugin = None
        app.include_router(fleet_router)
        return app

    def _let_back_in(self, request: Request) -> None:
        """A daemon that was killed said no goodbye; Flower would turn it away until its heartbeat is stale."""
        pushed = getattr(request.state, "protobuf_request", None)
        if isinstance(pushed, ActivateNodeRequest):
            node = self.state.get_node_id_by_public_key(pushed.public_key)
            if node is not None:
                self.state.deactivate_node(node)

    def _add(self, key: bytes) -> int:
        try:
            return int(self.state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, 0))
        except ValueError:
            # Flower keeps a deleted node's key for good; whoever comes back with it gets its node back.
            again = update(NodeModel).where(NodeModel.public_key == key)
            with cast(SqlLinkState, self.state).session() as session:
                session.execute(again.values(status=NodeStatus.REGISTERED, unregistered_at=None))
        return next(int(node.node_id) for node in self._nodes() if bytes(node.public_key) == key)

    def _nodes(self) -> list[Any]:
        present = [NodeStatus.REGISTERED, NodeStatus.ONLINE, NodeStatus.OFFLINE]
        return list(self.state.get_node_info(statuses=present))


def _own_replies_only(request: Request) -> None:
    """Flower checks whose key signed a call, but not that a reply inside it names the same node."""
    pushed = getattr(request.state, "protobuf_request", None)
    if not isinstance(pushed, PushMessagesRequest):
        return
    for message in pushed.messages_list:
        if message.metadata.src_node_id != pushed.node.node_id:
            raise HTTPException(status_code=403, detail=_OURS)


def _beat(state: LinkState, task_id: int, ended: threading.Event) -> None:
    while not ended.wait(_HEARTBEAT_SECONDS):
        state.acknowledge_task_heartbeat(task_id)


class _LocalRuntime:
    """What Flower's grid asks of the Runtime API, answered by its own handlers without a network in between."""

    def __init__(self, state: LinkState, task: Any) -> None:
        self._state = state
        self._task = task

    def __getattr__(self, call: str) -> Any:
        handler = getattr(runtime_handlers, _HANDLERS[call])
        return lambda request: handler(request, self._state, self._task)

    def close(self) -> None:
        """Nothing to close."""


_HANDLERS = {
    "GetNodes": "get_nodes",
    "PushMessages": "push_messages",
    "PullMessages": "pull_messages",
    "PushObject": "push_object",
    "PullObject": "pull_object",
    "ConfirmMessageReceived": "confirm_message_received",
}


class _LocalGrid(HttpGrid):
    """Flower's grid over handlers in this process.

    Flower's own sleeps a second for each object that is not there yet; a reply whose objects are still on their way
    stays here and is looked at again at the next pull.
    """

    def __init__(self, runtime: _LocalRuntime, state: LinkState) -> None:
        super().__init__(token="local")
        self._client = runtime  # type: ignore[assignment]
        self._state = state
        self._coming: dict[str, tuple[Any, list[str]]] = {}

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies that are here whole."""
        asked_for = set(message_ids)
        wanted = asked_for - self._coming.keys()
        if wanted:
            answer = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=wanted))
            for head, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
                names = list(dict.fromkeys(node.object_id for node in iterate_object_tree(tree)))
                self._coming[head.metadata.reply_to_message_id] = (head, names)
        here = [asked for asked in self._coming if asked in asked_for]
        return [message for asked in here if (message := self._whole(asked)) is not None]

    def _whole(self, asked: str) -> Message | None:
        head, names = self._coming[asked]
        run_id = self.run.run_id
        found = {name: self._state.get_object(run_id, name) for name in names}
        contents = {name: data for name, data in found.items() if data}
        if len(contents) < len(names) and None not in found.values():
            return None
        del self._coming[asked]
        name = head.metadata.message_id
        if len(contents) < len(names):
            return make_message(
                message_from_proto(head).metadata, error=Error(ErrorCode.MESSAGE_UNAVAILABLE, "its objects are gone")
            )
        self._runtime_client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(node=self.node, run_id=run_id, message_object_id=name)
        )
        return _as_announced(head, contents)


def _as_announced(head: Any, contents: dict[str, bytes]) -> Message:
    """A reply from its objects. Flower has checked its head; what a bank wrote inside may name any bank or question."""
    announced = message_from_proto(head).metadata
    try:
        reply = inflate_object_from_contents(announced.message_id, contents)
        if not isinstance(reply, Message):
            raise TypeError(f"expected a message, found {type(reply).__name__}")
        if _sender(reply.metadata) != _sender(announced):
            raise ValueError("inside, it names another sender, run or question than outside")
    except Exception as error:
        # Whatever one bank sends must not end the phase of all.
        return make_message(announced, error=Error(ErrorCode.UNKNOWN, f"the reply cannot be read: {error}"))
    reply.metadata.__dict__["_message_id"] = announced.message_id
    return reply


def _sender(metadata: Metadata) -> tuple[int, int, str]:
    return metadata.run_id, metadata.src_node_id, metadata.reply_to_message_id
