"""What stands between the network and Flower's Fleet API: only a bank's calls, only from banks, only of a size."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER

from server.deployment.link import CALLS

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 65 * 2**20
_KEY = FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode()


class Front:
    """An ASGI application that passes on what a member's daemon may say, and refuses the rest before reading it."""

    def __init__(self, app: App, admitted: Callable[[], Collection[bytes]], arrived: Callable[[], None]) -> None:
        """Guard `app`.

        Args:
            admitted: Public keys of the members, in base64 as the header carries them.
            arrived: Told after each call that may have completed a reply.
        """
        self._app = app
        self._admitted = admitted
        self._arrived = arrived
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one exchange on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            self.refused += 1
            log.warning("refused %s from %s: %s", scope["path"], (scope.get("client") or ("?",))[0], refusal[1])
            await _say(send, *refusal)
            return
        await self._app(scope, receive, send)
        if scope["path"].endswith(("/push-object", "/push-messages")):
            self._arrived()

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        if scope["method"] != "POST" or scope["path"] not in CALLS:
            return 404, "there is no such call here"
        if headers.get(_KEY, b"") not in self._admitted():
            return 401, "this key is not on the roster"
        length = headers.get(b"content-length", b"")
        if not length.isdigit():
            return 411, "the length must be stated"
        if int(length) > MAX_BODY_BYTES:
            return 413, f"{int(length):,} bytes; at most {MAX_BODY_BYTES:,} are read"
        return None


async def _say(send: Send, status: int, reason: str) -> None:
    body = reason.encode()
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
