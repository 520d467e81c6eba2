"""The coordinator's metrics: who is connected and how phases stand, read when somebody asks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from flower_town import public_keys
from prometheus_client.parser import text_string_to_metric_families

from fraudfl.config import FraudflConfig
from server.deployment.metrics import metrics_app
from server.deployment.serve import Coordinator
from server.store.workspace import Workspace, write_json
from server.trust.certificates import Hosts
from server.trust.pki import Pki

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    facts = {
        "consortium": {"name": "small"},
        "data": {"generator": {"banks": 3}},
        "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59]},
        "phases": [{"name": "pilot"}, {"name": "rollout", "kind": "rollout"}],
    }
    config, workspace = FraudflConfig.model_validate(facts), Workspace(tmp_path / "co")
    Pki.create(workspace.coordinator / "pki", "small", Hosts(("localhost",)))
    workspace.open(config, resume=True)
    made = Coordinator(config, workspace, workspace.path)
    made._nodes = made._link.admit(public_keys())
    return made


def got(coordinator: Coordinator, path: str) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=metrics_app(coordinator))
        async with httpx.AsyncClient(transport=transport, base_url="http://coordinator") as client:
            return await client.get(path)

    return asyncio.run(call())


def figures(coordinator: Coordinator) -> dict[str, float]:
    answer = got(coordinator, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        " ".join((sample.name.removeprefix("fraudfl_coordinator_"), *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_each_bank_on_the_roster_is_connected_or_not(coordinator: Coordinator) -> None:
    assert coordinator._link.state.activate_node(coordinator._nodes["bank-02"], 30)
    found = figures(coordinator)
    assert [found[f"bank_connected bank-0{number}"] for number in (1, 2, 3)] == [0, 1, 0]
    assert (found["refused_calls_total"], found["up_seconds"] >= 0) == (0, True)
    health = got(coordinator, "/health").json()
    assert health == {"status": "ok", "running": None, "banks": 1}


def test_each_phase_has_its_figures_and_one_that_was_not_begun_has_zeros(coordinator: Coordinator) -> None:
    folder = coordinator._workspace.phase("pilot")
    write_json(folder.path / "roster.json", {"banks": ["bank-01"]})
    events = [
        {"event": "gathering"},
        {"event": "round", "round": 4, "rounds": 9, "bytes_up": 10, "bytes_down": 20},
        {"event": "waiting", "banks": {"bank-01": "away", "bank-02": "asleep"}},
        {"event": "late"},
    ]
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    found = figures(coordinator)
    names = ("round", "bytes_up", "bytes_down", "late", "waiting", "running")
    assert [found[f"phase_{name} pilot"] for name in names] == [4, 10, 20, 1, 2, 0]
    assert [found[f"phase_{name} rollout"] for name in names] == [0] * 6
