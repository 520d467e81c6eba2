"""The consortium's privacy report from a workspace, after a real private phase over tiny banks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from memory_fleet import PRIVATE, Consortium, make_banks, tiny_config
from typer.testing import CliRunner

from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import CheckpointError
from fraudfl.planning import make_plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.report.facts import Phase as Stated
from fraudfl.report.facts import Report
from pipelines.phase import run_phase
from server.commands.report import report_app
from server.reports.reporting import report_consortium
from server.store.checkpoint import FileCheckpoints
from server.store.events import EventLog
from server.store.workspace import Workspace
from server.trust.certificates import Hosts
from server.trust.pki import Pki

CONFIG = tiny_config(PRIVATE | {"rounds": 2}, banks=3)
PLAN = make_plan(CONFIG, CONFIG.phases[0], GENERATED_CONTRACT)
BANKS = ("bank-01", "bank-02", "bank-03")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose one phase has run to its end."""
    workspace = Workspace(tmp_path_factory.mktemp("ran") / "work")
    workspace.open(CONFIG, resume=False)
    make_banks(workspace.path, CONFIG)
    folder = workspace.phase("pilot")
    (folder.path / "plan.json").write_bytes(PLAN.canonical_json())
    one = Consortium(
        workspace.banks,
        CONFIG,
        folder.path,
        checkpoints=FileCheckpoints(folder.checkpoints),
        progress=EventLog(folder.events),  # type: ignore[arg-type]
    )
    folder.set_result(run_phase(one.phase(), ()))
    return workspace.path


@pytest.fixture
def workspace(ran: Path, tmp_path: Path) -> Workspace:
    """A copy of it, to spoil."""
    shutil.copytree(ran, tmp_path / "work")
    return Workspace(tmp_path / "work")


@pytest.fixture
def made(workspace: Workspace, tmp_path: Path) -> Callable[..., Report]:
    """Write a report and read its JSON."""

    def make(**facts: Any) -> Report:
        report_consortium(workspace, tmp_path / "out", **facts)
        return Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes())

    return make


def the_phase(report: Report) -> Stated:
    (one,) = report.phases
    return one


def ledgers(workspace: Workspace) -> Iterator[Ledger]:
    for bank in BANKS:
        yield Ledger(workspace.banks / bank / "ledger.db")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(report_app, [str(word) for word in words], env={"COLUMNS": "300"})


def test_in_a_simulation_the_largest_spend_of_all_ledgers_is_stated(
    workspace: Workspace, made: Callable[..., Report]
) -> None:
    report = made()
    figures = [
        epsilon([mechanism_from_dict(facts) for facts in ledger.mechanisms(PLAN.hash)], PLAN.privacy.delta)
        for ledger in ledgers(workspace)
    ]
    spending = the_phase(report).spending
    assert spending is not None
    assert (report.setting, spending.basis) == ("simulation", "ledgers-on-this-machine")
    assert spending.epsilon == pytest.approx(max(figures), rel=1e-9)
    assert [one.bank for one in the_phase(report).participants] == list(BANKS)


def test_every_ledger_is_checked_against_what_the_coordinator_has_seen(
    workspace: Workspace, made: Callable[..., Report]
) -> None:
    found = made().ledgers
    assert [(one.bank, one.verified) for one in found] == [(bank, True) for bank in BANKS]
    assert [(one.entries, one.head) for one in found] == [ledger.head() for ledger in ledgers(workspace)]
    assert all("as the coordinator has seen it" in one.witness for one in found)


def test_a_ledger_that_was_begun_anew_is_found_out(workspace: Workspace, made: Callable[..., Report]) -> None:
    path = workspace.banks / "bank-02" / "ledger.db"
    path.unlink()
    Ledger(path).note("a new beginning")
    report = made()
    assert [one.verified for one in report.ledgers] == [True, False, True]
    assert any("bank-02" in problem for problem in report.problems)


def test_releases_rounds_and_bytes_are_what_the_coordinator_heard(
    workspace: Workspace, made: Callable[..., Report]
) -> None:
    one = the_phase(made())
    assert {left.kind: left.releases for left in one.left if left.releases} == {
        "join": 3,
        "sketch": 3,
        "train": 6,
        "evaluate": 3,
    }
    released = sum(
        entry.size for ledger in ledgers(workspace) for entry in ledger.entries() if entry.event == "released"
    )
    assert one.measured_up is not None
    assert one.measured_up >= released
    assert {(bank.rounds, bank.missed) for bank in one.participants} == {(2, 0)}
    assert all(bank.accepted_at for bank in one.participants)
    assert (one.status, one.roster) == ("completed", 3)


