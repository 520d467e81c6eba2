"""Monitoring between real processes, over TLS: windows by the calendar, a challenger by sums, through a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import Deployment, call, wait_until

from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger

WINDOWS = 5
ALWAYS = {"name": "always", "measure": "auprc", "at_most": 1, "bound": "point", "action": "retrain"}
COMMON = {"quorum": 1.0, "deadline_seconds": 60, "patience_seconds": 60}
CONFIG: dict[str, Any] = {
    "consortium": {"name": "watching", "seed": 5},
    "data": {"generator": {"banks": 2, "transactions": 16_000, "days": 120, "start": "2023-01-01", "fraud_rate": 0.05}},
    "split": {"origin": "2023-01-01", "train_days": [5, 40], "test_days": [48, 59], "validation_days": 5},
    "encoder": {"bins_per_decade": 8},
    "model": {"hidden": [16]},
    "training": {"learning_rate": 0.003, "batch_size": 256},
    "phases": [
        COMMON | {"name": "pilot", "rounds": 3, "baselines": [], "promote": "if-better"},
        COMMON
        | {
            "name": "watch",
            "kind": "monitoring",
            "window_days": 10,
            "windows": WINDOWS,
            "quiet": 3,
            "labels_after_days": 10,
            "rules": [ALWAYS],
            "alerts": {"file": "coordinator/alerts.jsonl"},
            "retrain": {"wait_days": 20, "tries": 1, "rounds": 4, "train_days": 30},
        },
    ],
}


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployment]:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(CONFIG))
    call("fraudfl", "banks", "create", tmp_path / "c.yaml", "-w", tmp_path / "made")
    deployment = Deployment.create(tmp_path / "d", CONFIG, tmp_path / "made" / "banks")
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.mark.slow
def test_windows_are_watched_and_a_challenger_meets_the_champion_by_sums_though_the_coordinator_is_killed(
    deployed: Deployment,
) -> None:
    deployed.run_all()
    deployed.begin("pilot")
    assert deployed.ended("pilot")["status"] == "completed"
    deployed.begin("watch")
    wait_until(lambda: deployed.rounds("watch-retrain-1") >= 2, "the challenger is under way")
    deployed.kill("coordinator")
    deployed.serve("--resume")
    outcome = deployed.ended("watch")
    assert outcome["status"] == "completed", deployed.log("coordinator")
    found = outcome["monitoring"]
    assert [window["number"] for window in found["windows"]] == list(range(1, WINDOWS + 1))
    assert all(window["performance"]["frauds"] > 0 for window in found["windows"])
    # Both models were scored at the banks on the same window; nobody here has seen a row.
    [action] = found["actions"]
    assert action["version"] == 2
    assert " against " in action["reason"]
    assert "transactions" not in {path.stem for path in deployed.workspace.rglob("*.parquet")}
    alerts = (deployed.workspace / "coordinator/alerts.jsonl").read_text().splitlines()
    assert [json.loads(alert)["rule"] for alert in alerts] == ["always"] * len(found["alerts"])
    for bank in deployed.banks:
        assert_once(deployed, bank)
        assert found["windows"][-1]["window"] in call("bank-node", "monitoring", deployed.bank(bank))


def assert_once(deployed: Deployment, bank: str) -> None:
    """Every window was released once under the monitoring plan, and every round once under the challenger's."""
    ledger = Ledger(deployed.bank(bank) / "ledger.db")
    for phase, kinds in (("watch", {"watch": WINDOWS, "outcome": WINDOWS}), ("watch-retrain-1", {"train": 4})):
        plan = Plan.from_json((deployed.workspace / "coordinator/phases" / phase / "plan.json").read_bytes())
        assert {kind: ledger.reserved(plan.hash, kind) for kind in kinds} == kinds
