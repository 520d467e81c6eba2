"""One coordinator and three banks as real processes, over TLS with node authentication, also when things go wrong."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from deployment import Deployment, call, free_port, wait_until
from memory_fleet import Consortium
from safetensors.numpy import load_file
from stock_flower import StockFlower, make_app

from fraudfl.config import FraudflConfig
from fraudfl.privacy.ledger import Ledger
from fraudfl.trust.keys import public_text
from pipelines.phase import run_phase

ROUNDS = 10
CONFIG: dict[str, Any] = {
    "consortium": {"name": "small", "seed": 11},
    "data": {"generator": {"banks": 3, "transactions": 12_000, "days": 60, "merchants": 150}},
    "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59], "validation_days": 5},
    "model": {"hidden": [16]},
    "training": {"learning_rate": 0.003, "batch_size": 512},
    "phases": [
        {"name": "pilot", "rounds": ROUNDS, "baselines": [], "deadline_seconds": 60, "patience_seconds": 120},
        {
            "name": "hasty",
            "rounds": 4,
            "baselines": [],
            "quorum": 0.6,
            "deadline_seconds": 30,
            "patience_seconds": 5,
        },
    ],
}
LONG = {"training": {"learning_rate": 0.003, "batch_size": 16, "local_epochs": 4}}
NOBODY = "approve:\n  automatic: false\nuncovered: ['*']\n"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same consortium in simulation: banks' folders, and the model to compare with."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "c.yaml").write_text(yaml.safe_dump(CONFIG | {"phases": CONFIG["phases"][:1]}))
    call("fraudfl", "run", folder / "c.yaml", "-w", folder / "work", "--quiet")
    return folder / "work"


@pytest.fixture(scope="module")
def expected_long(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rounds that take long enough to be killed in: the same banks in memory, which spares a second simulation."""
    work = tmp_path_factory.mktemp("long") / "work"
    shutil.copytree(simulated / "banks", work / "banks")
    config = FraudflConfig.model_validate(CONFIG | LONG)
    run_phase(Consortium(work / "banks", config, work / "coordinator/phases/pilot").phase(), ())
    return work


