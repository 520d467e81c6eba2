"""A bank leaves a run's workspace: `fraudfl bank remove --unlearn`, through Flower, Ray and MLflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from memory_fleet import Consortium

from fraudfl.config_file import load_config
from fraudfl.models.bundle import Bundle
from pipelines.phase import run_phase

PATIENCE = 240.0
CONFIG: dict[str, Any] = {
    "consortium": {"name": "small", "seed": 5},
    "data": {"generator": {"banks": 4, "transactions": 8000, "days": 60, "fraud_rate": 0.05}},
    "split": {"origin": "2025-01-01", "train_days": [5, 34], "test_days": [42, 59]},
    "features": {"windows_days": [7], "aggregates": ["count", "mean"]},
    "model": {"hidden": [8]},
    "phases": [{"name": "pilot", "rounds": 3, "baselines": []}],
}


def fraudfl(*words: str | Path) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "fraudfl"), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_forgets_a_bank_to_the_bit(tmp_path: Path) -> None:
    config, work = tmp_path / "small.yaml", tmp_path / "work"
    config.write_text(yaml.safe_dump(CONFIG))
    fraudfl("run", config, "-w", work)
    said = fraudfl("bank", "remove", "bank-02", "--unlearn", "--by", "Ada", "--reason", "it left", "-w", work)
    assert "off the roster, now number 3 with 3 banks" in said
    assert "phase without-bank-02 trains again from the public start, in place of pilot" in said
    assert "no privacy is promised" in said
    fraudfl("run", config, "-w", work, "--resume")

    summary = json.loads((work / "summary.json").read_text())
    assert [(one["name"], one["status"], one["banks"]) for one in summary["phases"]] == [
        ("pilot", "completed", 4),
        ("without-bank-02", "completed", 3),
    ]
    # The same banks, and a coordinator that never heard of that one.
    shutil.copytree(work / "banks", tmp_path / "banks")
    shutil.rmtree(tmp_path / "banks" / "bank-02")
    never = Consortium(tmp_path / "banks", load_config(config), tmp_path / "never")
    run_phase(never.phase(), ())
    expected = Bundle.load(tmp_path / "never" / "bundle")
    made = Bundle.load(work / "coordinator" / "phases" / "without-bank-02" / "bundle")
    assert made.weights.tobytes() == expected.weights.tobytes()
    assert (made.encoder.digest, made.thresholds) == (expected.encoder.digest, expected.thresholds)
