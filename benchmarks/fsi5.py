"""The five payment sites, judged as the peer judges them: mean F1 and AP over the twenty evaluation files.

    python benchmarks/fsi5.py --data DIR [--quick] [--workspace DIR]

Runs `fraudfl run configs/fsi5.yaml` as a user would, then reads the scores the banks kept. Headline F1 is at logit 0
(argmax), the peer's rule, fixed beforehand. Beside it stands F1 at each bank's own threshold, the best F1 on its own
validation rows (held back from its training file), and at one threshold for all, from their summed histograms. The
evaluation files choose nothing. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from fraudfl.data.split import split_rows
from fraudfl.errors import DataError
from fraudfl.folder import BankFolder
from fraudfl.metrics.exact import auprc, f1_at
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.plan import Plan
from fraudfl.protocols import Scored
from pipelines.evaluation import choose_thresholds
from server.rounds.pooled import LocalBanks
from server.store.workspace import Workspace

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "fsi5.yaml"
PHASE = "pilot"
QUICK_ROUNDS = 2
# arXiv 2603.13617, and NVIDIA FLARE's research/fsi-fraud-detection run on the same files (20 rounds or epochs).
PEER = {
    "federated": {"published": 0.903, "measured": 0.913, "auprc": 0.866},
    "alone": {"published": 0.643, "measured": 0.633, "auprc": 0.570},
    "pooled": {"published": 0.925, "measured": 0.921, "auprc": 0.882},
}
PEER_SECONDS, PEER_BYTES_UP, PEER_F1_AFTER_TEN = 17.3, 99_000, 0.893
CEILING = 0.932


@dataclass(frozen=True)
class FileFigures:
    """One way to train on one evaluation file.

    Attributes:
        f1: At logit 0.
        f1_own_threshold: At the bank's own threshold.
        f1_one_threshold: At the threshold that all banks would share.
    """

    bank: str
    part: str
    f1: float
    f1_own_threshold: float
    f1_one_threshold: float
    auprc: float


def run(data: Path, workspace: Path, *, quick: bool) -> None:
    """Run the shipped configuration, without the comparisons that this benchmark does not read."""
    facts = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    facts["phases"][0]["baselines"] = ["alone"]
    if quick:
        facts["phases"][0]["rounds"] = QUICK_ROUNDS
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as config:
        yaml.safe_dump(facts, config)
        config.flush()
        command = [sys.executable, "-m", "server.cli", "run", config.name, "--data", f"fsi5:{data.resolve()}"]
        subprocess.run([*command, "--workspace", str(workspace), "--quiet"], check=True, cwd=CONFIG.parent.parent)


def judge(plan: Plan, scored: tuple[Scored, Scored], parts: Mapping[str, NDArray[np.str_]]) -> list[FileFigures]:
    """Judge one way to train on every evaluation file of every bank.

    Args:
        scored: Validation and test rows of all banks with the scores of their models.
        parts: Bank to the evaluation file of each of its test rows.
    """
    validation, test = scored
    shared = threshold(plan, validation, slice(None))
    rows = []
    for bank, where in test.banks.items():
        own = threshold(plan, validation, validation.banks[bank])
        for part in np.unique(parts[bank]):
            chosen = parts[bank] == part
            logits, labels = test.logits[where][chosen], test.labels[where][chosen]
            area = auprc(logits, labels)
            if area is None:
                raise DataError(f"{bank}, {part}: no fraud in this file; expected an evaluation file of the set")
            argmax, at_own, at_shared = (f1_at(logits, labels, threshold=at) for at in (0.0, own, shared))
            rows.append(FileFigures(bank, str(part), argmax, at_own, at_shared, area))
    return rows


def threshold(plan: Plan, validation: Scored, where: slice) -> float:
    """The logit with the best F1 on validation rows, from their histogram over the plan's bins."""
    histogram = ScoreHistogram.from_logits(validation.logits[where], validation.labels[where], plan.score_bins)
    return choose_thresholds(histogram, plan.alert_budget)["f1"]


def evaluation_files(workspace: Workspace, plan: Plan) -> dict[str, NDArray[np.str_]]:
    """Per bank, the evaluation file of each test row, in the order of the kept scores."""
    names = {}
    for bank in workspace.bank_ids():
        table = BankFolder(workspace.banks / bank).table()
        names[bank] = table["part"].to_numpy()[split_rows(table, plan.split).test].astype(np.str_)
    return names


