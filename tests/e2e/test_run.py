"""`fraudfl run` as its users meet it: processes, files, exit codes; through Flower, Ray and MLflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import psutil
import pytest
from mlflow.tracking import MlflowClient

from fraudfl.models.bundle import Bundle

ROUNDS = 8
PATIENCE = 240.0
CONFIG = """
consortium: {name: small, seed: 5}
data:
  generator: {banks: 4, transactions: 12000, days: 60, fraud_rate: 0.04}
split: {origin: 2025-01-01, train_days: [5, 34], test_days: [42, 59]}
features: {windows_days: [1, 7]}
model: {hidden: [16]}
training: {batch_size: 32, local_epochs: 8}
phases:
  - {name: pilot, rounds: 8, codec: {up: topk, down: int8}}
"""
# Nobody can answer this fast, so no quorum is ever reached.
HASTY = CONFIG.replace("rounds: 8,", "rounds: 8, deadline_seconds: 0.001, attempts: 2,")


def start(config: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(config)
    command = [str(Path(sys.executable).parent / "fraudfl"), "run", str(folder / "small.yaml")]
    return subprocess.Popen(
        [*command, "--workspace", str(folder / "work"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background has SIGINT ignored, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def wait_for(process: subprocess.Popen[str], folder: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the run has written such an event."""
    events = folder / "work" / "coordinator" / "phases" / "pilot" / "events.jsonl"
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        assert process.poll() is None, process.communicate()[0]
        lines = events.read_text().splitlines() if events.exists() else []
        if any(wanted(json.loads(line)) for line in lines):
            return
        time.sleep(0.02)
    raise AssertionError("no such event")


def left_behind(folder: Path) -> list[str]:
    """Processes of Flower, Ray or ours that belong to this workspace."""
    found = []
    for process in psutil.process_iter():
        try:
            home = process.environ().get("FLWR_HOME", "")
            command = " ".join(process.cmdline())
        except (psutil.Error, OSError):
            continue
        if str(folder) in home or str(folder) in command:
            found.append(command)
    return found


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "work" / "summary.json").read_text())


NUMBER = (int, float)
FIGURES = ("auprc", "auprc_bank_mean", "auroc", "balanced_accuracy", "recall_at_budget")
TRANSFER = ("bytes_up", "bytes_down", "raw_csv_bytes", "raw_parquet_bytes")
SAVINGS = ("savings_vs_csv", "savings_vs_parquet", "worst_bank_savings_vs_csv")
PHASE = {
    "name": str,
    "kind": str,
    "status": str,
    "roster": int,
    "banks": int,
    "rounds": int,
    "plan_hash": str,
    "model_version": (int, type(None)),
    "excluded": list,
    "gates": list,
    "metrics": (dict, type(None)),
    "privacy": dict,
    "transfer": dict,
    "seconds": NUMBER,
}
PRIVACY = {
    "mode": str,
    "unit": str,
    "delta": (float, type(None)),
    "epsilon_max": (float, type(None)),
    "secure_aggregation": bool,
    "not_covered": list,
}


def assert_keeps_the_schema(found: dict[str, Any]) -> None:
    """The contract of summary.json: these keys, no others, of these types."""
    assert set(found) == {"consortium", "data", "phases"}
    for phase in found["phases"]:
        assert_typed(phase, PHASE)
        assert phase["kind"] in ("assessment", "pilot", "rollout", "monitoring")
        assert phase["status"] in ("completed", "failed", "gated", "held", "interrupted")
        assert len(phase["plan_hash"]) == 64
        for item in phase["excluded"]:
            assert_typed(item, {"bank": str, "round": int, "reason": str})
        assert_typed(phase["privacy"], PRIVACY)
        assert_typed(phase["transfer"], dict.fromkeys(TRANSFER, int) | dict.fromkeys(SAVINGS, NUMBER))
        if phase["metrics"] is not None:
            assert_metrics(phase["metrics"])


