"""The coordinator's own section of the YAML: where it listens and keeps its state. No plan depends on it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from fraudfl.frozen import Frozen


def _address(text: str) -> str:
    """Check `host:port`; brackets around an IPv6 host."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) < 2**16:
        raise ValueError("expected HOST:PORT, such as 0.0.0.0:9092")
    return text


Address = Annotated[str, AfterValidator(_address)]


class CoordinatorConfig(Frozen):
    """How `fraudfl serve` runs.

    Attributes:
        listen: Where banks connect, over TLS.
        database: Flower's state: a file's path, or an `sqlite://` URL; by default a file in the workspace.
        metrics: Where Prometheus metrics and the health page are served in the clear; null for nowhere.
        warn_days: Days before its certificate's end from which the coordinator warns.
    """

    listen: Address = "127.0.0.1:9092"
    database: str | None = None
    metrics: Address | None = "127.0.0.1:9464"
    warn_days: int = Field(default=30, ge=0)


def host_and_port(address: str) -> tuple[str, int]:
    """Split a checked address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
