"""MLflow with a real SQLite store: a run per phase, versions, and a bundle that scores as before, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from memory_fleet import Consortium, make_banks, tiny_config
from mlflow.tracking import MlflowClient

from fraudfl.folder import BankFolder
from fraudfl.models.bundle import Bundle
from fraudfl.trust.bundle_signature import SIGNATURE_FILE, BundleSignature
from fraudfl.trust.keys import load_key, read_signed
from pipelines.phase import run_phase
from server.models.registry import MlflowRegistry
from server.trust.pki import Pki


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished phase of two banks whose registry is MLflow on SQLite."""
    folder = tmp_path_factory.mktemp("registry")
    config = tiny_config(banks=2)
    one = Consortium(make_banks(folder, config), config, folder / "coordinator")
    registry = MlflowRegistry(f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts", one.plan, one.place)
    one.registry = registry  # type: ignore[assignment]
    run_phase(one.phase(), ())
    return folder


@pytest.fixture
def client(place: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{place / 'mlflow.db'}")


def test_a_phase_is_one_finished_run_with_parameters_and_rounds(place: Path, client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("pilot", "FINISHED")
    assert run.data.params["rounds"] == "3"
    assert run.data.params["training.batch_size"] == "256"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "auprc")] == [1, 2, 3]
    assert run.data.metrics["federated.auprc"] > 0
    assert run.data.tags["banks"] == "2"


def test_the_registered_bundle_scores_as_the_one_that_was_trained_bit_for_bit(
    place: Path, client: MlflowClient
) -> None:
    (version,) = client.search_model_versions("name = 'tiny'")
    downloaded = Bundle.load(Path(urlparse(client.get_model_version_download_uri("tiny", version.version)).path))
    trained = Bundle.load(place / "coordinator" / "bundle")
    plan = tiny_config(banks=2).features
    table = BankFolder(place / "banks" / "bank-01").features(plan)
    scores = [bundle.score(table) for bundle in (trained, downloaded)]
    assert scores[0].tobytes() == scores[1].tobytes()
    assert np.isfinite(scores[0]).all()
    kept = BankFolder(place / "banks" / "bank-01").scores("0123456789abcdef", "federated-test")
    assert set(kept.tolist()) <= set(scores[0].tolist())


def test_the_registered_bundle_is_the_challenger_and_signed_where_the_operators_key_is_at_hand(
    place: Path, client: MlflowClient
) -> None:
    pki = Pki(place / "coordinator" / "pki")
    (version,) = client.search_model_versions("name = 'tiny'")
    assert client.get_registered_model("tiny").aliases == {"challenger": version.version}
    artifacts = Path(urlparse(client.get_model_version_download_uri("tiny", version.version)).path)
    assert not (artifacts / SIGNATURE_FILE).exists()
    one = Consortium(place / "banks", tiny_config(banks=2), place / "coordinator")
    registry = MlflowRegistry(
        f"sqlite:///{place / 'mlflow.db'}",
        place / "mlartifacts",
        one.plan,
        one.place,
        operator=load_key(pki.operator_key),
    )
    outcome = json.loads((artifacts.parent / "outcome.json").read_text())
    assert registry.register(outcome, str(place / "coordinator" / "bundle")) == int(version.version)
    assert Bundle.load(artifacts, signed_by=pki.operator).metadata == Bundle.load(artifacts).metadata
    assert read_signed(artifacts / SIGNATURE_FILE, BundleSignature).number == int(version.version)


def test_a_resumed_phase_goes_on_with_its_own_run_and_a_failed_one_is_marked(place: Path, client: MlflowClient) -> None:
    config = tiny_config(banks=2)
    one = Consortium(place / "banks", config, place / "coordinator")
    registry = MlflowRegistry(f"sqlite:///{place / 'mlflow.db'}", place / "mlartifacts", one.plan, one.place)
    registry.fail()
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
