"""What privacy costs the handbook's ten banks: AUPRC by ε, by who adds the noise, by unit, and by rounds.

    python benchmarks/privacy_utility.py --data PATH [--quick] [--processes N]

Alone, pooled and federated without privacy come from `fraudfl run configs/handbook.yaml`, once per seed. On the bank
folders that such a run leaves, the private trainings follow, all in one process: the banks' own functions give noisy
sums or updates, which are encoded, added up and stepped on as a coordinator does, only without masks, which cancel.
Seeds reach weights and the division into banks, never noise. Recipes are those of `configs/handbook-distributed.yaml`
and `configs/handbook-private.yaml`; `docs/privacy-utility.md` says how they were found. `--quick` runs a small generated
consortium with one seed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from private_training import bytes_per_bank, make_private_plan, open_banks, scored, train

from fraudfl.metrics.exact import auprc
from fraudfl.transfer.savings import raw_sizes, saving

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SEEDS = (7, 8, 9)
ROUNDS = (100, 300, 1000, 3000)
QUICK_ROUNDS = 4
# A generated consortium that takes seconds.
QUICK: dict[str, Any] = {
    "data": {"source": "generated", "generator": {"banks": 10, "transactions": 40_000, "days": 120}},
    "banks": {"by": "natural"},
    "split": {"by": "time", "origin": "2025-01-01", "train_days": [20, 89], "test_days": [97, 119]},
}


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        group, name: Where its figure belongs in the last line.
        facts: The whole configuration, as in a YAML file.
    """

    group: str
    name: str
    seed: int
    workspace: Path
    facts: dict[str, Any]


def configuration(name: str, seed: int, quick: bool) -> dict[str, Any]:
    """A shipped configuration with another seed."""
    facts: dict[str, Any] = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    facts["consortium"]["seed"] = seed
    return facts | QUICK if quick else facts


def run_product(seed: int, workspace: Path, data: Path | None) -> dict[str, float]:
    """`fraudfl run` without privacy: AUPRC alone, pooled and federated. Leaves the bank folders in `workspace`."""
    facts = configuration("handbook.yaml", seed, data is None)
    facts["phases"][0]["baselines"] = ["alone", "pooled"]
    if data is None:
        facts["phases"][0]["rounds"] = 1
    config = workspace.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(facts), encoding="utf-8")
    command = [sys.executable, "-m", "server.cli", "run", str(config), "--workspace", str(workspace), "--quiet"]
    command += [] if data is None else ["--data", f"handbook:{data}"]
    subprocess.run(command, check=True, cwd=CONFIGS.parent)
    metrics = json.loads((workspace / "summary.json").read_text(encoding="utf-8"))["phases"][0]["metrics"]
    return {name: metrics[name]["auprc"] for name in ("alone", "pooled", "federated")}


def private_facts(config: str, seed: int, quick: bool, **changes: Any) -> dict[str, Any]:
    """A private configuration with other privacy settings, and as many rounds as `rounds` among them says."""
    facts = configuration(config, seed, quick)
    phase = facts["phases"][0]
    rounds = changes.pop("rounds", None)
    if rounds is not None:
        _spread(facts, rounds)
    phase["privacy"] |= changes
    if quick:
        phase["rounds"] = QUICK_ROUNDS
        phase["privacy"]["steps_per_round"] = 1
    return facts


def _spread(facts: dict[str, Any], rounds: int) -> None:
    """Other rounds, with about the same way to go: as the steps become more, each becomes shorter."""
    phase = facts["phases"][0]
    stretch = phase["rounds"] / rounds
    phase["strategy"]["server_learning_rate"] *= min(stretch, 2.0)
    # Below that many drawn rows in all, sampling adds more noise than it hides.
    phase["privacy"]["sampling_rate"] = min(0.5, phase["privacy"]["sampling_rate"] * max(1.0, stretch**0.5))
    phase["rounds"] = rounds
