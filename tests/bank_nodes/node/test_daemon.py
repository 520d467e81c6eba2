"""The daemon before a real coordinator over TLS: it answers, waits every trouble out, and goes on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from deployment import free_port, wait_until
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.superlink.servicer.fleet import fleet_handlers

from bank_nodes.node import connection
from bank_nodes.node.connection import Endpoint
from bank_nodes.node.daemon import Daemon, Pace, give_memory_back
from fraudfl.config import FraudflConfig
from fraudfl.trust.enrolment import make_enrolment
from fraudfl.trust.keys import PrivateKey, new_key
from server.deployment import serve
from server.deployment.serve import Coordinator
from server.store.operator_line import Operator
from server.store.workspace import Workspace
from server.trust.certificates import Hosts
from server.trust.pki import Pki

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")

QUICK = Pace(busy=0.01, idle=0.02, calm=60.0, longest=0.2)


@dataclass
class Town:
    """A coordinator that can be stopped and started, and the key of its one bank."""

    folder: Path
    key: PrivateKey
    port: int
    coordinator: Coordinator | None = None
    thread: threading.Thread | None = None

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "co")

    @property
    def pki(self) -> Pki:
        return Pki(self.workspace.coordinator / "pki")

    @property
    def config(self) -> FraudflConfig:
        facts: dict[str, Any] = {
            "consortium": {"name": "small"},
            "data": {"generator": {"banks": 1}},
            "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59]},
            "coordinator": {"listen": f"127.0.0.1:{self.port}", "metrics": None},
            "phases": [{"name": "pilot"}],
        }
        return FraudflConfig.model_validate(facts)

    def start(self) -> None:
        self.workspace.open(self.config, resume=True)
        self.coordinator = Coordinator(self.config, self.workspace, self.folder)
        self.thread = threading.Thread(target=self.coordinator.run, kwargs={"resume": False}, daemon=True)
        self.thread.start()
        wait_until(lambda: answers(self.workspace.coordinator / "control.sock"), "the coordinator listens", 20.0)

    def stop(self) -> None:
        assert self.coordinator is not None
        assert self.thread is not None
        self.coordinator.stop()
        self.thread.join()
        wait_until(lambda: not self.listens(), "the port is free")

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def link(self) -> Any:
        assert self.coordinator is not None
        return self.coordinator._link

    def connected(self) -> bool:
        return Operator(self.workspace.path).status()["roster"].get("north", False)

    def refused(self) -> int:
        return int(Operator(self.workspace.path).status()["refused_calls"])

    @property
    def node(self) -> int:
        assert self.coordinator is not None
        return self.coordinator._nodes["north"]


def answers(line: Path) -> bool:
    """Whether somebody listens on a Unix socket; httpcore would leave its own open where nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(line)) == 0


@pytest.fixture(scope="module")
def housed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"), new_key(), free_port())
    pki = Pki.create(town.workspace.coordinator / "pki", "small", Hosts(("localhost",), ("127.0.0.1",)))
    pki.add(make_enrolment(town.key, "north"))
    town.start()
    yield town
    town.stop()


@pytest.fixture
def town(housed: Town, monkeypatch: pytest.MonkeyPatch) -> Town:
    monkeypatch.setattr(serve, "LOOK_SECONDS", 0.05)
    # A node counts as gone after a second of silence, and nobody can connect as it before.
    monkeypatch.setattr(fleet_handlers, "HEARTBEAT_MIN_INTERVAL", 0.1)
    monkeypatch.setattr(connection, "PROMISED_SECONDS", 0.5)
    monkeypatch.setattr(connection, "HEARTBEAT_SECONDS", 0.15)
    return housed


@dataclass
class Bank:
    """A daemon in a thread, what it saw, and how it answers: with what it was asked."""

    daemon: Daemon
    seen: list[str]
    rests: list[float]
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self.daemon.run, daemon=True)
        self.thread.start()


