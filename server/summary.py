"""summary.json: what a run did, rewritten whole after every phase, also on failure."""

from __future__ import annotations

from typing import Any

from fraudfl.config import FraudflConfig, PhaseConfig
from server.workspace import Workspace, write_json


def write_summary(config: FraudflConfig, workspace: Workspace, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Write and return the summary."""
    summary = {"consortium": config.consortium.name, "data": config.data.source, "phases": outcomes}
    write_json(workspace.summary_file, summary)
    return summary


def empty_outcome(phase: PhaseConfig, status: str, roster: int, plan_hash: str) -> dict[str, Any]:
    """The outcome of a phase that ended before it could say anything itself."""
    return {
        "name": phase.name,
        "kind": phase.kind,
        "status": status,
        "roster": roster,
        "banks": 0,
        "rounds": 0,
        "plan_hash": plan_hash,
        "model_version": None,
        "excluded": [],
        "gates": [],
        "metrics": None,
        "privacy": {
            "mode": phase.privacy.mode,
            "unit": phase.privacy.unit,
            "delta": phase.privacy.delta if phase.privacy.mode != "none" else None,
            "epsilon_max": None,
            "secure_aggregation": False,
            "not_covered": [],
        },
        "transfer": {
            "bytes_up": 0,
            "bytes_down": 0,
            "raw_csv_bytes": 0,
            "raw_parquet_bytes": 0,
            "savings_vs_csv": 0.0,
            "savings_vs_parquet": 0.0,
            "worst_bank_savings_vs_csv": 0.0,
        },
        "seconds": 0.0,
    }
