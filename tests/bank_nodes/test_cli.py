"""The `bank-node` command: what a bank's IT department types, what it is told, and how each command ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import PRIVATE, tiny_config

from bank_nodes import cli
from bank_nodes.rules.approvals import Approvals
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.privacy.ledger import Ledger, Release
from fraudfl.trust.enrolment import read_enrolment
from fraudfl.trust.keys import fingerprint
from server.trust.certificates import Hosts
from server.trust.pki import Pki


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Node = Callable[..., Said]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Node:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FRAUDFL_DEBUG", raising=False)

    def call(*words: str | Path | int) -> Said:
        monkeypatch.setattr(sys, "argv", ["bank-node", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return call


def plan_of(**phase: Any) -> Plan:
    config = tiny_config({**PRIVATE, **phase})
    return make_plan(config, config.phases[0], GENERATED_CONTRACT)


FIRST, SECOND = plan_of(), plan_of(rounds=2)


@pytest.fixture(scope="module")
def rows() -> Any:
    return generate(tiny_config().data.generator.model_copy(update={"transactions": 1000}), 1)


@pytest.fixture
def folder(tmp_path: Path, rows: Any, node: Node) -> Path:
    """A bank's folder with data, and with two plans that it was offered."""
    path = tmp_path / "north"
    assert node("init", path, "--bank", "north").code == 0
    BankFolder.fill(path, "north", rows, GENERATED_CONTRACT)
    (path / "policy.yaml").write_text(
        "uncovered: [encoder sketches, score histograms, what windows carry into other rows]\n"
    )
    (path / "plans").mkdir()
    for plan in (FIRST, SECOND):
        (path / "plans" / f"{plan.hash}.json").write_bytes(plan.canonical_json())
    return path


# Joining.


def test_init_shows_the_fingerprint_to_tell_and_refuses_to_do_it_twice(node: Node, tmp_path: Path) -> None:
    said = node("init", tmp_path / "north", "--bank", "north")
    assert said.code == 0
    assert fingerprint(read_enrolment(tmp_path / "north/enrolment.json").public_key) in said.out
    again = node("init", tmp_path / "north", "--bank", "north")
    assert (again.code, again.out) == (1, "")
    assert "TrustError" in again.err
    assert "never overwritten" in again.err
    assert "Traceback" not in again.err


def test_join_takes_the_kit_only_with_the_operators_fingerprint(node: Node, tmp_path: Path) -> None:
    node("init", tmp_path / "north", "--bank", "north")
    pki = Pki.create(tmp_path / "pki", "small", Hosts(("localhost",)))
    pki.add(read_enrolment(tmp_path / "north/enrolment.json"))
    pki.write_kit(tmp_path / "kit")
    refused = node("join", tmp_path / "north", tmp_path / "kit")
    assert (refused.code, "has fingerprint SHA256:" in refused.err) == (1, True)
    said = node("join", tmp_path / "north", tmp_path / "kit", "--operator", fingerprint(pki.operator))
    assert (said.code, said.out) == (0, "consortium small, roster 2: north\n")
    assert node("join", tmp_path / "north", tmp_path / "kit").code == 0


def test_import_says_how_much_it_read_or_where_it_is_wrong(node: Node, tmp_path: Path) -> None:
    node("init", tmp_path / "north", "--bank", "north")
    header, row = "transaction_id,time,account,counterparty,amount,label", "1,2025-01-01 10:00:00,a,m,1,0"
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n")
    (tmp_path / "d.yaml").write_text("source: table\ntable: {path: t.csv}\n")
    assert "1 transactions in" in node("import", tmp_path / "north", tmp_path / "d.yaml").out
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n2,2025-01-01 10:00:00,a,m,much,0\n")
    said = node("import", tmp_path / "north", tmp_path / "d.yaml")
    assert said.code == 1
    assert "t.csv: column 'amount' holds text ('much') in row 2" in said.err
    (tmp_path / "d.yaml").write_text("source: tabel\n")
    assert node("import", tmp_path / "north", tmp_path / "d.yaml").code == 2


def test_wrong_usage_ends_with_2_and_a_folder_that_is_none_with_1(node: Node, tmp_path: Path) -> None:
    assert node("approve", tmp_path).code == 2
    assert node("nonsense").code == 2
    said = node("status", tmp_path / "nowhere")
    assert (said.code, "Traceback" in said.err) == (1, False)
    assert "enrolment.json" in said.err
    assert "Traceback" in node("--debug", "status", tmp_path / "nowhere").err