def round_seconds(events: Path) -> list[float]:
    """Seconds of each round, as the coordinator's events say."""
    told = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    return [float(event["seconds"]) for event in told if event["event"] == "round"]


def measure(workspace: Workspace) -> tuple[dict[str, list[FileFigures]], dict[str, float]]:
    """Figures of a completed run, per file; and its rounds, their cost and bytes."""
    folder = workspace.phase(PHASE)
    plan = Plan.from_json((folder.path / "plan.json").read_bytes())
    banks = LocalBanks(workspace.banks, plan, folder.instance(), folder.path)
    parts = evaluation_files(workspace, plan)
    scored = {name: (banks.scored(name, "validation"), banks.scored(name, "test")) for name in ("federated", "alone")}
    scored["pooled"] = banks.train_pooled()
    figures = {name: judge(plan, both, parts) for name, both in scored.items()}
    outcome = folder.result()
    assert outcome is not None  # the run completed, or would have raised
    cost = {
        "rounds": int(outcome["rounds"]),
        "seconds_per_round": round(float(np.mean(round_seconds(folder.events))), 3),
        # Everything a bank sends over the phase, its sketch and its evaluation included, shared out over the rounds.
        "bytes_up_per_bank_round": round(outcome["transfer"]["bytes_up"] / len(parts) / outcome["rounds"]),
    }
    return figures, cost


def means(rows: list[FileFigures]) -> dict[str, float]:
    """Plain means over files, as the peer takes them."""
    return {
        "mean_f1": round(float(np.mean([row.f1 for row in rows])), 4),
        "mean_f1_own_threshold": round(float(np.mean([row.f1_own_threshold for row in rows])), 4),
        "mean_f1_one_threshold": round(float(np.mean([row.f1_one_threshold for row in rows])), 4),
        "auprc": round(float(np.mean([row.auprc for row in rows])), 4),
    }


def show(figures: dict[str, list[FileFigures]], cost: dict[str, float]) -> None:
    """Print the tables."""
    print(
        f"{'':<11}{'mean F1':>9}{'own threshold':>15}{'one threshold':>15}{'AP':>8}   "
        f"{'peer: published F1':>19}{'measured F1':>13}{'AP':>8}"
    )
    for name, rows in figures.items():
        peer, ours = PEER[name], means(rows)
        theirs = f"{peer['published']:>19.3f}{peer['measured']:>13.3f}{peer['auprc']:>8.3f}"
        print(
            f"{name:<11}{ours['mean_f1']:>9.3f}{ours['mean_f1_own_threshold']:>15.3f}"
            f"{ours['mean_f1_one_threshold']:>15.3f}{ours['auprc']:>8.3f}   {theirs}"
        )
    print(f"\nThe peer's federated F1 is after 20 rounds; after ten it was {PEER_F1_AFTER_TEN}.")
    print(f"An oracle that knows every altered row reaches {CEILING}: the rest is label noise.\n")
    print("F1 per site (mean of its four files)")
    banks = sorted({row.bank for row in figures["federated"]})
    print(f"{'':<11}" + "".join(f"{bank:>9}" for bank in banks))
    for name, rows in figures.items():
        of_banks = [means([row for row in rows if row.bank == bank])["mean_f1"] for bank in banks]
        print(f"{name:<11}" + "".join(f"{mean:>9.3f}" for mean in of_banks))
    print(f"\n{'':<28}{'here':>10}{'peer':>10}")
    for label, key, peer_figure in (
        ("rounds", "rounds", 20),
        ("seconds a round", "seconds_per_round", PEER_SECONDS),
        ("bytes up per bank and round", "bytes_up_per_bank_round", PEER_BYTES_UP),
    ):
        print(f"{label:<28}{cost[key]:>10,}{peer_figure:>10,}")
    print()


def main() -> None:
    """Run, print the tables, print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds siteA … siteE")
    parser.add_argument("--workspace", type=Path, help="keep the run here; one that is completed there is judged again")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds: shows that it works, no more")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = arguments.workspace or Path(scratch) / "work"
        if not (path / "summary.json").exists():
            run(arguments.data, path, quick=arguments.quick)
        figures, cost = measure(Workspace(path))
    show(figures, cost)
    print(json.dumps({name: means(rows) for name, rows in figures.items()} | cost))


if __name__ == "__main__":
    main()
