"""A workspace's own registry, read from its file, beside what MLflow says of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fraudfl.errors import RuntimeFailure
from server.models.bundles import Models
from server.models.registered import registered
from server.store.workspace import Workspace, read_json, write_json


def client(workspace: Workspace) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{workspace.path / 'mlflow.db'}")


def test_versions_of_the_file_are_those_that_mlflow_tells_of(workspace: Workspace) -> None:
    models = Models(workspace)
    models.point("champion", 2)
    models.point("previous", 1)
    models.mark(models.get(3), ["bank-01", "bank-02"])
    found = registered(workspace)
    assert found == models.all()
    assert [one.aliases for one in found] == [("previous",), ("champion",), ("challenger",)]
    assert found[2].holds == ("bank-01", "bank-02")


def test_a_version_that_was_deleted_in_mlflow_is_not_among_them(workspace: Workspace) -> None:
    client(workspace).delete_model_version("tiny", "1")
    assert [one.number for one in registered(workspace)] == [2, 3]
    assert registered(workspace) == Models(workspace).all()


def test_a_registry_by_address_is_asked_through_mlflow(workspace: Workspace, tmp_path: Path) -> None:
    expected = registered(workspace)
    moved = tmp_path / "elsewhere.db"
    (workspace.path / "mlflow.db").rename(moved)
    config = read_json(workspace.coordinator / "config.json") or {}
    config["mlflow"] = {"tracking_uri": f"sqlite:///{moved}"}
    write_json(workspace.coordinator / "config.json", config)
    assert registered(workspace) == expected


def test_a_file_whose_tables_are_being_made_has_no_versions_yet(workspace: Workspace) -> None:
    file = workspace.path / "mlflow.db"
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE model_versions (name TEXT, version INTEGER)")
    assert registered(workspace) == []


def test_a_file_that_is_no_registry_is_named(workspace: Workspace) -> None:
    file = workspace.path / "mlflow.db"
    file.write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(RuntimeFailure, match=str(file)):
        registered(workspace)
