"""A workspace: who may use it, and what is found in it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_fleet import tiny_config

from fraudfl.errors import CheckpointError
from server.store.summary import unfinished_outcome, write_summary
from server.store.workspace import PhaseFolder, Workspace, read_json, write_json


def test_a_new_folder_and_an_empty_one_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        Workspace(tmp_path / name).open(tiny_config(), resume=False)
        assert Workspace(tmp_path / name).config() == tiny_config()


def test_a_folder_of_something_else_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    for resume in (False, True):
        with pytest.raises(CheckpointError, match="not empty, and not a workspace"):
            Workspace(tmp_path).open(tiny_config(), resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_earlier_run_needs_resume(tmp_path: Path) -> None:
    Workspace(tmp_path).open(tiny_config(), resume=False)
    with pytest.raises(CheckpointError, match="Add --resume"):
        Workspace(tmp_path).open(tiny_config(), resume=False)
    Workspace(tmp_path).open(tiny_config(), resume=True)


def test_another_configuration_cannot_go_on_and_the_changed_sections_are_named(tmp_path: Path) -> None:
    Workspace(tmp_path).open(tiny_config(), resume=False)
    with pytest.raises(CheckpointError, match=r"changed: data, phases"):
        Workspace(tmp_path).open(tiny_config({"rounds": 9}, banks=3), resume=True)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    Workspace(tmp_path).open(tiny_config(), resume=False)
    (tmp_path / "coordinator" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
        Workspace(tmp_path).open(tiny_config(), resume=True)


def test_only_one_run_at_a_time_works_in_a_workspace(tmp_path: Path) -> None:
    with (
        Workspace(tmp_path / "w").locked(),
        pytest.raises(CheckpointError, match="another `fraudfl run` works here"),
        Workspace(tmp_path / "w").locked(),
    ):
        pass
    with Workspace(tmp_path / "w").locked():
        pass


def test_locking_leaves_the_folder_empty_and_free_to_take(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    with workspace.locked():
        workspace.open(tiny_config(), resume=False)
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["coordinator"]


def test_a_phase_keeps_its_instance(tmp_path: Path) -> None:
    first = PhaseFolder(tmp_path / "one").instance()
    assert PhaseFolder(tmp_path / "one").instance() == first
    assert PhaseFolder(tmp_path / "two").instance() != first
    assert len(first) == 16


def test_half_made_bank_folders_do_not_count(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.bank_ids() == []
    for name, whole in (("bank-02", True), ("bank-01", True), ("bank-03", False)):
        (workspace.banks / name).mkdir(parents=True)
        if whole:
            (workspace.banks / name / "bank.json").write_text("{}")
    assert workspace.bank_ids() == ["bank-01", "bank-02"]


def test_numbers_that_json_does_not_know_are_never_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": 1}


def test_the_summary_of_a_phase_that_never_began_is_complete(tmp_path: Path) -> None:
    workspace, config = Workspace(tmp_path), tiny_config()
    outcome = unfinished_outcome(config.phases[0], workspace.phase("pilot"), 6)
    write_summary(config, workspace, [outcome])
    found = read_json(workspace.summary_file)
    assert found is not None
    assert (found["consortium"], found["phases"][0]["status"], found["phases"][0]["roster"]) == ("tiny", "failed", 6)
