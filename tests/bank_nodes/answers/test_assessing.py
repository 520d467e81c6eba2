"""A bank's side of an assessment: what it writes down for itself, and what it says when it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from bank_tables import CONTRACT, LISTS, SPLIT, bank_table
from memory_fleet import INSTANCE, asking, make_bank

from bank_nodes import cli
from bank_nodes.answers.answering import reply_to
from bank_nodes.folder.readiness_reports import kept_readiness
from fraudfl.assessment.counting import count_profile
from fraudfl.assessment.demands import Demands
from fraudfl.assessment.negotiated import Schema, negotiate
from fraudfl.assessment.profile import Profile
from fraudfl.assessment.published import PAYLOAD, Published
from fraudfl.config import ConsortiumConfig, EncoderConfig, FraudflConfig
from fraudfl.errors import SourceError, WireError
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.protocols import Reply
from fraudfl.transfer.pack import unpack_counts


def plan_of(**phase: Any) -> Plan:
    config = FraudflConfig.model_validate(
        {
            "consortium": ConsortiumConfig(name="test"),
            "split": SPLIT,
            "encoder": EncoderConfig(categories={**LISTS}),
            "phases": [{"name": "look", "kind": "assessment", **phase}],
        }
    )
    return make_plan(config, config.phases[0], CONTRACT)


PLAN = plan_of()
ROWS = 400


@pytest.fixture
def folder(tmp_path: Path) -> BankFolder:
    """A bank that has joined the assessment's plan, and keeps its amounts in cents."""
    made = make_bank(tmp_path / "bank-01")
    amounts = bank_table(ROWS, seed=1)["amount"].to_numpy() * 100
    filled = BankFolder.fill(made.path, "bank-01", bank_table(ROWS, seed=1, amount=amounts), CONTRACT)
    reply_to(filled, asking(PLAN, "join"))
    return filled


def sums(folder: BankFolder) -> Published:
    spec = PLAN.profile
    assert spec is not None
    tables = [folder.table(), *(bank_table(ROWS, seed=seed) for seed in (2, 3, 4))]
    profile = Profile(spec, sum(count_profile(table, spec, SPLIT) for table in tables) * 1.0, 4)
    return Published.of(profile, negotiate(profile, Demands()))


def tell(folder: BankFolder, data: bytes) -> Reply:
    return reply_to(folder, asking(PLAN, "readiness", payloads={PAYLOAD: data}))


def test_the_profile_that_leaves_is_the_tables_count(folder: BankFolder) -> None:
    spec = PLAN.profile
    assert spec is not None
    reply = reply_to(folder, asking(PLAN, "profile"))
    counted = count_profile(folder.table(), spec, SPLIT)
    assert unpack_counts(reply.payloads["profile"], spec.size).tolist() == counted.tolist()
    assert set(reply.payloads) == {"profile"}


def test_what_the_bank_hears_stays_in_its_folder(folder: BankFolder) -> None:
    reply = tell(folder, sums(folder).to_bytes())
    assert (dict(reply.payloads), dict(reply.values)) == ({}, {})
    (report,) = kept_readiness(folder.path)
    assert (report["bank"], report["phase"], report["banks"]) == ("bank-01", "look", 4)
    (unit,) = [one for one in report["remarks"] if one["topic"] == "column amount"]
    assert (unit["verdict"], "scale: {amount: 0.01}" in unit["advice"]) == ("bad", True)


@pytest.mark.parametrize("data", [b"{}", b"\x00", b'{"sums": [1], "banks": 3, "deviation": 0, "schema": {}}'])
def test_sums_of_something_else_are_refused_and_leave_no_report(folder: BankFolder, data: bytes) -> None:
    with pytest.raises(WireError):
        tell(folder, data)
    assert kept_readiness(folder.path) == []


def test_a_request_without_sums_is_refused(folder: BankFolder) -> None:
    with pytest.raises(WireError, match="brings no sums"):
        reply_to(folder, asking(PLAN, "readiness"))


def test_whether_the_report_can_be_made_is_not_told(folder: BankFolder, caplog: pytest.LogCaptureFixture) -> None:
    data = sums(folder).to_bytes()
    folder.transactions.unlink()
    reply = tell(folder, data)
    assert (dict(reply.payloads), dict(reply.values)) == ({}, {})
    assert kept_readiness(folder.path) == []
    assert "could not be written" in caplog.text


def test_a_report_that_was_damaged_is_named(folder: BankFolder) -> None:
    tell(folder, sums(folder).to_bytes())
    (folder.path / "readiness" / f"{INSTANCE}.json").write_text("{")
    with pytest.raises(SourceError, match="cannot be read"):
        kept_readiness(folder.path)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bank-node", "readiness", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return call


def test_the_command_shows_what_is_wrong_first_and_ends_with_1(folder: BankFolder, command: Any) -> None:
    tell(folder, sums(folder).to_bytes())
    code, out = command(folder.path)
    assert code == 1
    assert "bank bank-01 against 4 banks of test, look" in out
    lines = out.splitlines()
    assert lines[2].startswith("bad")
    assert "column amount" in lines[2]


def test_the_command_ends_with_0_where_nothing_is_bad_and_speaks_json(folder: BankFolder, command: Any) -> None:
    BankFolder.fill(folder.path, "bank-01", bank_table(ROWS, seed=1, currency=["EUR"] * ROWS), CONTRACT)
    tell(folder, sums(folder).to_bytes())
    code, out = command(folder.path, "--json", "--phase", "look")
    assert code == 0
    assert {one["verdict"] for one in json.loads(out)["remarks"]} == {"good"}


def test_without_a_report_the_command_says_when_there_will_be_one(folder: BankFolder, command: Any) -> None:
    assert command(folder.path) == (
        1,
        f"{folder.path}: no readiness report yet; one is written when an assessment ends\n",
    )
    assert "of phase other yet" in command(folder.path, "--phase", "other")[1]


def test_a_schema_that_leaves_out_what_nobody_asked_about_is_refused(folder: BankFolder) -> None:
    published = sums(folder).model_copy(update={"schema_": Schema(doubtful=("password",))})
    with pytest.raises(WireError, match="did not ask about"):
        tell(folder, published.to_bytes())
