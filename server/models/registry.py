"""MLflow: a run per phase, its rounds, and each bundle as a signed version of the consortium's model."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fraudfl.config import FraudflConfig
from fraudfl.errors import RuntimeFailure
from fraudfl.models.bundle import checked_digest
from fraudfl.plan import Plan
from fraudfl.trust.bundle_signature import SIGNATURE_FILE, sign_bundle
from fraudfl.trust.keys import PrivateKey, now_text
from server.models.versions import CHALLENGER, CHAMPION, Lineage, version_tags
from server.store.workspace import PhaseFolder, Workspace

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
logging.getLogger("alembic").setLevel(logging.WARNING)

import mlflow.exceptions  # noqa: E402 - telemetry and progress bars are switched off first
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

BUNDLE = "bundle"
"""The bundle's folder among a run's artifacts."""


def tracking_of(config: FraudflConfig, workspace: Workspace) -> str:
    """Where a workspace's runs and models are: the configured MLflow server, or its own SQLite file."""
    return config.mlflow.tracking_uri or f"sqlite:///{workspace.path / 'mlflow.db'}"


def connect(config: FraudflConfig, workspace: Workspace) -> MlflowClient:
    """A client of a workspace's MLflow."""
    return MlflowClient(tracking_uri=tracking_of(config, workspace))


@contextmanager
def mlflow_answers() -> Iterator[None]:
    """Raise RuntimeFailure where MLflow raises its own errors."""
    try:
        yield
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise RuntimeFailure(f"MLflow's registry cannot be read or written: {error}") from error


class MlflowRegistry:
    """One phase's run in an MLflow tracking server, or in the workspace's own SQLite file."""

    def __init__(
        self,
        tracking_uri: str,
        artifacts: Path,
        plan: Plan,
        phase_folder: Path,
        *,
        operator: PrivateKey | None = None,
        start: Lineage | None = None,
    ) -> None:
        """Go on with this phase's run, or begin one.

        Args:
            tracking_uri: As `tracking_of` gives it.
            artifacts: Where bundles go when MLflow is a file.
            plan: The phase's.
            phase_folder: Its folder at the coordinator.
            operator: Key that signs the bundle; unsigned ones are refused by banks.
            start: The version whose model the phase continues from.
        """
        self._client = MlflowClient(tracking_uri=tracking_uri)
        self._plan = plan
        self._folder = PhaseFolder(phase_folder)
        self._operator = operator
        self._start = start
        self._run_id = self._begun(phase_folder / "mlflow-run", artifacts)

    def log_round(self, round_number: int, figures: Mapping[str, float]) -> None:
        """Record one round's figures."""
        metrics = [Metric(name, float(value), 0, round_number) for name, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def register(self, outcome: Mapping[str, Any], bundle_folder: str) -> int:
        """Record the phase's outcome and register its bundle as the newest challenger; returns the version.

        A phase that comes here again with the same bundle keeps its version.
        """
        digest = checked_digest(Path(bundle_folder))
        with mlflow_answers():
            self._client.log_dict(self._run_id, dict(outcome), "outcome.json")
            self._client.log_dict(self._run_id, json.loads(self._plan.canonical_json()), "plan.json")
            self._client.log_artifacts(self._run_id, bundle_folder, BUNDLE)
            self._client.log_batch(self._run_id, metrics=_final_metrics(outcome), tags=_tags(outcome))
            version = self._registered(digest) or self._new_version(outcome, digest)
            self._offer(version)
            self._sign(Path(bundle_folder), version, digest)
            self._client.set_terminated(self._run_id)
        return version

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Record the outcome of a phase that makes no model."""
        with mlflow_answers():
            self._client.log_dict(self._run_id, dict(outcome), "outcome.json")
            self._client.log_dict(self._run_id, json.loads(self._plan.canonical_json()), "plan.json")
            self._client.log_batch(self._run_id, metrics=_final_metrics(outcome), tags=_tags(outcome))
            self._client.set_terminated(self._run_id)

    def fail(self) -> None:
        """Mark the run as failed."""
        self._client.set_terminated(self._run_id, status="FAILED")

    def _begun(self, file: Path, artifacts: Path) -> str:
        if file.exists():
            run_id = file.read_text().strip()
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        name = self._plan.consortium
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(name, artifact_location=artifacts.as_uri())
        )
        run = self._client.create_run(experiment_id, run_name=self._plan.phase)
        self._client.log_batch(run.info.run_id, params=_parameters(self._plan))
        file.write_text(run.info.run_id)
        return str(run.info.run_id)

    def _registered(self, digest: str) -> int | None:
        """The version of this run that has this bundle, when a crash came after it was registered."""
        query = f"name = '{self._plan.consortium}' and run_id = '{self._run_id}'"
        found = [one for one in self._client.search_model_versions(query) if one.tags.get("bundle_digest") == digest]
        return int(found[0].version) if found else None

    def _new_version(self, outcome: Mapping[str, Any], digest: str) -> int:
        name = self._plan.consortium
        if not self._client.search_registered_models(filter_string=f"name = '{name}'"):
            self._client.create_registered_model(name)
        source = f"{self._client.get_run(self._run_id).info.artifact_uri}/{BUNDLE}"
        tags = version_tags(
            self._plan,
            outcome,
            instance=self._folder.instance(),
            digest=digest,
            created=now_text(),
            start=self._start,
        )
        return int(self._client.create_model_version(name, source, run_id=self._run_id, tags=tags).version)

    def _offer(self, version: int) -> None:
        """Name the version the challenger, unless it was promoted before this phase came here again."""
        name = self._plan.consortium
        if self._client.get_registered_model(name).aliases.get(CHAMPION) != str(version):
            self._client.set_registered_model_alias(name, CHALLENGER, str(version))

    def _sign(self, folder: Path, version: int, digest: str) -> None:
        if self._operator is None:
            return
        facts = {"consortium": self._plan.consortium, "plan_hash": self._plan.hash}
        sign_bundle(folder, self._operator, number=version, digest=digest, **facts)
        self._client.log_artifact(self._run_id, str(folder / SIGNATURE_FILE), BUNDLE)


def _parameters(plan: Plan) -> list[Any]:
    facts = plan.model_dump(mode="json", exclude={"releases", "contract", "encoder"})
    flat = {"plan_hash": plan.hash}
    for name, value in facts.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name}.{key}" if key else name: json.dumps(item) for key, item in inner}
    return [Param(name, value[:500]) for name, value in flat.items()]


def _final_metrics(outcome: Mapping[str, Any]) -> list[Any]:
    figures: dict[str, float | None] = {}
    for contender in ("federated", "alone", "pooled"):
        for name, value in ((outcome["metrics"] or {}).get(contender) or {}).items():
            figures[f"{contender}.{name}"] = value
    figures |= {f"transfer.{name}": value for name, value in outcome["transfer"].items()}
    return [Metric(name, float(value), 0, 0) for name, value in figures.items() if value is not None]


def _tags(outcome: Mapping[str, Any]) -> list[Any]:
    missing = sorted({item["bank"] for item in outcome["excluded"]})
    return [RunTag("banks", str(outcome["banks"])), RunTag("banks_with_a_round_missed", ", ".join(missing))]
