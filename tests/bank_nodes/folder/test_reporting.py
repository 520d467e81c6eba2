"""A bank's privacy report from its own folder, made by releases through its real gate."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from memory_fleet import PRIVATE, asking, draft_of, make_bank, plan_of
from typer.testing import CliRunner

from bank_nodes.commands.report import report_app
from bank_nodes.folder.reporting import report_bank
from bank_nodes.gate.kept_receipts import KeptReceipts
from bank_nodes.gate.release import Gate
from bank_nodes.rules.approvals import Approvals
from fraudfl.errors import FraudflError, TrustError
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger, Release
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.report.facts import AuditResult, Report
from fraudfl.trust.keys import load_key, new_key, public_text
from fraudfl.trust.receipts import sign_receipt

OPEN, PRIVATE_PLAN = plan_of(), plan_of(**PRIVATE)
ROUNDS = 2
POLICY = {"caps": {"epsilon": {"total": 5.0}}, "uncovered": ["*"]}


def answer(folder: BankFolder, plan: Plan, kind: Any, **facts: Any) -> None:
    Gate(folder).answer(asking(plan, kind, **facts), lambda asked: draft_of(asked, kind))


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank that took part in two phases: one in the open, one private with an update sent twice."""
    folder = make_bank(tmp_path_factory.mktemp("bank") / "north", "north", **POLICY)
    for plan in (OPEN, PRIVATE_PLAN):
        answer(folder, plan, "join")
        answer(folder, plan, "sketch")
        for number in range(1, ROUNDS + 1):
            answer(folder, plan, "train", round=number)
        answer(folder, plan, "evaluate")
    answer(folder, PRIVATE_PLAN, "train", round=1)
    with pytest.raises(FraudflError):
        answer(folder, PRIVATE_PLAN, "train", round=99)
    return folder.path


@pytest.fixture
def bank(used: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    shutil.copytree(used, tmp_path / "north")
    return tmp_path / "north"


@pytest.fixture
def made(bank: Path, tmp_path: Path) -> Callable[..., Report]:
    """Write a report and read its JSON."""

    def make(**facts: Any) -> Report:
        report_bank(bank, tmp_path / "out", **facts)
        return Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes())

    return make


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(report_app, [str(word) for word in words], env={"COLUMNS": "300"})


def test_counts_and_bytes_are_those_of_the_ledgers_rows(bank: Path, made: Callable[..., Report]) -> None:
    report = made()
    query = "SELECT kind, count(*), sum(bytes) FROM entries WHERE event = 'released' AND plan_hash = ? GROUP BY kind"
    for phase, plan in zip(report.phases, (OPEN, PRIVATE_PLAN), strict=True):
        with sqlite3.connect(bank / "ledger.db") as connection:
            rows = {kind: (count, sent) for kind, count, sent in connection.execute(query, (plan.hash,))}
        assert phase.plan_hash == plan.hash
        assert {left.kind: (left.releases, left.bytes) for left in phase.left if left.releases} == rows
    again = {left.kind: left.resent for left in report.phases[1].left if left.resent}
    assert again == {"train": 1}
    assert report.phases[1].refused == {"ReleaseRefused": 1}
    assert report.phases[1].trained is not None
    assert report.phases[1].trained.rounds_done == ROUNDS


def test_epsilon_is_that_of_the_mechanisms_charged_and_left_is_the_rest(
    bank: Path, made: Callable[..., Report]
) -> None:
    report = made()
    charged = [mechanism_from_dict(facts) for facts in Ledger(bank / "ledger.db").mechanisms(PRIVATE_PLAN.hash)]
    expected = epsilon(charged, PRIVATE_PLAN.privacy.delta)
    assert report.phases[0].spending is None
    spending = report.phases[1].spending
    assert spending is not None
    assert spending.epsilon == pytest.approx(expected, rel=1e-9)
    assert (spending.charges, spending.cap, spending.basis) == (ROUNDS, 4.0, "ledger")
    assert spending.left == pytest.approx(4.0 - expected)
    ever = next(total.spending for total in report.totals if total.window == "all")
    assert (ever.cap, ever.unit) == (5.0, "transaction")
    assert ever.epsilon == pytest.approx(expected, rel=1e-9)


def test_what_left_without_privacy_is_named_as_the_plan_names_it(made: Callable[..., Report]) -> None:
    private = made().phases[1]
    names = {content.name for left in private.left for content in left.contents if not content.covered}
    assert (
        names
        == set(PRIVATE_PLAN.not_covered)
        == {"encoder sketches", "score histograms", "what windows carry into other rows"}
    )


def test_decisions_are_stated_with_who_when_and_why(bank: Path, made: Callable[..., Report]) -> None:
    Approvals(bank).decide(PRIVATE_PLAN, "revoke", "Jana Novák", "the quarter ended")
    phase = made().phases[1]
    assert [(one.decision, one.by, one.reason) for one in phase.decisions] == [
        ("approve", "policy", ""),
        ("revoke", "Jana Novák", "the quarter ended"),
    ]
    assert phase.status == "approval revoked"


def test_no_row_and_no_secret_is_in_any_of_the_files(bank: Path, made: Callable[..., Report], tmp_path: Path) -> None:
    made()
    table = BankFolder(bank).table()
    private = [line for line in (bank / "keys" / "bank.key").read_text().splitlines() if not line.startswith("---")]
    values = {
        str(value)
        for name in ("transaction_id", "account", "counterparty", "time")
        for value in table[name].to_pylist()
    }
    telling = {value for value in values if len(value) > 5}
    assert telling
    for path in (tmp_path / "out").iterdir():
        # The PDF is set from the same blocks as the HTML.
        text = path.read_bytes().decode("latin-1")
        assert [line for line in private if line in text] == []
        assert [value for value in telling if value in text] == []


