"""Secure aggregation and distributed noise between real processes, over TLS, also when some of them die."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from deployment import Deployment, call, wait_until
from safetensors.numpy import load_file

from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.mechanisms import mechanism_from_dict

BANKS = 4
ROUNDS = 6
BASE: dict[str, Any] = {
    "consortium": {"name": "secure", "seed": 11},
    "data": {"generator": {"banks": BANKS, "transactions": 12_000, "days": 60, "merchants": 150}},
    "split": {"origin": "2025-01-01", "train_days": [5, 40], "test_days": [48, 59], "validation_days": 5},
    "encoder": {"bins_per_decade": 8},
    "model": {"hidden": [16]},
    "training": {"learning_rate": 0.003, "batch_size": 512},
}
COMMON = {"baselines": [], "quorum": 0.5, "deadline_seconds": 30, "patience_seconds": 5, "evaluate_every": 100}
PLAIN = COMMON | {"name": "pilot", "rounds": ROUNDS, "strategy": {"weighting": "equal"}}
# Only with every bank in every round is the model the one of the simulation: whoever is not back yet is waited for.
EVERY_BANK = {"quorum": 1.0, "patience_seconds": 90}
SECURE = PLAIN | EVERY_BANK | {"secure_aggregation": {"min_cohort": 3, "colluding": 1}}
PRIVATE = COMMON | {
    "name": "private",
    "rounds": 40,
    "strategy": {"name": "dpadam", "weighting": "equal", "server_learning_rate": 0.02},
    "secure_aggregation": {"min_cohort": 3, "recover": False},
    "privacy": {
        "mode": "distributed",
        "epsilon": 3,
        "delta": 1e-6,
        "units": 10_000,
        "expected_units": 7000,
        "sampling_rate": 0.2,
        "spare_attempts": 4,
    },
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same consortium in simulation and in the open: banks' folders, and the model to compare with."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "c.yaml").write_text(yaml.safe_dump(BASE | {"phases": [PLAIN]}))
    call("fraudfl", "run", folder / "c.yaml", "-w", folder / "work", "--quiet")
    return folder / "work"


@pytest.fixture(scope="module")
def pristine(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Keys, banks and kits, before anything has run; each test has its own copy."""
    made = tmp_path_factory.mktemp("pristine") / "d"
    return Deployment.create(made, BASE | {"phases": [SECURE, PRIVATE]}, simulated / "banks")


@pytest.fixture
def deployed(pristine: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    deployment = pristine.copy(tmp_path / "d", pristine.config)
    try:
        yield deployment
    finally:
        deployment.close()


def weights(workspace: Path) -> dict[str, Any]:
    return load_file(workspace / "coordinator/phases/pilot/bundle/weights.safetensors")


def trained(deployment: Deployment, bank: str, event: str) -> list[tuple[int, int]]:
    """Round and attempt of a bank's training releases."""
    entries = Ledger(deployment.bank(bank) / "ledger.db").entries()
    return [(entry.round, entry.attempt) for entry in entries if (entry.event, entry.kind) == (event, "train")]


def test_a_secure_phase_gives_the_open_phases_model_though_the_coordinator_is_killed(
    deployed: Deployment, simulated: Path
) -> None:
    deployed.run_all()
    deployed.begin()
    wait_until(lambda: deployed.rounds() >= 2, "two rounds are done")
    deployed.kill("coordinator")
    deployed.serve("--resume")
    outcome = deployed.ended()
    assert (outcome["status"], outcome["banks"], outcome["rounds"]) == ("completed", BANKS, ROUNDS), outcome
    assert outcome["privacy"]["secure_aggregation"]
    ours, theirs = weights(deployed.workspace), weights(simulated)
    for name, tensor in theirs.items():
        assert np.abs(ours[name] - tensor).max() < 1e-4, name
    for bank in deployed.banks:
        assert sorted({number for number, _ in trained(deployed, bank, "released")}) == list(range(1, ROUNDS + 1))
        # The same attempt is never begun twice, whoever died in between.
        begun = trained(deployed, bank, "reserved")
        assert len(begun) == len(set(begun)), (bank, begun)
        said = call("bank-node", "ledger", "verify", deployed.bank(bank))
        assert "in order" in said


def test_a_private_phase_goes_on_without_a_bank_that_dies_and_each_ledger_keeps_within_epsilon(
    deployed: Deployment,
) -> None:
    deployed.run_all()
    deployed.begin("private")
    wait_until(lambda: deployed.rounds("private") >= 3, "three rounds are done")
    deployed.kill("bank-04")
    outcome = deployed.ended("private", seconds=240)
    assert (outcome["status"], outcome["rounds"]) == ("completed", PRIVATE["rounds"]), outcome
    assert {item["bank"] for item in outcome["excluded"]} == {"bank-04"}
    for bank in ("bank-01", "bank-02", "bank-03"):
        charged = Ledger(deployed.bank(bank) / "ledger.db").mechanisms()
        events = [mechanism_from_dict(facts) for facts in charged]
        # The round that the lost bank spoiled was charged twice, and the plan had spare attempts for it.
        assert PRIVATE["rounds"] < len(events) <= PRIVATE["rounds"] + PRIVATE["privacy"]["spare_attempts"]
        assert 0 < epsilon(events, PRIVATE["privacy"]["delta"]) <= PRIVATE["privacy"]["epsilon"]
    plan = json.loads((deployed.workspace / "coordinator/phases/private/plan.json").read_text())
    assert plan["secure_aggregation"]["min_cohort"] == 3