def assert_typed(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, kind in wanted.items():
        assert isinstance(found[name], kind), (name, found[name])


def assert_metrics(metrics: dict[str, Any]) -> None:
    assert set(metrics) == {"source", "federated", "alone", "pooled", "xgboost", "intervals", "per_bank"}
    assert metrics["source"] in ("exact", "released")
    rows = [metrics[name] for name in ("federated", "alone", "pooled")]
    for row in [*rows, *(metrics["xgboost"] or {}).values()]:
        assert_typed(row, dict.fromkeys(FIGURES, NUMBER))
        assert all(0 <= value <= 1 for value in row.values())
    for intervals in metrics["intervals"].values():
        assert all(low <= high for low, high in filter(None, intervals.values()))
    for row in metrics["per_bank"].values():
        assert set(row) == {"alone", "federated", "interval"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of one run that nothing disturbed; a second run may not take it over."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, said = ended(start(CONFIG, folder))
    assert code == 0, said
    assert "Traceback" not in said
    return folder


def test_a_run_ends_with_a_complete_summary(undisturbed: Path) -> None:
    found = summary(undisturbed)
    assert_keeps_the_schema(found)
    (phase,) = found["phases"]
    assert (found["consortium"], found["data"]) == ("small", "generated")
    assert (phase["status"], phase["roster"], phase["banks"], phase["rounds"]) == ("completed", 4, 4, ROUNDS)
    assert set(phase["metrics"]["per_bank"]) == {f"bank-0{number}" for number in range(1, 5)}
    assert set(phase["metrics"]["xgboost"]) == {"alone", "pooled"}
    transfer = phase["transfer"]
    moved = transfer["bytes_up"] + transfer["bytes_down"]
    assert transfer["savings_vs_csv"] == pytest.approx(1 - moved / transfer["raw_csv_bytes"])


def test_a_run_leaves_a_model_version_in_mlflow_that_scores(undisturbed: Path) -> None:
    work = undisturbed / "work"
    client = MlflowClient(f"sqlite:///{work / 'mlflow.db'}")
    (version,) = client.search_model_versions("name = 'small'")
    (phase,) = summary(undisturbed)["phases"]
    assert int(version.version) == phase["model_version"]
    assert version.tags["plan_hash"] == phase["plan_hash"]
    assert client.get_run(version.run_id).info.status == "FINISHED"
    registered = Bundle.load(Path(urlparse(client.get_model_version_download_uri("small", version.version)).path))
    made = Bundle.load(work / "coordinator" / "phases" / "pilot" / "bundle")
    assert registered.weights.tobytes() == made.weights.tobytes()


def test_a_run_leaves_no_process_behind(undisturbed: Path) -> None:
    assert left_behind(undisturbed) == []


def test_an_earlier_run_is_not_taken_over_without_resume_and_is_done_with_it(undisturbed: Path) -> None:
    before = summary(undisturbed)
    code, said = ended(start(CONFIG, undisturbed))
    assert (code, "--resume" in said) == (1, True)
    code, said = ended(start(CONFIG, undisturbed, "--resume", "--quiet"))
    assert (code, said) == (0, "")
    assert summary(undisturbed) == before


def test_a_run_interrupted_then_killed_ends_with_the_undisturbed_model(undisturbed: Path, tmp_path: Path) -> None:
    first = start(CONFIG, tmp_path)
    wait_for(first, tmp_path, lambda event: event["event"] == "round")
    first.send_signal(signal.SIGINT)
    code, said = ended(first)
    assert (code, "Traceback" in said) == (130, False)
    assert left_behind(tmp_path) == []
    (phase,) = summary(tmp_path)["phases"]
    assert_keeps_the_schema(summary(tmp_path))
    assert phase["status"] == "interrupted"
    assert 1 <= phase["rounds"] < ROUNDS

    second = start(CONFIG, tmp_path, "--resume")
    after = phase["rounds"] + 1
    wait_for(second, tmp_path, lambda event: event["event"] == "round" and event["round"] >= after)
    os.killpg(second.pid, signal.SIGKILL)
    second.communicate()

    code, said = ended(start(CONFIG, tmp_path, "--resume"))
    assert code == 0, said
    assert left_behind(tmp_path) == []
    assert "going on after round" in said
    bundles = [folder / "work/coordinator/phases/pilot/bundle" for folder in (undisturbed, tmp_path)]
    weights = [(bundle / "weights.safetensors").read_bytes() for bundle in bundles]
    assert weights[0] == weights[1]
    (resumed,), (whole,) = summary(tmp_path)["phases"], summary(undisturbed)["phases"]
    assert resumed["metrics"] == whole["metrics"]
    assert resumed["model_version"] == 1


def test_a_run_without_quorum_fails_and_says_who_was_silent(tmp_path: Path) -> None:
    code, said = ended(start(HASTY, tmp_path))
    assert (code, "Traceback" in said) == (1, False)
    assert "0 of 4 banks answered" in said
    found = summary(tmp_path)
    assert_keeps_the_schema(found)
    (phase,) = found["phases"]
    assert (phase["status"], phase["rounds"], phase["model_version"]) == ("failed", 0, None)
    assert {item["bank"] for item in phase["excluded"]} == {f"bank-0{number}" for number in range(1, 5)}
    assert left_behind(tmp_path) == []
