"""`fraudfl report results` from a workspace, after a real phase over tiny banks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result
from memory_fleet import Consortium, make_banks, tiny_config
from typer.testing import CliRunner

from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import CheckpointError, TrustError
from fraudfl.planning import make_plan
from fraudfl.results.facts import Results
from fraudfl.transfer.savings import saving
from pipelines.gates import gated
from pipelines.phase import run_phase
from server.commands.report import report_app
from server.rounds.pooled import LocalBanks
from server.store.checkpoint import FileCheckpoints
from server.store.events import EventLog
from server.store.summary import write_summary
from server.store.workspace import Workspace
from server.trust.certificates import Hosts
from server.trust.decisions import release
from server.trust.pki import Pki

GATES = [
    {"name": "gain", "measure": "gain_over_alone.auprc", "at_least": -1.0},
    {"name": "drift", "measure": "drift.psi_max", "at_most": 0.1},
]
CONFIG = tiny_config({"rounds": 2, "baselines": ["alone"], "gates": GATES}, banks=3)
PLAN = make_plan(CONFIG, CONFIG.phases[0], GENERATED_CONTRACT)
BANKS = ("bank-01", "bank-02", "bank-03")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose one phase has run to its end, with exact figures and a gate that holds."""
    workspace = Workspace(tmp_path_factory.mktemp("ran") / "work")
    workspace.open(CONFIG, resume=False)
    make_banks(workspace.path, CONFIG)
    folder = workspace.phase("pilot")
    folder.set_roster(BANKS)
    (folder.path / "plan.json").write_bytes(PLAN.canonical_json())
    one = Consortium(
        workspace.banks,
        CONFIG,
        folder.path,
        checkpoints=FileCheckpoints(folder.checkpoints),
        progress=EventLog(folder.events),  # type: ignore[arg-type]
    )
    pooled = LocalBanks(workspace.banks, PLAN, one.phase().terms.instance, folder.path)
    outcome = gated(run_phase(one.phase(pooled), ("alone",)), CONFIG.phases[0].gates)
    folder.set_result(outcome)
    write_summary(CONFIG, workspace, [outcome])
    return workspace.path


@pytest.fixture
def workspace(ran: Path, tmp_path: Path) -> Workspace:
    """A copy of it, to spoil."""
    shutil.copytree(ran, tmp_path / "work")
    return Workspace(tmp_path / "work")


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(report_app, [str(word) for word in words])


def results_of(folder: Path) -> Results:
    return Results.model_validate_json((folder / "report.json").read_bytes())


def keys(workspace: Workspace) -> Pki:
    """The consortium's keys, where the banks' folders were made without."""
    folder = workspace.coordinator / "pki"
    return Pki(folder) if folder.exists() else Pki.create(folder, "tiny", Hosts(names=("localhost",)))


def test_a_report_states_what_the_phase_left_and_verifies_until_a_byte_is_changed(
    workspace: Workspace, tmp_path: Path
) -> None:
    operator, out = keys(workspace).operator_pub, tmp_path / "out"
    done = call("results", "-w", workspace.path, "-o", out)
    assert done.exit_code == 0, done.output
    (phase,) = results_of(out).phases
    outcome = workspace.phase("pilot").result()
    assert outcome is not None
    metrics, moved = outcome["metrics"], outcome["transfer"]
    (auprc,) = [one for one in phase.compared if one.figure == "auprc"]
    assert (auprc.alone.value, auprc.federated.value) == (metrics["alone"]["auprc"], metrics["federated"]["auprc"])
    assert [auprc.gain.low, auprc.gain.high] == metrics["intervals"]["gain_over_alone"]["auprc"]
    assert phase.source == "exact"
    assert len(phase.rounds) == 2
    assert (phase.took_part.asked, phase.took_part.banks, phase.took_part.fewest) == (3, 3, 2)
    assert sum(one.up + one.down for one in phase.transfer.kinds) == moved["bytes_up"] + moved["bytes_down"]
    assert phase.transfer.vs_csv is not None
    assert phase.transfer.vs_csv.value == saving(moved["bytes_up"] + moved["bytes_down"], moved["raw_csv_bytes"])
    assert phase.transfer.vs_csv.low is not None
    assert phase.transfer.worst is not None
    assert phase.transfer.worst <= phase.transfer.vs_csv.low <= (phase.transfer.vs_csv.high or 0)
    assert call("verify", out, "--key", operator).exit_code == 0
    data = bytearray((out / "report.html").read_bytes())
    data[700] ^= 1
    (out / "report.html").write_bytes(data)
    refused = call("verify", out, "--key", operator)
    assert isinstance(refused.exception, TrustError)
    assert "report.html: was changed after it was signed" in str(refused.exception)


