"""A phase's outcome as `summary.json` holds it, for gates to judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fraudfl.gates.config import GateConfig
from fraudfl.gates.judging import GateOutcome, judge


def make_outcome() -> dict[str, Any]:
    row = {"auprc": 0.40, "auprc_bank_mean": 0.38, "auroc": 0.9, "balanced_accuracy": 0.91, "recall_at_budget": 0.5}
    alone = {"auprc": 0.30, "auprc_bank_mean": 0.29, "auroc": 0.8, "balanced_accuracy": 0.86, "recall_at_budget": 0.4}
    trees = {"auprc": 0.35, "auprc_bank_mean": 0.33, "auroc": 0.85, "balanced_accuracy": 0.85, "recall_at_budget": 0.45}
    return {
        "name": "pilot",
        "kind": "pilot",
        "status": "completed",
        "roster": 10,
        "banks": 7,
        "rounds": 5,
        "plan_hash": "ab" * 32,
        "model_version": 1,
        "excluded": [
            {"bank": "a", "round": 0, "reason": "silent"},
            {"bank": "b", "round": 2, "reason": "silent"},
            {"bank": "b", "round": 2, "reason": "silent again, in the second attempt"},
            {"bank": "c", "round": 2, "reason": "silent"},
        ],
        "gates": [],
        "metrics": {
            "source": "exact",
            "federated": row,
            "alone": alone,
            "pooled": None,
            "xgboost": {"alone": trees},
            "intervals": {
                "federated": {"auprc": [0.35, 0.45], "recall_at_budget": None},
                "gain_over_alone": {"auprc": [0.06, 0.14], "balanced_accuracy": [0.03, 0.07]},
                "gain_over_xgboost": {"auprc": [0.01, 0.09], "balanced_accuracy": [0.04, 0.08]},
                "fairness": {"recall_at_budget": [0.3, 0.7]},
            },
            "per_bank": {
                "a": {"alone": 0.3, "federated": 0.5, "interval": [0.1, 0.3]},
                "b": {"alone": 0.3, "federated": 0.25, "interval": [-0.1, 0.0]},
                "c": {"alone": 0.3, "federated": 0.295, "interval": [-0.1, 0.1]},
                "d": {"alone": 0.3, "federated": 0.31, "interval": [-0.1, 0.1]},
                "e": {"alone": None, "federated": None, "interval": None},
            },
            "fairness": {"recall_at_budget": 0.5},
        },
        "privacy": {
            "mode": "local",
            "unit": "transaction",
            "delta": 1e-6,
            "epsilon_max": 2.5,
            "secure_aggregation": False,
            "not_covered": ["label counts"],
        },
        "transfer": {
            "bytes_up": 10,
            "bytes_down": 10,
            "raw_csv_bytes": 1000,
            "raw_parquet_bytes": 200,
            "savings_vs_csv": 0.98,
            "savings_vs_parquet": 0.9,
            "worst_bank_savings_vs_csv": 0.8,
        },
        "seconds": 3.0,
    }


@pytest.fixture
def outcome() -> dict[str, Any]:
    return make_outcome()


@pytest.fixture
def says() -> Callable[..., GateOutcome]:
    """What one gate says of an outcome: `says(outcome, measure=…, at_least=…)`."""
    return lambda outcome, **gate: judge(outcome, [GateConfig(name="gate", **gate)])[0]
