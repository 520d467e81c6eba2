"""The daemon: one process that asks the coordinator for messages and answers them with the bank's own code."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.app import Message, RecordDict

from bank_nodes.node.connection import Connection, ConnectionLost, Dismissed, Endpoint
from fraudfl.errors import FraudflError, TrustError, WireError

log = logging.getLogger(__name__)

_TIDY_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often the daemon knocks.

    Attributes:
        busy: Shortest time between two looks, in seconds, just after a message.
        idle: Longest time between two looks, when there was no message for long.
        calm: Seconds without a message after which a phase counts as over.
        soon: Shortest wait before another try to connect.
        longest: Longest wait before another try to connect.
    """

    busy: float = 0.05
    idle: float = 2.0
    calm: float = 60.0
    soon: float = 0.5
    longest: float = 10.0


def give_memory_back() -> None:
    """Return to the operating system what the work before has left free."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class Daemon:
    """Keeps one connection, and answers one message after another."""

    def __init__(
        self,
        endpoint: Endpoint,
        key: EllipticCurvePrivateKey,
        answer: Callable[[RecordDict], RecordDict],
        pace: Pace,
        watch: Callable[[str], None] = lambda _event: None,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            answer: What the bank says to a record; must not raise.
            watch: Told of `connected`, `lost`, `received`, `sent` and `dismissed`, for metrics and health.
            rest: Called when a phase counts as over, between two connections.
        """
        self._endpoint = endpoint
        self._key = key
        self._answer = answer
        self._pace = pace
        self._watch = watch
        self._rest = rest
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the message under way."""
        self._stopping.set()

    def run(self) -> None:
        """Serve until stopped; every failure of the connection is waited out."""
        there = time.monotonic()
        while not self._stopping.is_set():
            try:
                with Connection(self._endpoint, self._key) as connection:
                    log.info("connected to %s as node %d", self._endpoint.address, connection.node)
                    self._watch("connected")
                    try:
                        self._serve(connection)
                    finally:
                        there = time.monotonic()
                # The coordinator has heard the goodbye: whoever begins anew in place can connect at once.
                if not self._stopping.is_set():
                    self._rest()
            except (ConnectionLost, WireError) as error:
                # A quarter of the absence so far: who is back is found late by 25 % of it at most.
                self._wait_out(error, max((time.monotonic() - there) / 4, self._pace.soon))
            except TrustError as error:
                # Nobody repairs keys or certificates in a second.
                self._wait_out(error, self._pace.longest)

    def _wait_out(self, error: FraudflError, seconds: float) -> None:
        self._watch("lost")
        wait = min(seconds, self._pace.longest) * random.uniform(0.7, 1.0)
        log.warning("%s; trying again in %.1f s", error, wait)
        self._stopping.wait(wait)

    def _serve(self, connection: Connection) -> None:
        """Answer until stopped, or until a phase counts as over."""
        last, tidy = float("-inf"), True
        while not self._stopping.is_set():
            try:
                message = connection.receive()
            except (WireError, Dismissed) as error:
                # What cannot be read has no reply; the coordinator's deadline will tell it.
                log.error("a message was thrown away: %s", error)
                self._stopping.wait(self._pace.busy)
                continue
            if message is not None:
                self._handle(connection, message)
                last, tidy = time.monotonic(), False
                continue
            quiet = time.monotonic() - last
            if quiet > _TIDY_SECONDS and not tidy:
                tidy = True
                give_memory_back()
            if self._pace.calm < quiet < float("inf"):
                return
            # A twentieth of the silence so far: a long round is found late by 5 % of its length at most.
            self._stopping.wait(min(max(quiet / 20, self._pace.busy), self._pace.idle))

    def _handle(self, connection: Connection, message: Message) -> None:
        self._watch("received")
        started = time.monotonic()
        if not message.has_content():
            log.error("the coordinator sent no request: %s", message.error.reason if message.has_error() else "nothing")
            return
        reply = Message(self._answer(message.content), reply_to=message)
        try:
            size = connection.send(reply, time.monotonic() - started)
        except Dismissed as error:
            log.warning("nobody waits for this reply any more (%s); it is kept for when it is asked for again", error)
            self._watch("dismissed")
            return
        log.info("answered in %.2f s with %d bytes", time.monotonic() - started, size)
        self._watch("sent")
