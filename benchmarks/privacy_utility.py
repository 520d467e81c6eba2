"""What privacy costs the handbook's ten banks: AUPRC by ε, by who adds the noise, by unit, and by rounds.

    python benchmarks/privacy_utility.py --data PATH [--quick] [--processes N]

Alone, pooled and federated without privacy come from `fraudfl run configs/handbook.yaml`, once per seed. On the bank
folders that such a run leaves, the private trainings follow in one process each, see `private_training.py`. Seeds
reach weights and the division into banks, never noise. The recipes are those of `configs/handbook-distributed.yaml`
and `configs/handbook-private.yaml`; `docs/privacy-utility.md` says how they were found. `--quick` runs a small
generated consortium with one seed: it shows that all works, no more. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from private_training import Consortium, Trained

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
DISTRIBUTED, LOCAL = "handbook-distributed.yaml", "handbook-private.yaml"
SEEDS = (7, 8, 9)
EPSILONS = (1, 3, 8)
ROUNDS = (100, 300, 1000, 3000)
BASELINES = ("alone", "pooled", "federated")
ACCOUNTS: dict[str, Any] = {"unit": "account", "account_rows": 64}
# About as many transactions as an account has in the training window, by the data set's description.
ROWS_PER_ACCOUNT = 120
# A generated consortium that takes seconds.
QUICK: dict[str, Any] = {
    "data": {"source": "generated", "generator": {"banks": 10, "transactions": 20_000, "days": 120}},
    "banks": {"by": "natural"},
    "split": {"by": "time", "origin": "2025-01-01", "train_days": [20, 89], "test_days": [97, 119]},
}
QUICK_ROUNDS = 3


@dataclass(frozen=True)
class Job:
    """One private training; `group` and `name` say where its figure belongs in the last line."""

    group: str
    name: str
    workspace: Path
    facts: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a job gave: AUPRC over all banks' test rows, and the bytes that it takes."""

    job: Job
    trained: Trained
    auprc: float
    savings_vs_csv: float
    seconds: float


def configuration(name: str, seed: int, quick: bool) -> dict[str, Any]:
    """A shipped configuration with another seed."""
    facts: dict[str, Any] = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    facts["consortium"]["seed"] = seed
    return facts | QUICK if quick else facts


def run_product(seed: int, workspace: Path, data: Path | None) -> dict[str, float]:
    """`fraudfl run` without privacy; leaves the bank folders in `workspace`, and returns AUPRC by `BASELINES`."""
    facts = configuration("handbook.yaml", seed, data is None)
    facts["phases"][0]["baselines"] = ["alone", "pooled"]
    if data is None:
        facts["phases"][0]["rounds"] = QUICK_ROUNDS
    config = workspace.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(facts), encoding="utf-8")
    command = [sys.executable, "-m", "server.cli", "run", str(config), "--workspace", str(workspace), "--quiet"]
    subprocess.run([*command, *(["--data", f"handbook:{data}"] if data else [])], check=True, cwd=CONFIGS.parent)
    metrics = json.loads((workspace / "summary.json").read_text(encoding="utf-8"))["phases"][0]["metrics"]
    return {name: metrics[name]["auprc"] for name in BASELINES}


def jobs(seed: int, workspace: Path, quick: bool) -> list[Job]:
    """All private trainings on one seed's banks."""

    def job(group: str, name: str, config: str, *, rounds: int = 0, **privacy: Any) -> Job:
        facts = configuration(config, seed, quick)
        if rounds:
            _stretch(facts, rounds)
        if "unit" in privacy:
            _by_account(facts)
        phase = facts["phases"][0]
        phase["privacy"] |= privacy
        if quick:
            phase["rounds"] = QUICK_ROUNDS
        return Job(group, name, workspace, facts)

    listed = [job("distributed", str(epsilon), DISTRIBUTED, epsilon=epsilon) for epsilon in EPSILONS]
    listed += [job("local", str(epsilon), LOCAL, epsilon=epsilon) for epsilon in EPSILONS]
    listed += [
        job("account", "distributed", DISTRIBUTED, epsilon=3, **ACCOUNTS),
        job("account", "local", LOCAL, epsilon=3, **ACCOUNTS),
    ]
    listed += [job("rounds", str(rounds), DISTRIBUTED, rounds=rounds, epsilon=3) for rounds in ROUNDS]
    listed.append(job("covered_encoder", "3", DISTRIBUTED, epsilon=3, encoder_share=0.1))
    return listed


