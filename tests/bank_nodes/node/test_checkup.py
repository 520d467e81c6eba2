"""The check before a phase: what is in order, and every defect by its own name."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from deployment import free_port
from memory_fleet import tiny_config

from bank_nodes import cli
from bank_nodes.folder.home import Home
from bank_nodes.node.checkup import Finding, checkup
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.folder import BankFolder
from fraudfl.trust.enrolment import make_enrolment
from fraudfl.trust.keys import fingerprint, new_key
from server.trust.certificates import Hosts
from server.trust.pki import Pki


class Clock:
    """A TLS server that says nothing but its time, as far off as it was told, or `silent` not even that."""

    def __init__(self, pki: Pki, off: float = 0.0, *, silent: bool = False) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pki.coordinator_pem, pki.coordinator_key)
        self._off, self._silent = off, silent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                with plain, suppress(OSError), self._context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(4096)
                    secure.sendall(self._says())

    def _says(self) -> bytes:
        if self._silent:
            return b"HTTP/1.1 404 Not Found\r\n\r\n"
        moment = format_datetime(datetime.now(UTC) + timedelta(seconds=self._off), usegmt=True)
        return f"HTTP/1.1 404 Not Found\r\ndate: {moment}\r\n\r\n".encode()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5.0)


@dataclass
class Town:
    """A bank whose coordinator answers, all in order."""

    pki: Pki
    home: Home

    def found(self) -> dict[str, Finding]:
        return {finding.what: finding for finding in checkup(self.home)}

    def kit_for(self, port: int) -> None:
        path = self.home.path / "coordinator.json"
        path.write_text(json.dumps({"address": f"127.0.0.1:{port}"}))


@pytest.fixture(scope="module")
def rows() -> Any:
    return generate(tiny_config().data.generator.model_copy(update={"transactions": 500}), 1)


@pytest.fixture
def town(tmp_path: Path, rows: Any) -> Iterator[Town]:
    pki = Pki.create(tmp_path / "pki", "small", Hosts(("localhost",), ("127.0.0.1",)), now=begun())
    home = Home.create(tmp_path / "north", "north")
    pki.add(home.enrolment)
    pki.write_kit(tmp_path / "kit", "127.0.0.1", 1)
    home.take_kit(tmp_path / "kit", fingerprint(pki.operator))
    BankFolder.fill(home.path, "north", rows, GENERATED_CONTRACT)
    clock = Clock(pki)
    made = Town(pki, home)
    made.kit_for(clock.port)
    yield made
    clock.close()


def begun() -> datetime:
    return datetime.now(UTC) - timedelta(days=40)


def defects(found: dict[str, Finding]) -> dict[str, str]:
    return {what: finding.verdict for what, finding in found.items() if finding.verdict != "good"}


def test_where_all_is_in_order_nothing_is_said_against_it(town: Town) -> None:
    found = town.found()
    assert defects(found) in ({}, {"disk": "warning"})
    assert list(found)[-3:] == ["connection", "certificate", "clock"]
    assert set(found) >= {"key", "roster", "policy", "approvals", "ledger", "disk", "data", "dry run"}
    assert "mode 0600, for bank north" in found["key"].text
    assert "2, with 1 banks" in found["roster"].text
    assert "a person approves each plan; open now" in found["policy"].text
    assert "500 transactions" in found["data"].text
    assert "500 made-up rows" in found["dry run"].text
    assert "TLSv1.3" in found["connection"].text


def assert_bad(town: Town, what: str, words: str, verdict: str = "bad") -> None:
    """This, and nothing else but what follows from it, is wrong."""
    finding = town.found()[what]
    assert finding.verdict == verdict
    assert words in finding.text


def test_a_key_that_others_can_read_is_found(town: Town) -> None:
    (town.home.path / "keys/bank.key").chmod(0o644)
    assert_bad(town, "key", "mode 0644 lets other users at this key")


def test_a_roster_that_names_another_key_is_found(town: Town, tmp_path: Path) -> None:
    town.pki.replace(make_enrolment(new_key(), "north"))
    town.pki.write_kit(tmp_path / "kit", "127.0.0.1")
    (town.home.path / "roster.json").write_bytes((tmp_path / "kit/roster.json").read_bytes())
    assert_bad(town, "roster", "has another key for north")
    (town.home.path / "roster.json").write_text("{}")
    assert_bad(town, "roster", "roster.json")


@pytest.mark.parametrize("text", ["caps: much\n", "hours: {windows: [noon]}\n", "approve: {automatic: true\n"])
def test_a_policy_that_cannot_be_read_is_found(town: Town, text: str) -> None:
    (town.home.path / "policy.yaml").write_text(text)
    assert_bad(town, "policy", "policy.yaml")


def test_an_approval_that_nobody_signed_is_found(town: Town) -> None:
    (town.home.path / "approvals.jsonl").write_text('{"decision": "approve"}\n')
    assert_bad(town, "approvals", "approvals.jsonl, line 1")


def test_a_ledger_that_is_none_is_found(town: Town) -> None:
    (town.home.path / "ledger.db").write_bytes(b"this was a ledger once, and is none any more" * 100)
    assert_bad(town, "ledger", "ledger.db")


def test_data_that_is_gone_is_found_and_data_without_fraud_is_worth_a_warning(town: Town, rows: Any) -> None:
    import pyarrow as pa

    honest = rows.set_column(
        rows.column_names.index("label"), "label", pa.array([0] * rows.num_rows, rows["label"].type)
    )
    BankFolder.fill(town.home.path, "north", honest, GENERATED_CONTRACT)
    assert_bad(town, "data", "0 of them fraud", "warning")
    (town.home.path / "transactions.parquet").unlink()
    assert_bad(town, "data", "transactions.parquet")


def test_a_coordinator_that_does_not_answer_is_found(town: Town) -> None:
    town.kit_for(free_port())
    found = town.found()
    assert found["connection"].verdict == "bad"
    assert "clock" not in found
    (town.home.path / "coordinator.json").unlink()
    assert_bad(town, "connection", "take the kit again")


def test_a_coordinator_by_another_ca_is_found(town: Town, tmp_path: Path) -> None:
    foreign = Pki.create(tmp_path / "foreign", "small", Hosts(("localhost",), ("127.0.0.1",)))
    clock = Clock(foreign)
    town.kit_for(clock.port)
    assert_bad(town, "connection", "certificate verify failed")
    clock.close()


def test_an_expired_certificate_is_found_and_one_that_soon_will_be_is_worth_a_warning(town: Town) -> None:
    town.pki.renew(days=60, now=begun())
    clock = Clock(town.pki)
    town.kit_for(clock.port)
    assert_bad(town, "certificate", "good until", "warning")
    clock.close()
    town.pki.renew(days=30, now=begun())
    clock = Clock(town.pki)
    town.kit_for(clock.port)
    assert_bad(town, "connection", "expired")
    clock.close()


@pytest.mark.parametrize(("off", "verdict"), [(-60.0, "bad"), (3600.0, "bad"), (1.5, "good"), (-1.5, "good")])
def test_a_clock_that_flower_would_not_accept_is_found(town: Town, off: float, verdict: str) -> None:
    clock = Clock(town.pki, off)
    town.kit_for(clock.port)
    words = "set it by NTP" if verdict == "bad" else "within"
    assert_bad(town, "clock", words, verdict)
    clock.close()


def test_a_coordinator_that_does_not_say_its_time_is_worth_a_warning(town: Town) -> None:
    clock = Clock(town.pki, silent=True)
    town.kit_for(clock.port)
    assert_bad(town, "clock", "does not say its time", "warning")
    clock.close()


def test_the_command_ends_with_1_when_something_is_bad_and_with_0_otherwise(
    town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def node(*words: str) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["bank-node", "check", str(town.home.path), *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().out

    code, said = node()
    assert (code, "good" in said, "bad" in said) == (0, True, False)
    (town.home.path / "policy.yaml").write_text("[red]: [")
    code, said = node()
    assert code == 1
    assert "bad" in said
    code, said = node("--json")
    assert code == 1
    assert {row["what"]: row["verdict"] for row in json.loads(said)}["policy"] == "bad"
