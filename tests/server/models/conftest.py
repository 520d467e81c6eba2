"""A workspace with three registered versions, made once: a weak one, the trained one, and one worse than chance.

MLflow is real, on SQLite; so are the banks, the phase that trained the model, and the operator's key.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_fleet import Consortium, make_banks, tiny_config
from mlflow.tracking._tracking_service import utils

from fraudfl.models.bundle import Bundle
from fraudfl.trust.keys import load_key
from pipelines.phase import run_phase
from server.models.registry import MlflowRegistry
from server.models.versions import Lineage
from server.store.workspace import Workspace
from server.trust.pki import Pki

CONFIG = tiny_config({"rounds": 12, "training": {"batch_size": 128, "learning_rate": 0.01}, "baselines": []}, banks=2)
"""Enough training for differences that a few thousand transactions can show."""


def register(workspace: Workspace, phase: str, bundle: Bundle, start: Lineage | None = None) -> int:
    """Register a bundle as what a phase of this name made."""
    outcome: dict[str, Any] = json.loads((workspace.path / "outcome.json").read_text())
    folder = workspace.phase(phase).path
    bundle.save(folder / "bundle", card=f"# {phase}\n")
    plan = Consortium(workspace.banks, workspace.config(), folder).plan
    key = load_key(Pki(workspace.coordinator / "pki").operator_key)
    tracking = f"sqlite:///{workspace.path / 'mlflow.db'}"
    registry = MlflowRegistry(tracking, workspace.path / "mlartifacts", plan, folder, operator=key, start=start)
    return registry.register(outcome, str(folder / "bundle"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("made") / "work")
    workspace.open(CONFIG, resume=False)
    make_banks(workspace.path, CONFIG)
    place = workspace.phase("pilot").path
    one = Consortium(workspace.banks, CONFIG, place)
    outcome = run_phase(one.phase(), ()) | {"seconds": 1.0}
    (workspace.path / "outcome.json").write_text(json.dumps(outcome))
    trained = Bundle.load(place / "bundle")
    noise = np.random.default_rng(0).normal(0, 1, trained.weights.shape).astype(np.float32)
    first = register(workspace, "pilot", replace(trained, weights=trained.weights + noise))
    start = Lineage(parent=first, digest="ab" * 32)
    register(workspace, "rollout", trained, start)
    register(workspace, "retrained", replace(trained, weights=-trained.weights))
    return workspace.path


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Workspace:
    """A copy to spoil: database and artifacts are this test's own."""
    shutil.copytree(made, tmp_path / "work", ignore=shutil.ignore_patterns("checkpoints", "scores"))
    _move_artifacts(tmp_path / "work" / "mlflow.db", str(made), str(tmp_path / "work"))
    return Workspace(tmp_path / "work")


@pytest.fixture
def offer(workspace: Workspace) -> Callable[[str, Bundle], int]:
    """Register one more bundle."""
    return lambda phase, bundle: register(workspace, phase, bundle)


def _move_artifacts(database: Path, old: str, new: str) -> None:
    """MLflow writes down where artifacts are, and remembers it: here they moved with the folder."""
    utils._artifact_repos_cache.clear()
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
        for column in ("source", "storage_location"):
            connection.execute(f"UPDATE model_versions SET {column} = replace({column}, ?, ?)", (old, new))