@pytest.fixture(scope="module")
def pristine(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Keys, banks and kits as operator and banks make them, before anything has run; each test has its own copy."""
    return Deployment.create(tmp_path_factory.mktemp("pristine") / "d", CONFIG, simulated / "banks")


@pytest.fixture
def deployed(pristine: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    yield from closing(pristine.copy(tmp_path / "d", CONFIG))


@pytest.fixture
def deployed_long(pristine: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    yield from closing(pristine.copy(tmp_path / "d", CONFIG | LONG))


def closing(deployment: Deployment) -> Iterator[Deployment]:
    try:
        yield deployment
    finally:
        deployment.close()


def weights(workspace: Path) -> dict[str, Any]:
    return load_file(workspace / "coordinator/phases/pilot/bundle/weights.safetensors")


def assert_same_model(deployed: Deployment, expected: Path) -> None:
    ours, theirs = weights(deployed.workspace), weights(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert np.abs(ours[name] - tensor).max() <= 1e-6, name


def assert_no_round_twice(deployed: Deployment) -> None:
    """Each bank released one update per round, and its ledger is unbroken."""
    for bank in deployed.banks:
        ledger = Ledger(deployed.bank(bank) / "ledger.db")
        ledger.verify()
        trained = [entry.round for entry in ledger.entries() if entry.event == "released" and entry.kind == "train"]
        assert sorted(trained) == list(range(1, ROUNDS + 1)), (bank, trained)
        reserved = [entry.round for entry in ledger.entries() if entry.event == "reserved" and entry.kind == "train"]
        assert sorted(reserved) == list(range(1, ROUNDS + 1)), (bank, reserved)


def assert_completed(outcome: dict[str, Any], banks: int = 3, rounds: int = ROUNDS) -> None:
    assert (outcome["status"], outcome["banks"], outcome["rounds"]) == ("completed", banks, rounds), outcome
    assert outcome["model_version"] is not None


def test_ten_rounds_at_three_banks_give_the_simulations_model(deployed: Deployment, simulated: Path) -> None:
    deployed.run_all()
    deployed.begin()
    assert_completed(deployed.ended())
    assert_same_model(deployed, simulated)
    assert_no_round_twice(deployed)
    (summary,) = json.loads((deployed.workspace / "summary.json").read_text())["phases"]
    assert summary["metrics"]["source"] == "released"
    for bank in deployed.banks:
        assert call("bank-node", "ledger", "verify", deployed.bank(bank))
        assert "train 10.1" in call("bank-node", "log", deployed.bank(bank))


def test_a_coordinator_killed_twice_in_mid_round_goes_on_where_it_was(
    deployed_long: Deployment, expected_long: Path
) -> None:
    deployed = deployed_long
    deployed.run_all()
    deployed.begin()
    for done in (2, 5):
        wait_until(lambda done=done: deployed.rounds() >= done, f"round {done}")
        time.sleep(0.3)
        deployed.kill("coordinator")
        deployed.serve("--resume")
    assert_completed(deployed.ended())
    assert_same_model(deployed, expected_long)
    assert_no_round_twice(deployed)


def test_a_bank_killed_in_training_and_started_again_takes_part(deployed_long: Deployment, expected_long: Path) -> None:
    deployed = deployed_long
    deployed.run_all()
    deployed.begin()
    wait_until(lambda: deployed.rounds() >= 2, "round 2")
    time.sleep(0.2)
    deployed.kill("bank-02")
    deployed.run_bank("bank-02")
    assert_completed(deployed.ended())
    assert_same_model(deployed, expected_long)
    assert_no_round_twice(deployed)


def test_a_bank_gone_for_good_does_not_hold_the_others_up(deployed: Deployment) -> None:
    deployed.run_all()
    deployed.kill("bank-03")
    deployed.begin("hasty")
    outcome = deployed.ended("hasty")
    assert_completed(outcome, banks=2, rounds=4)
    assert {item["bank"] for item in outcome["excluded"]} == {"bank-03"}


def test_a_bank_that_does_not_approve_is_waited_for_and_then_left_out(deployed: Deployment) -> None:
    (deployed.bank("bank-02") / "policy.yaml").write_text(NOBODY)
    deployed.run_all()
    deployed.begin("hasty")
    outcome = deployed.ended("hasty")
    assert_completed(outcome, banks=2, rounds=4)
    assert any("NotApproved" in item["reason"] for item in outcome["excluded"] if item["bank"] == "bank-02")
    assert "waiting for a decision" in call("bank-node", "plans", deployed.bank("bank-02"))


def test_a_phase_waits_for_approvals_and_goes_on_when_they_come(deployed: Deployment, simulated: Path) -> None:
    for bank in deployed.banks:
        (deployed.bank(bank) / "policy.yaml").write_text(NOBODY)
    deployed.run_all()
    deployed.begin()
    waiting = wait_until(lambda: deployed.phase()["waiting"], "the coordinator waits")
    assert set(waiting) == set(deployed.banks)
    assert all("bank-node approve" in reason for reason in waiting.values())
    plan = deployed.phase()["plan_hash"]
    for bank in deployed.banks:
        call("bank-node", "approve", deployed.bank(bank), plan[:10], "--by", "Ada Lovelace")
    assert_completed(deployed.ended())
    assert_same_model(deployed, simulated)


def test_a_network_cut_for_twenty_seconds_delays_the_phase_and_changes_nothing(
    deployed: Deployment, simulated: Path
) -> None:
    wire = Wire(deployed.port)
    kit = deployed.bank("bank-01") / "coordinator.json"
    kit.write_text(json.dumps(json.loads(kit.read_text()) | {"address": f"127.0.0.1:{wire.port}"}))
    deployed.run_all()
    deployed.begin()
    wait_until(lambda: deployed.rounds() >= 2, "round 2")
    wire.cut(20.0)
    assert_completed(deployed.ended())
    assert_same_model(deployed, simulated)
    assert_no_round_twice(deployed)


def test_an_app_from_a_coordinator_never_runs_at_a_deployed_bank(deployed: Deployment, tmp_path: Path) -> None:
    """A stock SuperNode, for comparison, runs it at once."""
    marker = tmp_path / "marker"
    client = (
        "import os\nfrom pathlib import Path\nfrom flwr.clientapp import ClientApp\n"
        f"Path({str(marker)!r}).write_text('ran at ' + str(os.getppid()))\n"
        "app = ClientApp()\n@app.query()\ndef f(message, context):\n    return message\n"
    )
    server = (
        "import time\nfrom pathlib import Path\nfrom flwr.app import ConfigRecord, Message, RecordDict\n"
        "from flwr.serverapp import ServerApp\napp = ServerApp()\n@app.main()\ndef main(grid, context):\n"
        "    while not (nodes := list(grid.get_node_ids())):\n        time.sleep(0.1)\n"
        "    asked = [Message(RecordDict({'x': ConfigRecord({'x': 1})}), nodes[0], 'query')]\n"
        "    found = list(grid.send_and_receive(asked, timeout=40))\n"
        "    said = str([m.content if m.has_content() else m for m in found])\n"
        f"    Path({str(tmp_path / 'answers')!r}).write_text(said)\n"
    )
    stock = StockFlower(tmp_path / "stock", deployed.pki, deployed.port)
    try:
        stock.start()
        stock.register(public_text_of(deployed, "bank-01"), "bank-01")
        deployed.run_bank("bank-01")
        stock.run(make_app(tmp_path / "app", server, client))
        wait_until((tmp_path / "answers").exists, "the hostile run has ended")
        said = (tmp_path / "answers").read_text()
        assert "WireError" in said, said
        assert not marker.exists()
        # It says goodbye, so that the next run asks the other node.
        deployed.processes["bank-01"].send_signal(signal.SIGTERM)
        assert deployed.processes["bank-01"].wait(timeout=10) == 0
        stock.start_node("other", free_port())
        stock.run(make_app(tmp_path / "app", server, client))
        wait_until(marker.exists, "the stock node runs what it is sent")
    finally:
        stock.close()


def public_text_of(deployed: Deployment, bank: str) -> str:
    from fraudfl.trust.keys import load_key

    return public_text(load_key(deployed.bank(bank) / "keys/bank.key"))


def test_the_operator_stops_and_resumes_a_phase(deployed_long: Deployment, expected_long: Path) -> None:
    deployed = deployed_long
    deployed.run_all()
    call("fraudfl", "phase", "start", "pilot", "-w", deployed.workspace)
    wait_until(lambda: deployed.rounds() >= 2, "round 2")
    call("fraudfl", "phase", "stop", "pilot", "-w", deployed.workspace)
    assert deployed.phase()["status"] == "interrupted"
    assert "was begun before" in call("fraudfl", "phase", "start", "pilot", "-w", deployed.workspace, code=1)
    call("fraudfl", "phase", "resume", "pilot", "-w", deployed.workspace)
    assert_completed(deployed.ended())
    assert_same_model(deployed, expected_long)
    assert "completed, round 10 of 10" in call("fraudfl", "phase", "status", "-w", deployed.workspace)


def test_a_bank_added_later_and_a_renewed_certificate_disturb_nobody(deployed: Deployment, simulated: Path) -> None:
    deployed.run_all()
    deployed.enrol("bank-04")
    deployed.pki.renew()
    wait_until(lambda: "bank-04" in deployed.status()["roster"], "the coordinator follows the roster")
    deployed.pki.remove("bank-04")
    wait_until(lambda: "bank-04" not in deployed.status()["roster"], "the coordinator follows the roster again")
    assert all(deployed.status()["roster"].values())
    deployed.begin()
    assert_completed(deployed.ended())
    assert_same_model(deployed, simulated)


def test_a_polite_end_stops_the_daemon_at_once_and_the_coordinator_with_a_summary(deployed_long: Deployment) -> None:
    deployed = deployed_long
    deployed.run_all()
    deployed.begin()
    wait_until(lambda: deployed.rounds() >= 1, "round 1")
    bank = deployed.processes["bank-01"]
    bank.send_signal(signal.SIGTERM)
    assert bank.wait(timeout=10) == 0
    coordinator = deployed.processes["coordinator"]
    coordinator.send_signal(signal.SIGTERM)
    assert coordinator.wait(timeout=30) == 0
    (phase,) = json.loads((deployed.workspace / "summary.json").read_text())["phases"]
    assert phase["status"] == "interrupted"


class Wire:
    """A cable of our own between one bank and the coordinator, which can be cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._whole = threading.Event()
        self._whole.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Nothing passes, in no direction, and open connections break."""
        self._whole.clear()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()
        time.sleep(seconds)
        self._whole.set()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if not self._whole.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
