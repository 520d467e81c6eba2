"""The operator's line: a socket for its owner alone, and errors that say the same on both ends."""

from __future__ import annotations

import gc
import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from deployment import free_port, wait_until

from fraudfl.config import FraudflConfig
from fraudfl.errors import RuntimeFailure, TrustError
from fraudfl.trust.enrolment import make_enrolment
from fraudfl.trust.keys import new_key
from server.deployment.serve import Coordinator
from server.phases.unlearning import Unlearning
from server.store import operator_line
from server.store.operator_line import Operator, socket_path
from server.store.workspace import Workspace
from server.trust.certificates import Hosts
from server.trust.pki import Pki

pytestmark = [
    # Flower's own migrations, with its own Alembic configuration.
    pytest.mark.filterwarnings("ignore:No path_separator found in configuration"),
    # httpcore leaves a Unix socket open that it cannot connect.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket fd"),
]


@dataclass
class Running:
    """A coordinator without banks in a thread."""

    folder: Path
    port: int = field(default_factory=free_port)
    coordinator: Coordinator = field(init=False)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        facts = {
            "consortium": {"name": "small"},
            "data": {"generator": {"banks": 3}},
            "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59]},
            "coordinator": {"listen": f"127.0.0.1:{self.port}", "metrics": None},
            "phases": [{"name": "pilot"}, {"name": "rollout", "kind": "rollout"}],
        }
        config, workspace = FraudflConfig.model_validate(facts), Workspace(self.folder)
        Pki.create(workspace.coordinator / "pki", "small", Hosts(("localhost",)))
        workspace.open(config, resume=True)
        self.coordinator = Coordinator(config, workspace, workspace.path)
        self.thread = threading.Thread(target=self.coordinator.run, kwargs={"resume": False}, daemon=True)
        self.thread.start()
        wait_until(lambda: answers(socket_path(self.folder)), "the coordinator answers", 20.0)

    def stop(self) -> None:
        self.coordinator.stop()
        self.thread.join(20.0)
        assert not self.thread.is_alive()


def answers(line: Path) -> bool:
    """Whether somebody listens on a Unix socket; httpcore would leave its own open where nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(line)) == 0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("c") / "co")
    yield made
    made.stop()


def test_the_socket_is_its_owners_alone(running: Running) -> None:
    path = socket_path(running.folder)
    assert path == running.folder / "coordinator" / "control.sock"
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_status_says_who_is_there_and_how_every_phase_stands(running: Running) -> None:
    found = Operator(running.folder).status()
    assert (found["consortium"], found["listen"]) == ("small", f"127.0.0.1:{running.port}")
    assert (found["roster"], found["running"], found["refused_calls"]) == ({}, None, 0)
    assert [(phase["name"], phase["status"]) for phase in found["phases"]] == [
        ("pilot", "not begun"),
        ("rollout", "not begun"),
    ]


def test_an_error_at_the_coordinator_reaches_the_operator_in_its_own_words(running: Running) -> None:
    operator = Operator(running.folder)
    for call, words in (
        (lambda: operator.start("nonsense", resume=False), "no phase 'nonsense'; the consortium has pilot, rollout"),
        (lambda: operator.start("pilot", resume=True), "not begun yet; `fraudfl phase start pilot` begins it"),
        (lambda: operator.start("pilot", resume=False), "no bank is on the roster"),
        (lambda: operator.stop("pilot"), "phase 'pilot' is not under way"),
        (lambda: operator.start("a/b", resume=False), "Not Found"),
    ):
        with pytest.raises(RuntimeFailure, match=words):
            call()


def test_a_call_that_is_none_is_refused(running: Running) -> None:
    transport = httpx.HTTPTransport(uds=str(socket_path(running.folder)))
    with httpx.Client(transport=transport, base_url="http://coordinator") as client:
        assert client.post("/phases/pilot/start", json={"resume": "certainly"}).status_code == 422
        for path in ("/docs", "/openapi.json", "/v1/control/start-run", "/v1/fleet/pull-messages"):
            assert client.get(path).status_code == 404


def test_where_no_coordinator_runs_the_operator_is_told_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"no coordinator answers.*fraudfl serve CONFIG -w"):
        Operator(tmp_path).status()
    gc.collect()


def test_a_workspace_with_a_path_longer_than_a_sockets_name_has_a_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_temporary(tmp_path, monkeypatch)
    deep = tmp_path / ("a-long-name-" * 8) / "co"
    running = Running(deep)
    try:
        path = socket_path(deep)
        assert len(str(path)) < 108
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert socket_path(deep.with_name("other")) != path
        assert Operator(deep).status()["consortium"] == "small"
    finally:
        running.stop()


def own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own, with a short name."""
    short = tmp_path / "t"
    short.mkdir()
    monkeypatch.setattr(operator_line.tempfile, "gettempdir", lambda: str(short))
    return short


def test_a_folder_for_sockets_that_others_can_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = own_temporary(tmp_path, monkeypatch)
    deep: Any = tmp_path / ("a-long-name-" * 8) / "co"
    own = socket_path(deep).parent
    assert own.parent == short
    own.chmod(0o755)
    with pytest.raises(TrustError, match=r"is not this user's alone.*shorter path"):
        socket_path(deep)


def test_a_bank_is_unlearned_only_when_no_phase_is_under_way(running: Running) -> None:
    workspace, operator = Workspace(running.folder), Operator(running.folder)
    pki = Pki(workspace.coordinator / "pki")
    pki.add(make_enrolment(new_key(), "north"))
    wait_until(lambda: "north" in operator.status()["roster"], "the coordinator follows the roster", 20.0)
    operator.start("pilot", resume=False)
    with pytest.raises(RuntimeFailure, match="phase 'pilot' is under way; stop it with `fraudfl phase stop pilot`"):
        Unlearning(workspace, "north").carry_out("Ada Example", "it left")
    assert [member.bank for member in pki.roster().members] == ["north"]
    operator.stop("pilot")
    record, roster = Unlearning(workspace, "north").carry_out("Ada Example", "it left")
    assert (record.bank, roster.members) == ("north", ())
