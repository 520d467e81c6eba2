"""MLflow: a run per phase, its rounds, and each bundle as a version of the consortium's model."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fraudfl.errors import RuntimeFailure
from fraudfl.plan import Plan

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
logging.getLogger("alembic").setLevel(logging.WARNING)

import mlflow.exceptions  # noqa: E402 - telemetry is switched off first
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402


class MlflowRegistry:
    """One phase's run in an MLflow tracking server, or in the workspace's own SQLite file."""

    def __init__(self, tracking_uri: str, artifacts: Path, plan: Plan, phase_folder: Path) -> None:
        """Go on with this phase's run, or begin one."""
        self._client = MlflowClient(tracking_uri=tracking_uri)
        self._plan = plan
        self._run_id = self._begun(phase_folder / "mlflow-run", artifacts)

    def log_round(self, round_number: int, figures: Mapping[str, float]) -> None:
        """Record one round's figures."""
        metrics = [Metric(name, float(value), 0, round_number) for name, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def register(self, outcome: Mapping[str, Any], bundle_folder: str) -> int:
        """Record the phase's outcome and register its bundle; returns the version."""
        try:
            self._client.log_dict(self._run_id, dict(outcome), "outcome.json")
            self._client.log_dict(self._run_id, json.loads(self._plan.canonical_json()), "plan.json")
            self._client.log_artifacts(self._run_id, bundle_folder, "bundle")
            self._client.log_batch(self._run_id, metrics=_final_metrics(outcome), tags=_tags(outcome))
            version = self._new_version(outcome)
            self._client.set_terminated(self._run_id)
        except mlflow.exceptions.MlflowException as error:
            raise RuntimeFailure(f"MLflow refused the phase's model: {error}") from error
        return version

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

    def _new_version(self, outcome: Mapping[str, Any]) -> int:
        name = self._plan.consortium
        if not self._client.search_registered_models(filter_string=f"name = '{name}'"):
            self._client.create_registered_model(name)
        source = f"{self._client.get_run(self._run_id).info.artifact_uri}/bundle"
        tags = {"plan_hash": self._plan.hash, "phase": self._plan.phase}
        return int(self._client.create_model_version(name, source, run_id=self._run_id, tags=tags).version)


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
