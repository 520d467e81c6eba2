"""The coordinator as a whole: what it needs to begin, what it follows while it runs, and how it ends."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from deployment import free_port, wait_until

from fraudfl.config import FraudflConfig
from fraudfl.errors import ConfigError, RuntimeFailure, TrustError
from fraudfl.trust.enrolment import make_enrolment
from fraudfl.trust.keys import new_key
from server.deployment import serve
from server.deployment.serve import Coordinator
from server.store.workspace import Workspace, write_json
from server.trust.certificates import Hosts, certificate_of
from server.trust.pki import Pki

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")


def config_of(**coordinator: Any) -> FraudflConfig:
    facts = {
        "consortium": {"name": "small"},
        "data": {"generator": {"banks": 3}},
        "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59]},
        "coordinator": {"listen": f"127.0.0.1:{free_port()}", "metrics": None, **coordinator},
        "phases": [{"name": "pilot"}],
    }
    return FraudflConfig.model_validate(facts)


class Running:
    """A coordinator in a thread."""

    def __init__(self, folder: Path, config: FraudflConfig) -> None:
        self.workspace = Workspace(folder)
        self.pki = Pki.create(self.workspace.coordinator / "pki", "small", Hosts(("localhost",), ("127.0.0.1",)))
        self.workspace.open(config, resume=True)
        self.port = int(config.coordinator.listen.rpartition(":")[2])
        self.coordinator = Coordinator(config, self.workspace, folder)
        self.thread = threading.Thread(target=self.coordinator.run, kwargs={"resume": False}, daemon=True)

    def start(self) -> None:
        self.thread.start()
        wait_until(self.listens, "the coordinator listens", 20.0)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def roster(self) -> dict[str, bool]:
        return dict(self.coordinator.about()["roster"])

    def certificate(self, context: ssl.SSLContext | None = None) -> x509.Certificate:
        context = context or ssl.create_default_context(cafile=str(self.pki.ca_pem))
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10.0) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")

    def stop(self) -> None:
        self.coordinator.stop()
        self.thread.join(20.0)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def housed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("c") / "co", config_of(metrics=f"127.0.0.1:{free_port()}"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def running(housed: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setattr(serve, "LOOK_SECONDS", 0.05)
    return housed


def test_banks_are_added_and_removed_while_the_coordinator_runs(running: Running) -> None:
    request = make_enrolment(new_key(), "north")
    running.pki.add(request)
    wait_until(lambda: running.roster() == {"north": False}, "the bank is on the roster", 20.0)
    running.pki.remove("north")
    wait_until(lambda: running.roster() == {}, "the bank has left", 20.0)
    running.pki.add(request, again=True)
    wait_until(lambda: running.roster() == {"north": False}, "the bank is back, with the key it had", 20.0)
    running.pki.remove("north")
    wait_until(lambda: running.roster() == {}, "the bank has left", 20.0)


def test_a_damaged_roster_changes_nothing_and_a_mended_one_is_followed(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.pki.add(make_enrolment(new_key(), "south"))
    wait_until(lambda: "south" in running.roster(), "the bank is on the roster", 20.0)
    good = running.pki.roster_file.read_bytes()
    running.pki.roster_file.write_bytes(good.replace(b"south", b"sauth"))
    wait_until(lambda: "cannot follow a change" in caplog.text, "the defect is told", 20.0)
    assert running.roster() == {"south": False}
    running.pki.roster_file.write_bytes(good)
    running.pki.remove("south")
    wait_until(lambda: running.roster() == {}, "the mended roster is followed", 20.0)


def test_a_renewed_certificate_is_shown_to_the_next_who_connects(running: Running) -> None:
    before = running.certificate()
    assert before == certificate_of(running.pki.coordinator_pem)
    running.pki.renew()
    renewed = certificate_of(running.pki.coordinator_pem)
    assert renewed.serial_number != before.serial_number
    wait_until(lambda: running.certificate() == renewed, "the new certificate", 20.0)


def test_old_versions_of_tls_are_not_spoken(running: Running) -> None:
    old = ssl.create_default_context(cafile=str(running.pki.ca_pem))
    # Even with what OpenSSL allows at its lowest security level.
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        running.certificate(old)


def test_a_stopped_coordinator_listens_no_more(tmp_path: Path) -> None:
    made = Running(tmp_path / "co", config_of())
    made.start()
    made.stop()
    wait_until(lambda: not made.listens(), "the port is free", 20.0)


def test_a_port_that_is_taken_ends_the_coordinator_with_its_address(running: Running, tmp_path: Path) -> None:
    made = Running(tmp_path / "co", config_of(listen=f"127.0.0.1:{running.port}"))
    with pytest.raises(RuntimeFailure, match=rf"cannot listen on 127\.0\.0\.1:{running.port}"):
        made.coordinator.run(resume=False)


def test_a_coordinator_without_keys_or_with_another_database_does_not_begin(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "co")
    workspace.open(config_of(), resume=True)
    with pytest.raises(TrustError, match="fraudfl pki init"):
        Coordinator(config_of(), workspace, tmp_path)
    Pki.create(workspace.coordinator / "pki", "small", Hosts(("localhost",)))
    with pytest.raises(ConfigError, match="SQLite only"):
        Coordinator(config_of(database="postgresql://db/flower"), workspace, tmp_path)


def test_a_phase_that_was_under_way_is_told_and_waits_for_the_operator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Running(tmp_path / "co", config_of())
    write_json(made.workspace.phase("pilot").path / "state.json", {"status": "running"})
    made.start()
    wait_until(lambda: "`fraudfl phase resume pilot` goes on with it" in caplog.text, "the advice", 20.0)
    assert made.coordinator.phases.running is None
    made.stop()


def test_the_metrics_page_is_served_where_the_configuration_says(running: Running) -> None:
    address = running.workspace.config().coordinator.metrics
    assert httpx.get(f"http://{address}/health").json() == {"status": "ok", "running": None, "banks": 0}
    assert "fraudfl_coordinator_up_seconds" in httpx.get(f"http://{address}/metrics").text
    for path in ("/status", "/phases/pilot/start", "/docs"):
        assert httpx.get(f"http://{address}{path}").status_code == 404