def test_rows_are_counted_by_the_plans_split(bank: Path, made: Callable[..., Report]) -> None:
    data = made().phases[0].data
    assert data is not None
    days = BankFolder(bank).table()["time"].to_pandas()
    first, last = OPEN.split.test_days or (0, 0)
    day = (days - days.dt.normalize().min()).dt.days
    assert {part.part: part.rows for part in data.parts}["test"] == int(((day >= first) & (day <= last)).sum())


def test_an_altered_ledger_is_stated_on_the_first_page(bank: Path, made: Callable[..., Report]) -> None:
    with sqlite3.connect(bank / "ledger.db") as connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE entries SET note = 'nothing happened' WHERE entry = 2")
        for _, statement in guards:
            connection.execute(statement)
    with pytest.raises(FraudflError):
        Ledger(bank / "ledger.db").verify()
    report = made()
    assert report.ledgers[0].verified is False
    assert "entry 2 was altered" in report.problems[0]


def test_a_ledger_whose_end_was_cut_off_does_not_fit_the_operators_receipts(
    bank: Path, made: Callable[..., Report], tmp_path: Path
) -> None:
    operator = new_key()
    (bank / "operator.pub").write_text(public_text(operator) + "\n")
    shutil.copy(bank / "ledger.db", tmp_path / "older.db")
    reply = Gate(BankFolder(bank)).answer(asking(PRIVATE_PLAN, "train", round=3), lambda plan: draft_of(plan, "train"))
    KeptReceipts(bank).take(sign_receipt(operator, reply).to_bytes())
    (record,) = made().ledgers
    assert (record.verified, record.problem) == (True, "")
    assert record.witness == f"1 receipt signed by the operator, the newest for entry {reply.entry}"
    shutil.copy(tmp_path / "older.db", bank / "ledger.db")
    report = made()
    assert report.ledgers[0].verified is False
    assert f"the operator signed for entry {reply.entry}" in report.problems[0]


def test_approvals_that_were_edited_are_stated_and_none_counts(bank: Path, made: Callable[..., Report]) -> None:
    path = bank / "approvals.jsonl"
    path.write_text(path.read_text().replace('"policy"', '"person"'))
    report = made()
    assert [phase.decisions for phase in report.phases] == [(), ()]
    assert any("approvals.jsonl, line 1" in problem for problem in report.problems)


def test_a_plan_that_was_changed_leaves_the_records_of_it(bank: Path, made: Callable[..., Report]) -> None:
    path = bank / "plans" / f"{PRIVATE_PLAN.hash}.json"
    path.write_bytes(path.read_bytes().replace(b'"rounds":3', b'"rounds":4'))
    phase = made().phases[1]
    assert (phase.plan_known, phase.trained, phase.name) == (False, None, "pilot")
    assert sum(left.releases for left in phase.left) == ROUNDS + 3


def test_plans_that_a_coordinator_only_named_do_not_fill_the_report(bank: Path, made: Callable[..., Report]) -> None:
    ledger = Ledger(bank / "ledger.db")
    for number in range(50):
        made_up = f"{number:064}"
        facts = {"key": made_up, "plan_hash": made_up, "instance": "../..", "phase": "", "kind": "train"}
        ledger.refuse(Release(**facts, round=1, attempt=1), "ReleaseRefused: never offered here")
    report = made()
    assert (len(report.phases), report.unasked) == (2, 50)


def test_the_report_says_which_month_it_counts(bank: Path, made: Callable[..., Report]) -> None:
    later = made(clock=lambda: datetime(2031, 5, 17, 12, tzinfo=UTC))
    assert later.made_at == "2031-05-17T12:00:00+00:00"
    assert [total.window for total in later.totals] == ["all"]


def test_the_signature_is_the_banks_and_a_key_open_to_others_signs_nothing(bank: Path, tmp_path: Path) -> None:
    (bank / "keys" / "bank.key").chmod(0o644)
    with pytest.raises(TrustError, match="lets other users at this key"):
        report_bank(bank, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_audit_results_are_stated(made: Callable[..., Report]) -> None:
    one = AuditResult(
        name="in/out", mechanism="dp-sgd", claimed=4.0, lower_bound=1.5, confidence=0.999, trials=9, verdict="sound"
    )
    assert made(audit=(one,)).audit == (one,)
    assert made().audit is None


def test_the_commands_write_verify_and_name_what_was_changed(bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    (bank / "audit.json").write_text("[]")
    written = run("privacy", bank, "--out", out)
    assert written.exit_code == 0, written.output
    assert json.loads((out / "report.json").read_bytes())["audit"] == []
    good = run("verify", out, "--folder", bank)
    assert (good.exit_code, "as it was signed on" in good.output) == (0, True)
    assert "was not checked" in run("verify", out).output
    stranger = make_bank(tmp_path / "south", "south")
    unknown = run("verify", out, "--folder", stranger.path)
    assert (unknown.exit_code, "unknown key" in str(unknown.exception)) == (1, True)
    (tmp_path / "right.pub").write_text(public_text(load_key(bank / "keys" / "bank.key")))
    assert run("verify", out, "--key", tmp_path / "right.pub").exit_code == 0
    (out / "report.html").write_bytes((out / "report.html").read_bytes().replace(b"4", b"3", 1))
    changed = run("verify", out)
    assert (changed.exit_code, "report.html: was changed" in str(changed.exception)) == (1, True)


def test_the_schema_is_printed() -> None:
    printed = json.loads(run("schema").output)
    assert printed["title"] == "Report"
    assert "phases" in printed["required"]