def test_a_wrong_policy_ends_with_2_and_names_the_line(node: Node, folder: Path) -> None:
    (folder / "policy.yaml").write_text("caps:\n  epsilon: {phase: much}\n")
    said = node("plans", folder)
    assert said.code == 2
    assert "policy.yaml, line 2: caps.epsilon.phase: found 'much'" in said.err


# Deciding.


def standings(node: Node, folder: Path) -> dict[str, str]:
    return {row["hash"]: row["standing"] for row in json.loads(node("plans", folder, "--json").out)}


def test_plans_are_shown_with_what_they_would_do_and_why_no_rule_approves_them(node: Node, folder: Path) -> None:
    assert standings(node, folder) == {FIRST.hash: "waiting", SECOND.hash: "waiting"}
    said = node("plans", folder).out
    for words in (FIRST.hash, "waiting for a decision", "Privacy mode local", "not approved by rule"):
        assert words in said


def test_a_plan_is_approved_revoked_and_approved_again_by_its_first_letters(node: Node, folder: Path) -> None:
    short = FIRST.hash[:8]
    said = node("approve", folder, short.upper(), "--by", "Ada Lovelace", "--reason", "board of 3 May")
    assert said.code == 0
    assert f"{FIRST.hash[:12]}, phase {FIRST.phase}: approve by Ada Lovelace" in said.out
    assert standings(node, folder) == {FIRST.hash: "approve", SECOND.hash: "waiting"}
    assert "what is approved cannot be rejected" in node("reject", folder, short, "--by", "Ada").err
    assert node("revoke", folder, short, "--by", "Ada").code == 0
    assert standings(node, folder)[FIRST.hash] == "revoke"
    assert node("approve", folder, short, "--by", "Ada").code == 0
    assert standings(node, folder)[FIRST.hash] == "approve"


def test_a_rejected_plan_is_rejected_and_what_is_not_approved_cannot_be_revoked(node: Node, folder: Path) -> None:
    assert node("revoke", folder, SECOND.hash, "--by", "Ada").code == 1
    assert node("reject", folder, SECOND.hash, "--by", "Ada").code == 0
    assert standings(node, folder)[SECOND.hash] == "reject"


def test_every_decision_is_in_the_ledger_with_its_digest(node: Node, folder: Path) -> None:
    node("approve", folder, FIRST.hash, "--by", "Ada", "--reason", "[b]fine[/b]")
    (decision,) = Approvals(folder).all()
    (entry,) = [json.loads(line) for line in node("log", folder, "--json").out.splitlines()]
    assert entry["plan_hash"] == FIRST.hash
    assert decision.digest[:16] in entry["note"]
    assert "[b]fine[/b]" in node("log", folder).out
    assert node("log", folder, "--since", entry["entry"], "--json").out == ""


@pytest.mark.parametrize("short", ["", FIRST.hash[:5], "abcdef12", "*"])
def test_a_hash_that_names_no_plan_or_too_little_of_one_decides_nothing(node: Node, folder: Path, short: str) -> None:
    said = node("approve", folder, short, "--by", "Ada")
    assert said.code == 1
    assert "give six letters or more" in said.err
    assert Approvals(folder).all() == ()
    assert Ledger(folder / "ledger.db").head()[0] == 0


def test_what_the_policy_forbids_is_not_approved_and_not_written_down(node: Node, folder: Path) -> None:
    (folder / "policy.yaml").write_text(
        "signers: [Grace Hopper]\nuncovered: [encoder sketches, score histograms, what windows carry into other rows]\n"
    )
    said = node("approve", folder, FIRST.hash, "--by", "Ada")
    assert said.code == 1
    assert "'Ada' is not among `signers`" in said.err
    assert Ledger(folder / "ledger.db").head()[0] == 0
    assert node("approve", folder, FIRST.hash, "--by", "Grace Hopper").code == 0


# Looking.


