"""The daemon's health page and metrics: this moment's figures, on loopback, and nothing of the data."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from deployment import free_port
from prometheus_client.parser import text_string_to_metric_families

from bank_nodes.folder.home import Home
from bank_nodes.node.health import serve_health
from bank_nodes.node.running import Standing
from fraudfl.errors import RuntimeFailure
from fraudfl.privacy.ledger import Ledger


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "north", "north")


@pytest.fixture
def standing() -> Standing:
    return Standing()


@pytest.fixture
def server(home: Home, standing: Standing) -> Iterator[ThreadingHTTPServer]:
    served = serve_health(f"127.0.0.1:{free_port()}", home, standing)
    yield served
    served.shutdown()
    served.server_close()


def got(server: ThreadingHTTPServer, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.server_port}{path}")


def metrics(server: ThreadingHTTPServer) -> dict[str, float]:
    answer = got(server, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_health_says_whether_the_coordinator_is_there_and_when_what_happened(
    server: ThreadingHTTPServer, standing: Standing
) -> None:
    facts = got(server, "/health").json()
    assert facts == {"status": "ok", "bank": "north", "connected": False, "last": {}}
    standing.note("connected")
    facts = got(server, "/health").json()
    assert (facts["connected"], list(facts["last"])) == (True, ["connected"])


def test_metrics_are_those_of_the_moment(server: ThreadingHTTPServer, standing: Standing, home: Home) -> None:
    before = metrics(server)
    assert (before["fraudfl_bank_connected"], before["fraudfl_bank_ledger_entry"]) == (0, 0)
    for event in ("connected", "received", "received", "sent"):
        standing.note(event)
    Ledger(home.path / "ledger.db").note("something")
    after = metrics(server)
    assert (after["fraudfl_bank_connected"], after["fraudfl_bank_ledger_entry"]) == (1, 1)
    assert after["fraudfl_bank_events_totalreceived"] == 2
    assert after["fraudfl_bank_up_seconds"] >= 0


@pytest.mark.parametrize("path", ["/", "/ledger.db", "/../keys/bank.key", "/health/"])
def test_nothing_else_is_served(server: ThreadingHTTPServer, path: str) -> None:
    assert got(server, path).status_code == 404


def test_an_address_that_is_taken_is_told_with_what_to_do(server: ThreadingHTTPServer, home: Home) -> None:
    with pytest.raises(RuntimeFailure, match=r"cannot listen on 127\.0\.0\.1:.*choose another --health"):
        serve_health(f"127.0.0.1:{server.server_port}", home, Standing())
