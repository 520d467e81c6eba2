"""A workspace that a real run left, and a dashboard that shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import served

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


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that `fraudfl run` left."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "small.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "server.cli", "run", "small.yaml", "--workspace", "work", "--quiet"]
    subprocess.run(command, cwd=folder, check=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return folder / "work"


@pytest.fixture(scope="session")
def summary(ran: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ran / "summary.json").read_text())
    return found


@pytest.fixture(scope="session")
def address(ran: Path) -> Iterator[str]:
    """Where a really started `fraudfl dashboard` answers."""
    with served("--workspace", str(ran)) as where:
        yield where