@contextmanager
def running(
    town: Town,
    answer: Callable[[RecordDict], RecordDict] = lambda record: record,
    pace: Pace = QUICK,
    key: PrivateKey | None = None,
    **endpoint: Any,
) -> Iterator[Bank]:
    facts = {"address": f"127.0.0.1:{town.port}", "ca": town.pki.ca_pem.read_bytes(), "timeout": 5.0} | endpoint
    seen: list[str] = []
    rests: list[float] = []
    daemon = Daemon(Endpoint(**facts), key or town.key, answer, pace, seen.append, lambda: rests.append(0.0))
    bank = Bank(daemon, seen, rests)
    try:
        yield bank
    finally:
        daemon.stop()
        bank.thread.join(20.0)
        assert not bank.thread.is_alive()


def ask(grid: Any, node: int, number: int, records: int = 1) -> str:
    content = RecordDict({f"r{i}": ConfigRecord({"number": number + i}) for i in range(records)})
    (asked,) = grid.push_messages([Message(content, node, "query", ttl=60)])
    return str(asked)


def answered(grid: Any, asked: str) -> int:
    (reply,) = wait_until(lambda: grid.pull_messages([asked]), "a reply", 20.0)
    return int(reply.content["r0"]["number"])


def test_a_daemon_answers_one_request_after_another(town: Town) -> None:
    refused = town.refused()
    with running(town) as bank, town.link.run() as grid:
        wait_until(town.connected, "connected")
        for number in range(3):
            assert answered(grid, ask(grid, town.node, number)) == number
        wait_until(lambda: bank.seen.count("sent") == 3, "all sent")
        assert bank.seen == ["connected", *["received", "sent"] * 3]
    assert not town.connected()
    # It asked for no app and no run, which would have been refused at the door.
    assert town.refused() == refused


def test_a_long_answer_does_not_let_the_bank_seem_gone(town: Town) -> None:
    begun, there = threading.Event(), []

    def slowly(record: RecordDict) -> RecordDict:
        begun.set()
        for _ in range(20):
            time.sleep(0.1)
            there.append(town.node in town.link.present())
        return record

    with running(town, slowly), town.link.run() as grid:
        asked = ask(grid, town.node, 7)
        assert begun.wait(10.0)
        assert answered(grid, asked) == 7
    assert there == [True] * 20