def test_how_savings_differ_over_banks_stays_out_of_the_summary(workspace: Workspace) -> None:
    outcome = workspace.phase("pilot").result()
    assert outcome is not None
    found = outcome["savings_over_banks"]
    assert found["banks"] == 3
    assert found["worst"] == outcome["transfer"]["worst_bank_savings_vs_csv"]
    assert "savings_over_banks" not in workspace.summary_file.read_text()


def test_a_hold_and_its_release_are_in_the_report(workspace: Workspace, tmp_path: Path) -> None:
    keys(workspace)
    assert call("results", "-w", workspace.path, "-o", tmp_path / "before").exit_code == 0
    release(workspace, "pilot", by="Ada Example", reason="no drift can be known yet")
    assert call("results", "-w", workspace.path, "-o", tmp_path / "after").exit_code == 0
    (before,), (after,) = (results_of(tmp_path / name).phases for name in ("before", "after"))
    assert [gate.outcome for gate in before.gates] == ["pass", "hold"]
    assert (before.status, before.gates[1].released) == ("held", None)
    assert after.status == "completed"
    assert after.gates[1].released is not None
    assert after.gates[1].released.by == "Ada Example"


def test_a_release_that_nobody_signed_is_a_problem_and_not_a_release(workspace: Workspace, tmp_path: Path) -> None:
    keys(workspace)
    folder = workspace.phase("pilot")
    facts = json.loads((folder.path / "result.json").read_text())
    facts["gates"][1]["released"] = {"by": "Eve", "reason": "none", "at": "2025-01-01T00:00:00+00:00"}
    folder.set_result(facts)
    refused = call("results", "-w", workspace.path, "-o", tmp_path / "out")
    assert isinstance(refused.exception, CheckpointError)
    assert "said to be released by 'Eve'" in str(refused.exception)


def test_pictures_are_files_of_their_own_on_request(workspace: Workspace, tmp_path: Path) -> None:
    done = call("results", "-w", workspace.path, "-o", tmp_path / "out", "--pictures", tmp_path / "pictures")
    assert done.exit_code == 0, done.output
    written = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert written == ["pilot-figures.svg", "pilot-gain.svg", "pilot-rounds.svg", "savings.svg", "timeline.svg"]
    for name in written:
        ElementTree.parse(tmp_path / "pictures" / name)


def test_without_a_key_the_report_is_not_signed_and_says_so(workspace: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(workspace.coordinator / "pki", ignore_errors=True)
    done = call("results", "-w", workspace.path, "-o", tmp_path / "out")
    assert (done.exit_code, "not signed" in done.output) == (0, True)
    assert not (tmp_path / "out" / "report.sig.json").exists()
    assert results_of(tmp_path / "out").signer == ""


def test_where_no_phase_began_there_is_nothing_to_report(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    workspace.open(CONFIG, resume=False)
    refused = call("results", "-w", workspace.path, "-o", tmp_path / "out")
    assert isinstance(refused.exception, CheckpointError)
    assert "no phase has begun here" in str(refused.exception)


def test_a_phase_under_way_is_stated_as_far_as_its_checkpoint_knows(workspace: Workspace, tmp_path: Path) -> None:
    workspace.phase("pilot").clear_result()
    assert call("results", "-w", workspace.path, "-o", tmp_path / "out").exit_code == 0
    (phase,) = results_of(tmp_path / "out").phases
    assert (phase.status, len(phase.rounds), phase.ways) == ("begun", 2, ())


def test_the_schema_is_printed_on_request() -> None:
    printed = json.loads(call("schema", "--results").output)
    assert printed["title"] == "Results"
    assert json.loads(call("schema").output)["title"] == "Report"