def test_digests_are_those_of_what_the_phase_left(workspace: Workspace, made: Callable[..., Report]) -> None:
    trained = the_phase(made()).trained
    assert trained is not None
    stated = json.loads((workspace.coordinator / "phases/pilot/bundle/bundle.json").read_bytes())["digest"]
    assert trained.model_digest == stated
    assert (trained.rounds_done, trained.rounds_planned) == (2, 2)


def test_a_bundle_that_was_changed_has_no_digest_and_is_a_problem(
    workspace: Workspace, made: Callable[..., Report]
) -> None:
    path = workspace.coordinator / "phases/pilot/bundle/MODEL_CARD.md"
    path.write_text(path.read_text() + "better than it was\n")
    report = made()
    trained = the_phase(report).trained
    assert trained is not None
    assert trained.model_digest == ""
    assert any("MODEL_CARD.md: SHA-256 is" in problem for problem in report.problems)


def test_at_real_banks_only_what_was_heard_is_known(workspace: Workspace, made: Callable[..., Report]) -> None:
    mechanism = PLAN.round_mechanism
    assert mechanism is not None
    shutil.rmtree(workspace.banks)
    (workspace.coordinator / "phases/pilot/roster.json").write_text(json.dumps({"banks": [*BANKS, "bank-04"]}))
    report = made()
    one = the_phase(report)
    assert (report.setting, one.roster) == ("deployment", 4)
    assert one.spending is not None
    assert one.spending.basis == "heard-by-coordinator"
    assert one.spending.epsilon == pytest.approx(epsilon([mechanism] * 2, PLAN.privacy.delta), rel=1e-9)
    assert {bank.bank: (bank.rounds, bank.accepted_at) for bank in one.participants}["bank-04"] == (0, "")
    assert [record.verified for record in report.ledgers] == [None] * 3
    assert one.data is None


def test_a_coordinator_that_heard_a_reply_twice_states_no_more_than_the_gate_lets_through(
    workspace: Workspace, made: Callable[..., Report]
) -> None:
    shutil.rmtree(workspace.banks)
    events = workspace.phase("pilot").events
    again = [line for line in events.read_text().splitlines() if '"train"' in line]
    with events.open("a") as file:
        file.write("\n".join(again * 5) + '\n{"event": "hea')
    report = made()
    spending = the_phase(report).spending
    assert spending is not None
    assert spending.epsilon <= 4.0 * (1 + 1e-6)
    assert any("1 lines are no events" in problem for problem in report.problems)


def test_with_the_operators_key_the_report_is_signed_and_without_it_says_so(
    workspace: Workspace, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    shutil.rmtree(workspace.coordinator / "pki", ignore_errors=True)
    unsigned = run("privacy", "--workspace", workspace.path, "--out", out)
    assert (unsigned.exit_code, "not signed" in unsigned.output) == (0, True), unsigned.output
    refused = run("verify", out)
    assert (refused.exit_code, "there is no signature" in str(refused.exception)) == (1, True)
    pki = Pki.create(workspace.coordinator / "pki", "tiny", Hosts(("localhost",)))
    signed = run("privacy", "--workspace", workspace.path, "--out", out)
    assert (signed.exit_code, "not signed" in signed.output) == (0, False)
    good = run("verify", out, "--key", pki.operator_pub)
    assert (good.exit_code, "as it was signed on" in good.output) == (0, True)
    bank = workspace.banks / "bank-01" / "keys" / "bank.pub"
    unknown = run("verify", out, "--key", bank)
    assert (unknown.exit_code, "unknown key" in str(unknown.exception)) == (1, True)
    (out / "report.pdf").write_bytes((out / "report.pdf").read_bytes() + b"\n")
    changed = run("verify", out)
    assert (changed.exit_code, "report.pdf: was changed" in str(changed.exception)) == (1, True)


def test_nothing_of_a_banks_folder_is_in_the_consortiums_report(
    workspace: Workspace, made: Callable[..., Report]
) -> None:
    text = json.dumps(made().model_dump(mode="json"))
    for bank in BANKS:
        key = (workspace.banks / bank / "keys" / "bank.key").read_text().splitlines()[1]
        assert key not in text
    assert '"data": null' in text


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a workspace"):
        report_consortium(Workspace(tmp_path / "none"), tmp_path / "out")


def test_a_phase_that_was_not_begun_is_not_made_up(workspace: Workspace, made: Callable[..., Report]) -> None:
    (workspace.coordinator / "phases/pilot/plan.json").unlink()
    assert made().phases == ()
