"""An assessment before a pilot, through Flower: what was agreed is used, and what was estimated comes about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
consortium: {name: small, seed: 5}
data:
  generator: {banks: 4, transactions: 12000, days: 60, fraud_rate: 0.04}
split: {origin: 2025-01-01, train_days: [5, 34], test_days: [42, 59]}
features: {windows_days: [7]}
encoder: {categories: {currency: [EUR, USD, XTS], channel: [online, pos]}}
model: {hidden: [16]}
phases:
  - name: look
    kind: assessment
    secure_aggregation: {min_cohort: 3}
    gates: [{name: columns, measure: columns_left_out, at_most: 0}]
  - {name: pilot, rounds: 3, baselines: [], codec: {up: int8, down: int8}}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assessed")
    (folder / "small.yaml").write_text(CONFIG)
    ran = fraudfl("run", str(folder / "small.yaml"), "--workspace", str(folder / "work"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder / "work"


def fraudfl(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "fraudfl"), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_pilot_uses_the_lists_that_were_agreed(work: Path) -> None:
    phases = work / "coordinator" / "phases"
    assert read(phases / "look" / "readiness.json")["schema"]["categories"]["currency"] == ["EUR", "USD"]
    assert read(phases / "pilot" / "agreed.json")["assessment"] == "look"
    assert read(phases / "pilot" / "plan.json")["encoder"]["categorical"]["currency"] == ["EUR", "USD"]
    assert read(phases / "look" / "plan.json")["profile"]["values"]["categorical"]["currency"] == ["EUR", "USD", "XTS"]


def test_the_summary_keeps_its_form_and_every_bank_has_its_report(work: Path) -> None:
    look, pilot = read(work / "summary.json")["phases"]
    assert set(look) == set(pilot)
    assert (look["kind"], look["status"], look["banks"], look["rounds"]) == ("assessment", "completed", 4, 0)
    assert [gate["outcome"] for gate in look["gates"]] == ["pass"]
    assert len(list((work / "banks").glob("*/readiness/*.json"))) == 4


def test_bytes_are_estimated_within_a_sixth(work: Path) -> None:
    (said,) = read(work / "coordinator" / "phases" / "look" / "readiness.json")["ahead"]
    transfer = read(work / "summary.json")["phases"][1]["transfer"]
    for way in ("bytes_up", "bytes_down"):
        assert said[way] == pytest.approx(transfer[way], rel=1 / 6)


def test_the_operator_can_look_at_it(work: Path) -> None:
    shown = fraudfl("assessment", "show", "-w", str(work))
    assert shown.returncode == 0
    assert "currency: EUR, USD; too rare: XTS" in shown.stdout
