"""One daemon at one bank, as its process: alone in its folder, within the policy's limits, and there after a rest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from deployment import call, free_port, start, wait_until
from flwr.app import Message
from memory_fleet import tiny_config

from bank_nodes.folder.home import Home
from bank_nodes.node.alone import daemon_runs
from bank_nodes.node.running import Standing, _limit, run_daemon
from bank_nodes.rules.policy import Resources
from fraudfl.config import FraudflConfig
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.errors import ConfigError, FraudflError, TrustError
from fraudfl.folder import BankFolder
from fraudfl.trust.keys import fingerprint
from fraudfl.wire import MESSAGE_TYPE, bank_from_record, hello_to_record
from server.deployment.serve import Coordinator
from server.store.operator_line import Operator
from server.store.workspace import Workspace
from server.trust.certificates import Hosts
from server.trust.pki import Pki

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")


def fill(home: Home) -> None:
    rows = generate(tiny_config().data.generator.model_copy(update={"transactions": 500}), 1)
    BankFolder.fill(home.path, "north", rows, GENERATED_CONTRACT)


def make_home(folder: Path, pki: Pki, port: int) -> Home:
    home = Home.create(folder / "north", "north")
    fill(home)
    pki.add(home.enrolment)
    pki.write_kit(folder / "kit", "127.0.0.1", port)
    home.take_kit(folder / "kit", fingerprint(pki.operator))
    return home


@dataclass
class Town:
    home: Home
    coordinator: Coordinator
    workspace: Path

    def ask_who(self) -> str:
        """Ask the bank's node which bank it is."""
        with self.coordinator._link.run() as grid:
            node = self.coordinator._nodes["north"]
            (asked,) = grid.push_messages([Message(hello_to_record(), node, MESSAGE_TYPE, ttl=60)])
            (reply,) = wait_until(lambda: grid.pull_messages([asked]), "an answer", 40.0)
            return bank_from_record(reply.content)


def answers(line: Path) -> bool:
    """Whether somebody listens on a Unix socket; httpcore would leave its own open where nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(line)) == 0


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder, port = tmp_path_factory.mktemp("town"), free_port()
    facts: dict[str, Any] = {
        "consortium": {"name": "small"},
        "data": {"generator": {"banks": 1}},
        "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59]},
        "coordinator": {"listen": f"127.0.0.1:{port}", "metrics": None},
        "phases": [{"name": "pilot"}],
    }
    config, workspace = FraudflConfig.model_validate(facts), Workspace(folder / "co")
    pki = Pki.create(workspace.coordinator / "pki", "small", Hosts(("localhost",), ("127.0.0.1",)))
    home = make_home(folder, pki, port)
    workspace.open(config, resume=True)
    coordinator = Coordinator(config, workspace, workspace.path)
    thread = threading.Thread(target=coordinator.run, kwargs={"resume": False}, daemon=True)
    thread.start()
    wait_until(lambda: answers(workspace.coordinator / "control.sock"), "the coordinator listens", 20.0)
    yield Town(home, coordinator, workspace.path)
    coordinator.stop()
    thread.join(20.0)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "daemon.log"


@pytest.fixture
def daemon(town: Town, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = start(log, "bank-node", "run", town.home.path, "--health", "off", "--idle", "0.05", "--calm", "1")
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def lines(log: Path) -> list[str]:
    return [json.loads(line)["message"] for line in log.read_text().splitlines()]


def test_a_daemon_answers_starts_anew_after_the_phase_and_answers_again(
    town: Town, daemon: subprocess.Popen[bytes], log: Path
) -> None:
    (town.home.path / "policy.yaml").write_text("resources: {cores: 1, memory_mb: 8000}\n")
    wait_until(lambda: any("connected" in line for line in lines(log)), "connected", 40.0)
    assert daemon_runs(town.home.path)
    assert town.ask_who() == "north"
    wait_until(lambda: sum("connected to" in line for line in lines(log)) == 2, "connected after a new beginning", 40.0)
    assert sum("bank north, coordinator" in line for line in lines(log)) == 2
    assert any("starting anew to give memory back" in line for line in lines(log))
    assert daemon.poll() is None
    assert town.ask_who() == "north"
    # The new beginning has read the policy of the day.
    process = psutil.Process(daemon.pid)
    assert len(process.cpu_affinity()) == 1
    assert process.rlimit(psutil.RLIMIT_DATA) == (8000 * 2**20, 8000 * 2**20)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(20.0) == 0
    assert not daemon_runs(town.home.path)


def test_a_second_daemon_in_one_folder_is_refused_and_the_first_stays(
    town: Town, daemon: subprocess.Popen[bytes], log: Path
) -> None:
    wait_until(lambda: any("connected" in line for line in lines(log)), "connected", 40.0)
    assert "a daemon runs here already; stop it first" in call("bank-node", "run", town.home.path, code=1)
    assert daemon.poll() is None
    assert Operator(town.workspace).status()["roster"] == {"north": True}


def test_the_cores_and_the_memory_that_the_policy_gives_are_kept_to() -> None:
    code = (
        "import os, resource, sys\n"
        "from bank_nodes.rules.policy import Resources\nfrom bank_nodes.node.running import _limit\n"
        "_limit(Resources(cores=1, memory_mb=900))\n"
        "print(len(os.sched_getaffinity(0)), resource.getrlimit(resource.RLIMIT_DATA)[0])\n"
        "try:\n    bytearray(1000 * 2**20)\nexcept MemoryError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["1", str(900 * 2**20), "refused"], done.stderr


def test_a_policy_without_limits_changes_nothing() -> None:
    before = os.sched_getaffinity(0)
    _limit(Resources())
    assert os.sched_getaffinity(0) == before


def test_a_daemon_does_not_begin_without_its_kit_key_or_policy(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "north", "north")
    with pytest.raises(FraudflError):
        run_daemon(home, health=None, pace=None)  # type: ignore[arg-type]
    fill(home)
    with pytest.raises(TrustError, match="no kit yet"):
        run_daemon(home, health=None, pace=None)  # type: ignore[arg-type]
    pki = Pki.create(tmp_path / "pki", "small", Hosts(("localhost",)))
    pki.add(home.enrolment)
    pki.write_kit(tmp_path / "kit")
    home.take_kit(tmp_path / "kit", fingerprint(pki.operator))
    (home.path / "policy.yaml").write_text("caps: none\n")
    with pytest.raises(ConfigError, match=r"policy\.yaml"):
        run_daemon(home, health=None, pace=None)  # type: ignore[arg-type]
    (home.path / "policy.yaml").write_text("{}\n")
    (home.path / "keys/bank.key").chmod(0o644)
    with pytest.raises(TrustError, match="chmod 600"):
        run_daemon(home, health=None, pace=None)  # type: ignore[arg-type]
    assert not daemon_runs(home.path)


def test_what_a_daemon_has_seen_is_counted_and_the_last_word_on_the_connection_counts() -> None:
    standing = Standing()
    assert not standing.connected
    for event in ("connected", "received", "sent", "received"):
        standing.note(event)
    assert standing.connected
    assert standing.counts == {"connected": 1, "received": 2, "sent": 1}
    standing.note("lost")
    assert not standing.connected
    assert standing.last["lost"] >= standing.last["connected"] >= standing.began
