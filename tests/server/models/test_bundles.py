"""What the registry says of each version, and that its bundle is the one that was registered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from fraudfl.errors import BundleError, CheckpointError, TrustError
from fraudfl.models.bundle import Bundle, checked_digest
from fraudfl.trust.bundle_signature import SIGNATURE_FILE, sign_bundle
from fraudfl.trust.keys import new_key
from server.models.bundles import Models
from server.store.workspace import Workspace, write_json
from server.trust.pki import Pki


@pytest.fixture
def models(workspace: Workspace) -> Models:
    return Models(workspace)


def test_each_version_says_where_it_comes_from_and_what_it_is_worth(models: Models, workspace: Workspace) -> None:
    first, second, third = models.all()
    outcome = json.loads((workspace.path / "outcome.json").read_text())
    assert [one.number for one in (first, second, third)] == [1, 2, 3]
    assert (second.consortium, second.phase, second.kind) == ("tiny", "pilot", "pilot")
    assert second.plan_hash == outcome["plan_hash"]
    assert second.instance == (workspace.coordinator / "phases" / "rollout" / "instance").read_text()
    assert (second.trained, second.tested) == (
        (date(2025, 1, 6), date(2025, 2, 4)),
        (date(2025, 2, 12), date(2025, 3, 1)),
    )
    assert second.figure("auprc") == (outcome["metrics"]["federated"]["auprc"], None)
    assert (second.mode, second.unit, second.epsilon, second.delta) == ("none", "transaction", None, None)
    assert second.digest == checked_digest(workspace.coordinator / "phases" / "rollout" / "bundle")
    assert second.start is not None
    assert (second.start.parent, first.start) == (1, None)
    assert "per_bank" not in (second.metrics or {})


def test_the_newest_version_is_the_challenger_and_nobody_is_champion_unasked(models: Models) -> None:
    assert models.aliases() == {"challenger": 3}
    assert models.get("challenger").number == models.get(3).number == models.get("3").number == 3


def test_a_phase_that_registers_again_after_a_crash_keeps_its_version(
    models: Models, offer: Callable[[str, Bundle], int]
) -> None:
    again = offer("rollout", models.start_from(2))
    assert again == 2
    assert [one.number for one in models.all()] == [1, 2, 3]


def test_a_later_phase_continues_from_the_registered_weights(models: Models, workspace: Workspace) -> None:
    registered = Bundle.load(workspace.coordinator / "phases" / "rollout" / "bundle")
    for name in (2, "2"):
        assert np.array_equal(models.start_from(name).weights, registered.weights)
    assert models.get(2).lineage.digest == models.get(2).digest


def test_an_unknown_version_is_refused_with_those_there_are(models: Models) -> None:
    with pytest.raises(BundleError, match=r"no version 'champion'; it has 1, 2, 3 \(challenger\)"):
        models.get("champion")


def test_a_workspace_without_a_model_says_so(workspace: Workspace) -> None:
    (workspace.path / "mlflow.db").unlink()
    with pytest.raises(CheckpointError, match="no model is registered yet"):
        Models(workspace)


def test_a_tracking_server_by_url_is_used_in_place_of_the_workspaces_file(workspace: Workspace) -> None:
    (workspace.path / "mlflow.db").rename(workspace.path / "elsewhere.db")
    kept = workspace.coordinator / "config.json"
    config = json.loads(kept.read_text())
    config["mlflow"]["tracking_uri"] = f"sqlite:///{workspace.path / 'elsewhere.db'}"
    write_json(kept, config)
    assert [one.number for one in Models(workspace).all()] == [1, 2, 3]


def test_a_changed_artifact_is_not_taken_for_the_registered_bundle(models: Models, workspace: Workspace) -> None:
    other = replace(models.start_from(1), metadata={})
    (artifacts,) = (path.parent for path in _artifacts(workspace, models.get(2).run_id))
    other.save(artifacts)
    with pytest.raises(BundleError, match=r"version 2 of model tiny: its files have digest .* registered was"):
        models.start_from(2)


def test_a_damaged_copy_in_the_workspace_is_fetched_again(models: Models) -> None:
    folder = models.bundle_folder(models.get(2))
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[:-1] + b"x")
    assert (models.bundle_folder(models.get(2)) / "weights.safetensors").read_bytes() == weights


def test_an_exported_bundle_is_whole_and_signed_by_the_operator(
    models: Models, workspace: Workspace, tmp_path: Path
) -> None:
    operator = Pki(workspace.coordinator / "pki").operator
    signature = models.export(models.get(2), tmp_path / "out")
    assert (signature.number, signature.digest, signature.consortium) == (2, models.get(2).digest, "tiny")
    assert Bundle.load(tmp_path / "out", signed_by=operator).thresholds
    with pytest.raises(BundleError, match="exists already"):
        models.export(models.get(2), tmp_path / "out")


def test_a_bundle_that_was_registered_unsigned_is_signed_when_it_is_exported(
    models: Models, workspace: Workspace, tmp_path: Path
) -> None:
    (artifacts,) = (path.parent for path in _artifacts(workspace, models.get(2).run_id))
    (artifacts / SIGNATURE_FILE).unlink()
    models.export(models.get(2), tmp_path / "out")
    Bundle.load(tmp_path / "out", signed_by=Pki(workspace.coordinator / "pki").operator)


def test_a_bundle_signed_by_another_operator_is_not_exported(
    models: Models, workspace: Workspace, tmp_path: Path
) -> None:
    version = models.get(2)
    facts = {"consortium": "tiny", "number": 2, "digest": version.digest, "plan_hash": version.plan_hash}
    sign_bundle(models.bundle_folder(version), new_key(), **facts)  # type: ignore[arg-type]
    with pytest.raises(TrustError, match="another key than this consortium's operator"):
        models.export(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_version_that_other_software_registered_is_named(models: Models, workspace: Workspace) -> None:
    client = MlflowClient(f"sqlite:///{workspace.path / 'mlflow.db'}")
    client.delete_model_version_tag("tiny", "2", "split")
    with pytest.raises(BundleError, match=r"version 2 of model tiny: MLflow's tags do not describe it"):
        models.all()


def test_json_kept_beside_a_version_is_read_back(models: Models) -> None:
    version = models.get(2)
    assert models.kept(version, "windows/a.json") is None
    models.keep(version, "windows/a.json", {"figure": [1, 2.5]})
    assert models.kept(version, "windows/a.json") == {"figure": [1, 2.5]}
    assert models.kept(models.get(1), "windows/a.json") is None


def _artifacts(workspace: Workspace, run_id: str) -> list[Path]:
    return list((workspace.path / "mlartifacts").glob(f"{run_id}/artifacts/bundle/bundle.json"))
