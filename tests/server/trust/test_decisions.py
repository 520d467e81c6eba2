"""`fraudfl gates` on a real workspace: shown, released with the operator's key, refused when edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import tiny_config
from typer.testing import CliRunner, Result

from fraudfl.errors import ConfigError, FraudflError, TrustError
from fraudfl.gates.decision import GateDecision, GateError
from fraudfl.trust.keys import make_key, public_text, read_signed
from pipelines.gates import gated
from server.commands.gates import gates_app
from server.store.summary import unfinished_outcome, write_summary
from server.store.workspace import Workspace, read_json
from server.trust import decisions
from server.trust.certificates import Hosts
from server.trust.decisions import outcome_of, release
from server.trust.pki import Pki

HOLD = {"name": "gain", "outcome": "hold", "reason": "0.04 [sic], between 0.01 and 0.07. Asked for: at least 0.02"}
SHARE = {"name": "share", "outcome": "hold", "reason": "0.06, between 0.04 and 0.08. Asked for: at most 0.05"}
PASS = {"name": "who", "outcome": "pass", "reason": "1. Asked for: at least 0.8"}
FAIL = {"name": "spend", "outcome": "fail", "reason": "9. Asked for: at most 3"}
WORDS = ["--by", "Ada", "--reason", "see the minutes"]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "pki"
    Pki.create(folder, "tiny", Hosts(names=("localhost",)))
    return folder


@pytest.fixture
def workspace(pki: Path, tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "work")
    made.open(tiny_config(), resume=False)
    (made.coordinator / "pki").symlink_to(pki)
    return made


def put(workspace: Workspace, *gates: dict[str, Any]) -> dict[str, Any]:
    """The pilot ended, and its gates said this."""
    outcome = gated(
        unfinished_outcome(tiny_config().phases[0], workspace.phase("pilot"), 6) | {"status": "completed"}, []
    )
    said = {gate["outcome"] for gate in gates}
    status = "gated" if "fail" in said else "held" if "hold" in said else "completed"
    outcome |= {"plan_hash": "ab" * 32, "status": status, "gates": list(gates)}
    workspace.phase("pilot").set_result(outcome)
    write_summary(tiny_config(), workspace, [outcome])
    return outcome


def call(workspace: Workspace, *words: str) -> Result:
    return CliRunner().invoke(gates_app, [*words, "-w", str(workspace.path)])


def decision_files(workspace: Workspace) -> list[Path]:
    return sorted((workspace.phase("pilot").path / "decisions").glob("*.json"))


def test_a_hold_is_shown_released_and_shown_again(workspace: Workspace) -> None:
    put(workspace, PASS, HOLD)
    shown = call(workspace, "show")
    assert shown.exit_code == 3
    assert "pilot: held" in shown.output
    assert "hold  gain: 0.04 [sic], between 0.01 and 0.07" in shown.output
    done = call(workspace, "release", "pilot", *WORDS)
    assert (done.exit_code, "pilot: completed" in done.output) == (0, True)
    again = call(workspace, "show", "pilot")
    assert (again.exit_code, "released by Ada on " in again.output, ": see the minutes" in again.output) == (
        0,
        True,
        True,
    )


def test_a_release_is_a_signed_file_and_stands_in_the_summary(workspace: Workspace) -> None:
    put(workspace, HOLD)
    outcome, made = release(workspace, "pilot", by="Ada", reason="see the minutes")
    (file,) = decision_files(workspace)
    kept = read_signed(file, GateDecision)
    assert kept == made
    assert kept.operator == Pki(workspace.coordinator / "pki").operator
    assert kept.instance == workspace.phase("pilot").instance()
    summary = read_json(workspace.summary_file)
    assert summary is not None
    assert summary["phases"] == [outcome]
    assert outcome["status"] == "completed"
    assert outcome["gates"][0]["released"] == {"by": "Ada", "reason": "see the minutes", "at": kept.at}


def test_one_gate_released_leaves_the_phase_held_by_the_other(workspace: Workspace) -> None:
    put(workspace, HOLD, SHARE)
    done = call(workspace, "release", "pilot", "--gate", "share", *WORDS)
    assert (done.exit_code, "pilot: held" in done.output) == (3, True)
    rest = call(workspace, "release", "pilot", "--json", *WORDS)
    assert rest.exit_code == 0
    assert [gate["released"]["by"] for gate in json.loads(rest.output)[0]["gates"]] == ["Ada", "Ada"]
    assert len(decision_files(workspace)) == 2


def test_a_fail_is_shown_with_exit_code_3_and_cannot_be_released(workspace: Workspace) -> None:
    put(workspace, HOLD, FAIL)
    assert call(workspace, "show").exit_code == 3
    refused = call(workspace, "release", "pilot", *WORDS)
    assert isinstance(refused.exception, GateError)
    assert "nobody can release" in str(refused.exception)
    assert decision_files(workspace) == []


def test_what_holds_nothing_back_cannot_be_released(workspace: Workspace) -> None:
    with pytest.raises(GateError, match="has no outcome yet"):
        release(workspace, "pilot", by="Ada", reason="why")
    with pytest.raises(GateError, match="there is no phase 'rollout'; the consortium has pilot"):
        release(workspace, "rollout", by="Ada", reason="why")
    put(workspace, PASS)
    with pytest.raises(GateError, match="nothing to release; gates that hold: none"):
        release(workspace, "pilot", by="Ada", reason="why")
    assert call(workspace, "show").exit_code == 0


def test_a_release_without_a_word_is_a_usage_error(workspace: Workspace) -> None:
    put(workspace, HOLD)
    refused = call(workspace, "release", "pilot", "--by", "Ada", "--reason", " ")
    assert isinstance(refused.exception, ConfigError)
    assert "--reason" in str(refused.exception)
    assert call(workspace, "release", "pilot", "--by", "Ada").exit_code == 2
    assert decision_files(workspace) == []


def test_without_the_operators_key_nothing_is_released(workspace: Workspace) -> None:
    put(workspace, HOLD)
    (workspace.coordinator / "pki").unlink()
    with pytest.raises(TrustError):
        release(workspace, "pilot", by="Ada", reason="why")
    assert decision_files(workspace) == []


def test_a_release_that_nobody_signed_is_found_out(workspace: Workspace) -> None:
    put(workspace, HOLD | {"released": {"by": "Eve", "reason": "none", "at": "2025-01-01T00:00:00+00:00"}})
    with pytest.raises(TrustError, match="said to be released by 'Eve', but no decision"):
        outcome_of(workspace, "pilot")


@pytest.mark.parametrize("edit", ["by", "key", "place"])
def test_a_decision_that_was_edited_signed_by_another_or_moved_is_refused(workspace: Workspace, edit: str) -> None:
    put(workspace, HOLD)
    _, made = release(workspace, "pilot", by="Ada", reason="why")
    (file,) = decision_files(workspace)
    if edit == "by":
        file.write_bytes(file.read_bytes().replace(b"Ada", b"Eve"))
    elif edit == "key":
        key = make_key(workspace.path / "other.key")
        file.write_bytes(made.model_copy(update={"operator": public_text(key)}).signed_by(key).to_bytes())
    else:
        (workspace.phase("pilot").path / "instance").write_text("another")
    shown = call(workspace, "show")
    assert isinstance(shown.exception, TrustError)


def test_a_decision_about_earlier_figures_releases_no_later_ones(workspace: Workspace) -> None:
    put(workspace, HOLD)
    release(workspace, "pilot", by="Ada", reason="why")
    put(workspace, HOLD | {"reason": "0.01, between -0.03 and 0.05. Asked for: at least 0.02"})
    assert call(workspace, "show").exit_code == 3
    outcome, _ = release(workspace, "pilot", by="Bea", reason="why not")
    assert outcome["gates"][0]["released"]["by"] == "Bea"


def test_a_release_whose_process_died_is_carried_out_by_the_next_and_decided_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, HOLD)

    def die(*_facts: object) -> None:
        raise FraudflError("killed")

    with monkeypatch.context() as context:
        context.setattr(decisions, "_keep_outcome", die)
        with pytest.raises(FraudflError, match="killed"):
            release(workspace, "pilot", by="Ada", reason="why")
    assert outcome_of(workspace, "pilot")["status"] == "held"
    outcome, made = release(workspace, "pilot", by="Bea", reason="once more")
    assert (outcome["status"], made.by, outcome["gates"][0]["released"]["by"]) == ("completed", "Ada", "Ada")
    assert len(decision_files(workspace)) == 1