def _by_account(facts: dict[str, Any]) -> None:
    """Estimate accounts in place of transactions, and step as far as before for the same sum of clipped gradients."""
    phase = facts["phases"][0]
    phase["privacy"]["expected_units"] //= ROWS_PER_ACCOUNT
    distributed = phase["privacy"]["mode"] == "distributed"
    stepping, rate = (
        (phase["strategy"], "server_learning_rate") if distributed else (facts["training"], "learning_rate")
    )
    stepping[rate] /= ROWS_PER_ACCOUNT
    facts["training"]["weight_decay"] *= ROWS_PER_ACCOUNT


def _stretch(facts: dict[str, Any], rounds: int) -> None:
    """Take other rounds over about the same way: learning rate times rounds stays, up to what is stable."""
    phase = facts["phases"][0]
    stretch = phase["rounds"] / rounds
    phase["rounds"] = rounds
    phase["strategy"]["server_learning_rate"] *= min(stretch, 2.0)
    # Fewer rounds need more rows each, or sampling leaves more noise than the whole set would.
    phase["privacy"]["sampling_rate"] *= max(1.0, min(stretch, 2.0))


def work(job: Job) -> Outcome:
    """Train once. Runs in a process of its own, on one core."""
    torch.set_num_threads(1)
    started = time.monotonic()
    consortium = Consortium(job.facts, job.workspace / "banks")
    trained = consortium.train()
    found = consortium.test_auprc(trained), consortium.savings(trained)
    return Outcome(job, trained, *found, seconds=time.monotonic() - started)


def summed_up(values: Iterable[float]) -> dict[str, Any]:
    """Mean over seeds, the figures themselves, and their range."""
    found = [round(value, 4) for value in values]
    return {"auprc": round(float(np.mean(found)), 4), "per_seed": found, "spread": round(max(found) - min(found), 4)}


def report(baselines: list[dict[str, float]], outcomes: list[Outcome]) -> dict[str, Any]:
    """The last line."""
    told: dict[str, Any] = {name: summed_up(row[name] for row in baselines) for name in BASELINES}
    for outcome in outcomes:
        group, name = outcome.job.group, outcome.job.name
        same = [other for other in outcomes if (other.job.group, other.job.name) == (group, name)]
        told.setdefault(group, {})[name] = summed_up(other.auprc for other in same) | {
            "rounds": outcome.job.facts["phases"][0]["rounds"],
            "bytes_up_per_bank": outcome.trained.bytes_up,
            "bytes_down_per_bank": outcome.trained.bytes_down,
            "savings_vs_csv": round(outcome.savings_vs_csv, 3),
            "seconds": round(float(np.mean([other.seconds for other in same])), 1),
        }
    return told


def show(told: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{'':28}{'AUPRC':>7} {'spread':>7} {'rounds':>7} {'kB up':>8} {'kB down':>8} {'saved vs CSV':>13}")
    for name in BASELINES:
        print(f"{name:28}{told[name]['auprc']:>7.3f} {told[name]['spread']:>7.3f}")
    for group in ("distributed", "local", "account", "rounds", "covered_encoder"):
        for name, row in told[group].items():
            up, down = row["bytes_up_per_bank"] / 1000, row["bytes_down_per_bank"] / 1000
            print(
                f"{group + ' ' + name:28}{row['auprc']:>7.3f} {row['spread']:>7.3f} {row['rounds']:>7} "
                f"{up:>8.0f} {down:>8.0f} {row['savings_vs_csv']:>13.0%}"
            )


def main() -> None:
    """Run everything, print the table, print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of the handbook's transactions; not needed with --quick")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one core each")
    options = parser.parse_args()
    if options.data is None and not options.quick:
        parser.error("--data is needed without --quick")
    data = None if options.quick else options.data.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        seeds = SEEDS[:1] if options.quick else SEEDS
        places = {seed: Path(scratch) / f"seed-{seed}" for seed in seeds}
        baselines = [run_product(seed, place, data) for seed, place in places.items()]
        listed = [job for seed, place in places.items() for job in jobs(seed, place, options.quick)]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
            outcomes = list(pool.map(work, listed))
    told = report(baselines, outcomes)
    show(told)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
