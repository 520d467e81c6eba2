"""The daemon's health page and Prometheus metrics, on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bank_nodes.folder.home import Home
from fraudfl.config_coordinator import host_and_port
from fraudfl.errors import RuntimeFailure
from fraudfl.privacy.ledger import Ledger

if TYPE_CHECKING:
    from bank_nodes.node.running import Standing

PREFIX = "fraudfl_bank_"


class Figures(Collector):
    """Reads the daemon's standing and the ledger's head when somebody asks."""

    def __init__(self, home: Home, standing: Standing) -> None:
        """Look at one daemon."""
        self._home = home
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        yield GaugeMetricFamily(PREFIX + "connected", "Whether the coordinator is.", float(self._standing.connected))
        yield GaugeMetricFamily(PREFIX + "up_seconds", "Seconds since the start.", time.time() - self._standing.began)
        events = CounterMetricFamily(PREFIX + "events", "What the daemon did.", labels=["event"])
        for event, count in sorted(self._standing.counts.items()):
            events.add_metric([event], count)
        yield events
        entry, _ = Ledger(self._home.path / "ledger.db").head()
        yield GaugeMetricFamily(PREFIX + "ledger_entry", "Number of the ledger's last entry.", float(entry))


def serve_health(address: str, home: Home, standing: Standing) -> ThreadingHTTPServer:
    """Serve `/health` and `/metrics` from a thread of its own.

    Raises:
        RuntimeFailure: when the address is taken.
    """
    registry = CollectorRegistry()
    registry.register(Figures(home, standing))

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._say(200, generate_latest(registry), "text/plain; version=0.0.4")
            elif self.path == "/health":
                facts = {"status": "ok", "bank": home.bank, "connected": standing.connected, "last": standing.last}
                self._say(200, json.dumps(facts).encode(), "application/json")
            else:
                self._say(404, b"/health or /metrics\n", "text/plain")

        def _say(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing about each look."""

    try:
        server = ThreadingHTTPServer(host_and_port(address), Pages)
    except OSError as error:
        raise RuntimeFailure(f"health page: cannot listen on {address} ({error}); choose another --health") from error
    threading.Thread(target=server.serve_forever, daemon=True, name="health").start()
    return server
