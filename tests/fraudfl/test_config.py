"""Configuration models: what they refuse, and that nothing can change after."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fraudfl.config import (
    CodecConfig,
    DataConfig,
    FraudflConfig,
    Frozen,
    PartitionConfig,
    PhaseConfig,
    PrivacyConfig,
    SplitConfig,
)

SPLIT = {"origin": "2025-01-01", "train_days": (0, 20), "test_days": (28, 40)}
SMALLEST = {"consortium": {"name": "a"}, "split": SPLIT, "phases": [{"name": "p"}]}


def test_the_smallest_configuration_is_complete_by_its_defaults() -> None:
    config = FraudflConfig.model_validate(SMALLEST)
    assert config.data.source == "generated"
    assert config.phases[0].privacy.mode == "none"
    assert FraudflConfig.model_validate(config.model_dump(mode="json")) == config


def test_values_cannot_change_after_they_were_validated() -> None:
    config = FraudflConfig.model_validate(SMALLEST)
    with pytest.raises(ValidationError, match="frozen"):
        config.consortium.seed = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("model", "facts", "message"),
    [
        (SplitConfig, {"by": "time"}, "needs `origin`, `train_days` and `test_days`"),
        (SplitConfig, SPLIT | {"train_days": (20, 0)}, "must end before"),
        (SplitConfig, SPLIT | {"test_days": (10, 40)}, "must end before"),
        (SplitConfig, SPLIT | {"test_days": (25, 40)}, "labels take 7 days; leave a gap"),
        (SplitConfig, SPLIT | {"validation_days": 21}, "leaves no training days"),
        (DataConfig, {"source": "table"}, "needs a `table:` section"),
        (DataConfig, {"table": {}}, "only that source may have one"),
        (PartitionConfig, {"by": "dirichlet"}, "needs `count`"),
        (PartitionConfig, {"by": "account-hash", "shares": (0.5, 0.6)}, "sum to 1"),
        (PartitionConfig, {"by": "account-hash", "shares": (1.5, -0.5)}, "must be positive"),
        (PartitionConfig, {"by": "account-hash", "shares": (0.5, 0.5), "count": 3}, "leave `count` out"),
        (PrivacyConfig, {"mode": "local"}, "needs `epsilon`"),
        (PrivacyConfig, {"mode": "local", "epsilon": 1, "delta": 1e-5}, r"above 1/\(10\*units\)"),
        (PhaseConfig, {"name": "p", "privacy": {"mode": "local", "epsilon": 1}}, "strategy.weighting: equal"),
        (PhaseConfig, {"name": "Upper Case"}, "pattern"),
        (PhaseConfig, {"name": "p", "quorum": 0}, "greater than 0"),
        (PhaseConfig, {"name": "p", "rounds": 0}, "greater than or equal to 1"),
        (PhaseConfig, {"name": "p", "deadline_seconds": float("inf")}, "finite"),
        (CodecConfig, {"down": "topk"}, "float32"),
        (FraudflConfig, SMALLEST | {"phases": []}, "at least 1"),
        (FraudflConfig, SMALLEST | {"phases": [{"name": "p"}, {"name": "p"}]}, "must be distinct"),
        (FraudflConfig, SMALLEST | {"phase": []}, "Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused_with_the_fix(model: type[Frozen], facts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        model.model_validate(facts)