def test_status_says_what_was_decided_and_what_was_spent(node: Node, folder: Path) -> None:
    (folder / "coordinator.json").write_text('{"address": "localhost:9092"}')
    node("approve", folder, FIRST.hash, "--by", "Ada")
    spend(folder, 1)
    found = json.loads(node("status", folder, "--json").out)
    assert (found["bank"], found["daemon"], found["coordinator"]) == ("north", "stopped", "localhost:9092")
    assert (found["open"], found["ledger_entries"]) == ("now", 3)
    first, second = sorted(found["plans"], key=lambda row: row["hash"] != FIRST.hash)
    assert (first["standing"], first["rounds"], first["releases"]) == ("approve", 1, 1)
    assert 0 < first["epsilon"] < 4
    assert (second["standing"], second["epsilon"], second["delta"]) == ("waiting", 0.0, 1e-6)
    assert f"plan {FIRST.hash[:12]}" in node("status", folder).out


def spend(folder: Path, *rounds: int) -> None:
    """Release one update a round, as the gate would."""
    assert FIRST.round_mechanism is not None
    ledger = Ledger(folder / "ledger.db")
    for number in rounds:
        release = Release(
            key=f"round {number}",
            plan_hash=FIRST.hash,
            instance="i",
            phase=FIRST.phase,
            round=number,
            attempt=1,
            kind="train",
            mechanism=FIRST.round_mechanism.to_dict(),
        )
        ledger.reserve(release)
        ledger.release(release.key, b"an update")


# The ledger.


def test_an_unbroken_ledger_verifies_and_so_does_its_export(node: Node, folder: Path, tmp_path: Path) -> None:
    spend(folder, 1, 2)
    entry, digest = Ledger(folder / "ledger.db").head()
    assert node("ledger", "verify", folder).out == f"{entry} entries, all in order; head {digest}\n"
    (tmp_path / "export").write_text(node("ledger", "export", folder).out)
    assert node("ledger", "verify-export", tmp_path / "export").out == f"{entry} entries, all in order; head {digest}\n"


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [lines[0].replace('"round":1', '"round":7'), *lines[1:]],
        lambda lines: [*lines[:1], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
    ],
    ids=["changed", "cut", "moved"],
)
def test_an_edited_export_does_not_verify(
    node: Node, folder: Path, tmp_path: Path, edit: Callable[[list[str]], list[str]]
) -> None:
    spend(folder, 1, 2)
    lines = node("ledger", "export", folder).out.splitlines()
    edited = edit(lines)
    assert edited != lines
    (tmp_path / "export").write_text("\n".join(edited) + "\n")
    said = node("ledger", "verify-export", tmp_path / "export")
    assert (said.code, said.out) == (1, "")
    assert "PrivacyError" in said.err
    assert node("ledger", "verify-export", tmp_path / "none").code == 1


def test_an_edited_ledger_does_not_verify_and_names_the_entry(node: Node, folder: Path) -> None:
    import sqlite3
    from contextlib import closing

    spend(folder, 1, 2)
    with closing(sqlite3.connect(folder / "ledger.db")) as connection, connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE entries SET round = 9 WHERE entry = 2")
        for _, text in guards:
            connection.execute(text)
    said = node("ledger", "verify", folder)
    assert said.code == 1
    assert "entry 2" in said.err


def test_a_ledger_from_a_backup_is_repaired_by_charging_everything_and_closing_the_plans(
    node: Node, folder: Path
) -> None:
    node("approve", folder, FIRST.hash, "--by", "Ada")
    spend(folder, 1)
    backup = (folder / "ledger.db").read_bytes()
    refused = node("restore", folder, "--seen", 3, "--by", "Ada")
    assert (refused.code, "nothing up to 3 is missing" in refused.err) == (1, True)
    spend(folder, 2, 3)
    seen = Ledger(folder / "ledger.db").head()[0]
    for path in folder.glob("ledger.db*"):
        path.unlink()
    (folder / "ledger.db").write_bytes(backup)

    said = node("restore", folder, "--seen", seen, "--by", "Ada", "--yes")
    assert said.code == 0
    most = FIRST.rounds + FIRST.privacy.spare_attempts
    assert f"{most - 1} releases are charged, 1 plans are closed" in said.out
    ledger = Ledger(folder / "ledger.db")
    assert len(ledger.mechanisms(FIRST.hash)) == most
    assert ledger.mechanisms(SECOND.hash) == []
    assert not ledger.behind(seen)
    ledger.verify()
    assert min(entry.entry for entry in ledger.entries() if entry.event == "restored") > seen
    assert standings(node, folder) == {FIRST.hash: "revoke", SECOND.hash: "waiting"}
    assert node("restore", folder, "--seen", seen, "--by", "Ada", "--yes").code == 1
