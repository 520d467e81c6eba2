"""A workspace that a real run left, and a dashboard that shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import served, workspace_of

CONFIG = """
consortium: {name: small, seed: 5}
data:
  generator: {banks: 4, transactions: 12000, days: 60, fraud_rate: 0.04}
split: {origin: 2025-01-01, train_days: [5, 34], test_days: [42, 59]}
features: {windows_days: [1, 7]}
model: {hidden: [16]}
training: {batch_size: 32, local_epochs: 4}
phases:
  - {name: pilot, rounds: 4, codec: {up: topk, down: int8}}
"""

WATCHED = """
consortium: {name: watched, seed: 5}
data:
  generator:
    {banks: 4, transactions: 20000, days: 130, start: 2025-01-01, fraud_rate: 0.04,
     changes: {drifts: [{month: 4, kind: amounts, strength: 1.0}]}}
split: {origin: 2025-01-01, train_days: [5, 40], test_days: [48, 59], validation_days: 5}
features: {windows_days: [1]}
model: {hidden: [16]}
training: {batch_size: 128, local_epochs: 3}
phases:
  - {name: pilot, rounds: 3, baselines: [], promote: if-better}
  - name: watch
    kind: monitoring
    window_days: 10
    windows: 5
    quiet: 3
    labels_after_days: 10
    rules: [{name: data-moved, measure: psi_max, at_least: 0.1}]
"""


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that `fraudfl run` left."""
    return workspace_of(CONFIG, tmp_path_factory.mktemp("ran"))


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose model was watched for five windows, the last two with larger amounts."""
    return workspace_of(WATCHED, tmp_path_factory.mktemp("watched"))


@pytest.fixture(scope="session")
def summary(ran: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ran / "summary.json").read_text())
    return found


@pytest.fixture(scope="session")
def address(ran: Path) -> Iterator[str]:
    """Where a really started `fraudfl dashboard` answers."""
    with served("--workspace", str(ran)) as where:
        yield where