def test_an_unknown_key_is_tried_again_until_the_operator_adds_it(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    key = new_key()
    with running(town, key=key) as bank:
        wait_until(lambda: bank.seen.count("lost") >= 2, "two tries", 20.0)
        assert "connected" not in bank.seen
        assert "not on the roster" in caplog.text
        town.pki.add(make_enrolment(key, "south"))
        wait_until(lambda: "connected" in bank.seen, "connected", 20.0)
    town.pki.remove("south")


def test_a_member_that_is_removed_and_comes_back_with_its_key_connects_again(town: Town) -> None:
    request = make_enrolment(town.key, "north")
    with running(town) as bank:
        wait_until(lambda: "connected" in bank.seen, "connected", 20.0)
        town.pki.remove("north")
        wait_until(lambda: bank.seen[-1] == "lost", "turned away", 20.0)
        town.pki.add(request, again=True)
        wait_until(lambda: bank.seen[-1] == "connected" and town.connected(), "connected again", 20.0)


def test_a_foreign_coordinator_is_never_connected_to_and_the_daemon_lives_on(
    town: Town, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = Pki.create(tmp_path / "pki", "small", Hosts(("localhost",)))
    with running(town, ca=foreign.ca_pem.read_bytes()) as bank:
        wait_until(lambda: bank.seen.count("lost") >= 3, "three tries", 20.0)
        assert bank.thread.is_alive()
        assert set(bank.seen) == {"lost"}
    assert "certificate is not accepted" in caplog.text


def test_a_coordinator_that_goes_and_comes_back_finds_the_bank_again_by_itself(town: Town) -> None:
    with running(town) as bank:
        wait_until(lambda: "connected" in bank.seen, "connected", 20.0)
        town.stop()
        wait_until(lambda: "lost" in bank.seen, "lost", 20.0)
        town.start()
        wait_until(lambda: bank.seen[-1] == "connected", "connected again", 20.0)
        with town.link.run() as grid:
            assert answered(grid, ask(grid, town.node, 5)) == 5


class Hours:
    """Time that passes only while the daemon waits, and its event to stop, which comes after two hours."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.calls.append(self.now)

    def is_set(self) -> bool:
        return self.now > 7200


def test_a_coordinator_that_comes_back_is_found_within_a_quarter_of_its_absence(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours()
    monkeypatch.setattr("bank_nodes.node.daemon.time", hours)
    nobody = Endpoint(address=f"127.0.0.1:{free_port()}", ca=town.pki.ca_pem.read_bytes())
    daemon = Daemon(nobody, town.key, lambda record: record, Pace())
    monkeypatch.setattr(daemon, "_stopping", hours)
    daemon.run()
    waits = [after - before for before, after in pairwise([0.0, *hours.calls])]
    assert all(wait <= max(0.5, before / 4) for wait, before in zip(waits[1:], hours.calls, strict=False))
    # Nor does a bank knock all night long.
    assert max(waits) <= 10
    assert len(waits) < 7200 / 5


def test_a_run_that_ends_while_the_bank_works_is_dismissed_and_the_next_is_answered(town: Town) -> None:
    begun, go = threading.Event(), threading.Event()

    def waiting(record: RecordDict) -> RecordDict:
        begun.set()
        assert go.wait(20.0)
        return record

    with running(town, waiting) as bank:
        with town.link.run() as grid:
            ask(grid, town.node, 1)
            assert begun.wait(20.0)
        go.set()
        wait_until(lambda: "dismissed" in bank.seen, "dismissed", 20.0)
        with town.link.run() as grid:
            assert answered(grid, ask(grid, town.node, 2)) == 2
        assert bank.seen.count("connected") == 1


def test_a_message_that_cannot_be_read_is_thrown_away_and_the_next_is_answered(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    with running(town) as bank, town.link.run() as grid:
        ask(grid, town.node, 1, records=connection.MAX_OBJECTS)
        wait_until(lambda: "a message was thrown away" in caplog.text, "thrown away", 20.0)
        assert answered(grid, ask(grid, town.node, 2)) == 2
        wait_until(lambda: bank.seen == ["connected", "received", "sent"], "one answer", 20.0)


def test_an_answer_of_the_coordinator_that_cannot_be_read_costs_the_connection_and_not_the_daemon(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = connection.MAX_MESSAGE_BYTES

    def spoiling(record: RecordDict) -> RecordDict:
        # From here on every answer is too large, also that to a new connection.
        monkeypatch.setattr(connection, "MAX_MESSAGE_BYTES", 1)
        return record

    with running(town, spoiling) as bank, town.link.run() as grid:
        ask(grid, town.node, 1)
        wait_until(lambda: bank.seen.count("lost") >= 2, "two tries", 20.0)
        monkeypatch.setattr(connection, "MAX_MESSAGE_BYTES", usual)
        wait_until(lambda: bank.seen[-1] == "connected", "connected again", 20.0)
        assert bank.thread.is_alive()


def test_a_daemon_rests_once_after_a_phase_and_never_before_the_first(town: Town) -> None:
    pace = Pace(busy=0.01, idle=0.02, calm=0.2, longest=0.2)
    with running(town, pace=pace) as bank, town.link.run() as grid:
        wait_until(lambda: "connected" in bank.seen, "connected", 20.0)
        time.sleep(0.5)
        assert bank.rests == []
        for rests in (1, 2):
            answered(grid, ask(grid, town.node, rests))
            wait_until(lambda rests=rests: len(bank.rests) == rests, "rest", 20.0)
            time.sleep(0.5)
            assert len(bank.rests) == rests
            # It says goodbye before, so that whoever begins anew can connect at once.
            assert bank.seen.count("connected") == rests + 1
            assert "lost" not in bank.seen


def test_a_daemon_that_waits_for_its_coordinator_stops_at_once(town: Town) -> None:
    slow = Pace(busy=30.0, idle=30.0, calm=60.0, longest=30.0)
    for place in ({"address": f"127.0.0.1:{free_port()}"}, {}):
        with running(town, pace=slow, **place) as bank:
            wait_until(lambda bank=bank: bank.seen, "a first try", 20.0)
            began = time.monotonic()
            bank.daemon.stop()
            bank.thread.join(10.0)
            assert time.monotonic() - began < 3.0


def test_memory_can_be_given_back_at_any_time() -> None:
    give_memory_back()
    give_memory_back()
