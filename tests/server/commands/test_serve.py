"""`fraudfl serve` and `fraudfl phase`: what the operator sees, whatever a bank wrote into a reason."""

from __future__ import annotations

import gc
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import free_port, wait_until

from fraudfl.config import FraudflConfig
from fraudfl.trust.enrolment import make_enrolment
from fraudfl.trust.keys import new_key
from server import cli
from server.deployment.serve import Coordinator
from server.store.operator_line import Operator
from server.store.workspace import Workspace, write_json
from server.trust.certificates import Hosts
from server.trust.pki import Pki

pytestmark = [
    # Flower's own migrations, with its own Alembic configuration.
    pytest.mark.filterwarnings("ignore:No path_separator found in configuration"),
    # httpcore leaves a Unix socket open that it cannot connect.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket fd"),
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The workspace of a running coordinator with one bank, which is away."""
    facts = {
        "consortium": {"name": "small"},
        "data": {"generator": {"banks": 3}},
        "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59]},
        "coordinator": {"listen": f"127.0.0.1:{free_port()}", "metrics": None},
        "phases": [{"name": "pilot", "baselines": []}, {"name": "rollout", "kind": "rollout"}],
    }
    config, made = FraudflConfig.model_validate(facts), Workspace(tmp_path_factory.mktemp("c") / "co")
    Pki.create(made.coordinator / "pki", "small", Hosts(("localhost",))).add(make_enrolment(new_key(), "north"))
    made.open(config, resume=True)
    coordinator = Coordinator(config, made, made.path)
    thread = threading.Thread(target=coordinator.run, kwargs={"resume": False}, daemon=True)
    thread.start()
    line = made.coordinator / "control.sock"
    wait_until(lambda: answers(line), "the coordinator answers", 20.0)
    yield made.path
    coordinator.stop()
    thread.join(30.0)


def answers(line: Path) -> bool:
    """Whether somebody listens on a Unix socket; httpcore would leave its own open where nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(line)) == 0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fraudfl", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_the_status_shows_every_phase_or_one(run: Run, workspace: Path) -> None:
    code, out, _ = run("phase", "status", "-w", workspace)
    assert code == 0
    assert "small on 127.0.0.1:" in out
    assert "pilot: not begun" in out
    assert "rollout: not begun" in out
    _, out, _ = run("phase", "status", "rollout", "-w", workspace)
    assert "pilot: not begun" not in out
    _, out, _ = run("phase", "status", "rollout", "-w", workspace, "--json")
    assert json.loads(out)["status"] == "not begun"
    code, _, err = run("phase", "status", "nonsense", "-w", workspace)
    assert (code, "there is no phase 'nonsense'" in err) == (2, True)


def test_a_phase_is_started_watched_stopped_and_refusals_are_told_in_the_coordinators_words(
    run: Run, workspace: Path
) -> None:
    code, _, err = run("phase", "resume", "pilot", "-w", workspace)
    assert (code, "was not begun yet" in err) == (1, True)
    code, out, _ = run("phase", "start", "pilot", "-w", workspace)
    assert (code, "pilot: running" in out) == (0, True)
    wait_until(lambda: Operator(workspace).status()["phases"][0]["waiting"], "the bank is waited for", 60.0)
    _, out, _ = run("phase", "status", "-w", workspace)
    assert "waited for: not connected" in out
    code, _, err = run("phase", "start", "rollout", "-w", workspace)
    assert (code, "phase 'pilot' is under way" in err) == (1, True)
    code, out, _ = run("phase", "stop", "pilot", "-w", workspace, "--json")
    assert (code, json.loads(out)["status"]) == (0, "interrupted")


def test_what_a_bank_wrote_into_a_reason_is_shown_as_it_is(run: Run, workspace: Path) -> None:
    phase: Any = Workspace(workspace).phase("rollout")
    write_json(phase.path / "roster.json", {"banks": ["north"]})
    waiting = {"event": "waiting", "banks": {"north": "[/] [red]closed[/red]"}}
    failed = {"event": "failed", "reason": "north said [/bold] and [link=x]"}
    phase.events.write_text("".join(json.dumps(event) + "\n" for event in (waiting, failed)))
    code, out, _ = run("phase", "status", "rollout", "-w", workspace)
    assert code == 0
    assert "waited for: [/] [red]closed[/red]" in out
    assert "north said [/bold] and [link=x]" in out


def test_without_a_coordinator_the_operator_is_told_how_to_start_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "coordinator").mkdir()
    code, _, err = run("phase", "status", "-w", tmp_path)
    assert code == 1
    assert "no coordinator answers" in err
    assert "fraudfl serve CONFIG -w WORKSPACE" in err
    gc.collect()
