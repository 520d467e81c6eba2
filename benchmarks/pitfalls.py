"""What goes wrong in a consortium, with and without what is set against it; on generated data, as ratios.

    python benchmarks/pitfalls.py [--quick]

Every phase runs whole: real banks' folders, gates and ledgers, asked in this process. AUPRC is exact, over the test
rows of all banks that have fraud, and (`auprc_small`) without those of the first, which may be ten times as large. A
ratio is that to a pitfall's first line. Of runs that differ by seed the mean is told. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "pipelines"))

import numpy as np
import pyarrow as pa
from memory_fleet import INSTANCE, Consortium, make_banks

from fraudfl.config import FraudflConfig
from fraudfl.folder import BankFolder
from fraudfl.metrics.exact import auprc
from pipelines.circle import Circle
from pipelines.phase import run_phase
from server.rounds.pooled import LocalBanks

LARGE, BANKS = "bank-01", 8
LEARNING: dict[str, Any] = {"local_epochs": 2, "batch_size": 64, "learning_rate": 0.01}
HARD = {"local_epochs": 12, "batch_size": 128, "learning_rate": 0.03, "schedule": "constant"}


@dataclass(frozen=True)
class Size:
    """How much is run: rows of all banks together, rounds of a phase, seeds of training."""

    rows: int
    rounds: int
    seeds: tuple[int, ...]


QUICK, WHOLE = Size(32_000, 10, (7,)), Size(80_000, 12, (7, 8))


class World:
    """One set of banks on disk, and phases over it."""

    def __init__(self, place: Path, size: Size, *, keep: float = 1.0, honest: Collection[str] = ()) -> None:
        """Make banks; all but the large one `keep` only so many of their accounts, and `honest` ones no fraud."""
        self._place, self._size, self._honest = place, size, honest
        rows = size.rows if keep == 1 else size.rows * 2
        self._facts: dict[str, Any] = {
            "consortium": {"name": "pitfalls"},
            "data": {
                "generator": {"banks": BANKS, "transactions": rows, "days": 90, "size_skew": 0, "fraud_rate": 0.02}
            },
            "split": {"origin": "2025-01-01", "train_days": [20, 62], "test_days": [70, 89]},
            "features": {"windows_days": [1, 7]},
            "encoder": {"categories": {"currency": ["EUR", "USD", "GBP", "CHF"]}},
            "model": {"hidden": [32, 16]},
        }
        self._folders = make_banks(place / "world", self.config(7, {}))
        for path in sorted(self._folders.iterdir()):
            _rewrite(path, 1.0 if path.name == LARGE else keep, honest=path.name in honest)

    def config(self, seed: int, phase: Mapping[str, Any]) -> FraudflConfig:
        """A configuration with one phase."""
        usual = {"name": "pilot", "rounds": self._size.rounds, "baselines": [], "evaluate_every": 1000}
        usual |= {"training": LEARNING, "patience_seconds": 0, "deadline_seconds": 60}
        named = {**self._facts["consortium"], "seed": seed}
        return FraudflConfig.model_validate({**self._facts, "consortium": named, "phases": [usual | dict(phase)]})

    def run(self, *, without: Collection[str] = (), **phase: Any) -> dict[str, float]:
        """Figures of one phase, the mean over seeds; banks may be left `without`."""
        found = [self._once(seed, phase, without) for seed in self._size.seeds]
        return {name: mean(row[name] for row in found) for name in found[0]}

    def _once(self, seed: int, settings: Mapping[str, Any], without: Collection[str]) -> dict[str, float]:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=self._place) as place:
            # A bank that is asked the same again sends the same bytes: each phase has banks of its own.
            banks = Path(shutil.copytree(self._folders, Path(place) / "banks"))
            for bank in without:
                shutil.rmtree(banks / bank)
            one = Consortium(banks, self.config(seed, settings), Path(place) / "coordinator")
            phase = one.phase()
            outcome = run_phase(phase, ())
            test = LocalBanks(banks, one.plan, INSTANCE, one.place).scored("federated", "test")
            self._keep_features(banks)
        # Banks without fraud may take part or not: figures are of the others' rows.
        rows = {bank: np.arange(part.stop)[part] for bank, part in test.banks.items() if bank not in self._honest}
        every, small = (np.concatenate([rows[bank] for bank in rows if bank != left]) for left in (None, LARGE))
        train = [row for row in phase.state.meter.to_rows() if row["kind"] in ("train", "look")]
        return {
            "auprc": auprc(test.logits[every], test.labels[every]) or 0.0,
            "auprc_small": auprc(test.logits[small], test.labels[small]) or 0.0,
            "rounds": outcome["rounds"],
            "model_bytes": sum(row["bytes"] for row in train),
            "seconds": time.perf_counter() - started,
        }

    def _keep_features(self, banks: Path) -> None:
        """Features depend on data alone; with them the next phase saves seconds."""
        for bank in sorted(banks.iterdir()):
            shutil.copytree(bank / "cache", self._folders / bank.name / "cache", dirs_exist_ok=True)


def _rewrite(path: Path, keep: float, *, honest: bool) -> None:
    folder = BankFolder(path)
    table = folder.table()
    accounts = table["account"].to_numpy(zero_copy_only=False)
    kept = np.unique(accounts)[: max(2, round(keep * np.unique(accounts).size))]
    table = table.filter(pa.array(np.isin(accounts, kept)))
    if honest:
        table = table.filter(pa.array(table["label"].to_numpy() == 0))
    BankFolder.fill(path, folder.bank, table, folder.contract)


def overfitting(world: World) -> dict[str, dict[str, float]]:
    return {
        "12 local epochs at a high rate": world.run(training=HARD),
        "… early_stop, patience 3": world.run(training=HARD, evaluate_every=1, early_stop={"patience": 3}),
        "… fedprox, proximal_mu 0.001": world.run(
            training={**HARD, "proximal_mu": 0.001}, strategy={"name": "fedprox"}
        ),
    }


def bandwidth(world: World) -> dict[str, dict[str, float]]:
    auto = {"up": "auto", "down": "auto"}
    whole = world.run()
    found = {"float32 both ways": whole}
    for budget in (12_000, 7_000):
        codec = {"codec": {**auto, "max_bytes_per_round": budget}}
        plan = Consortium(world._folders, world.config(7, codec), world._place / "plan").plan
        chosen = f"{plan.codec.up}{f' {plan.codec.keep:.0%}' if plan.codec.up == 'topk' else ''} / {plan.codec.down}"
        found[f"… auto, {budget:,} a round ({chosen})"] = world.run(**codec)
    return found


def comings(world: World) -> dict[str, dict[str, float]]:
    return {"all eight, each round": world.run(), "… a cohort of three, in turns": world.run(cohort=3)}


def turns(banks: int = 50, cohort: int = 5, rounds: int = 100) -> dict[str, dict[str, float]]:
    """Most and fewest rounds of any bank, where each is away for a tenth of the time, two rounds at a time."""
    rng, circle = np.random.default_rng(5), Circle()
    names = [f"bank-{number:02d}" for number in range(banks)]
    drawn, taken = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    away = dict.fromkeys(names, 0)
    for number in range(rounds):
        away = {bank: left - 1 if left > 0 else 2 * int(rng.random() < 0.05) for bank, left in away.items()}
        there = [bank for bank in names if not away[bank]]
        for bank in rng.choice(there, cohort, replace=False):
            drawn[bank] += 1
        asked = circle.draw(there, cohort, 7, number)
        circle.took_part(asked)
        for bank in asked:
            taken[bank] += 1
    return {
        name: {"fewest": min(found.values()), "most": max(found.values())}
        for name, found in (("drawn anew each round", drawn), ("… in turns", taken))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    size = QUICK if parser.parse_args().quick else WHOLE
    logging.disable(logging.WARNING)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        even = World(place / "even", size)
        found["over-fitting"] = overfitting(even)
        found["poor bandwidth"] = bandwidth(even)
        found["banks that come and go"] = comings(even)
        honest = World(place / "honest", size, honest=("bank-02", "bank-03"))
        found["two of eight banks without fraud"] = {
            "weighted by examples": honest.run(),
            "… fedprox, proximal_mu 0.001": honest.run(
                training={**LEARNING, "proximal_mu": 0.001}, strategy={"name": "fedprox"}
            ),
            "… these two left out of training": honest.run(without=["bank-02", "bank-03"]),
        }
        large = World(place / "large", size, keep=0.1)
        found["one bank ten times as large"] = {
            "weighted by examples": large.run(),
            "… largest_weight 0.3": large.run(strategy={"largest_weight": 0.3}),
            "… weighted equally": large.run(strategy={"weighting": "equal"}),
        }
    found["turns of fifty banks"] = turns()
    show(found)
    print(json.dumps(found))


def show(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    for pitfall, lines in found.items():
        print(f"\n{pitfall}")
        first = next(iter(lines.values()))
        for name, row in lines.items():
            cells = [f"{key} {value:,.4g} (×{value / first[key]:.2f})" for key, value in row.items() if first[key]]
            print(f"  {name:44} {'  '.join(cells)}")


if __name__ == "__main__":
    main()
