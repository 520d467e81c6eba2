"""Time and memory of a round by the number of banks, in Flower's simulation runtime as `fraudfl run` uses it.

    python benchmarks/scale.py [--quick]

Three ways: plain FedAvg that asks all banks; differential privacy with shared noise and secure aggregation that asks a
cohort of 40 in turns; secure aggregation with recovery that asks everyone, up to 200 banks. Banks are generated and
small, so that what is measured is the system and not the training. Memory is resident memory of the process in which
the coordinator runs (Flower's runtime and Ray's driver with it), and of the workers that answer for the banks, one for
each core. CPU seconds stand beside wall seconds, for a machine that is busy with other things. At the end the
coordinator's memory for one round of a model of a million weights, by the number of updates (`streamed_sums.py`).
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

HERE = Path(__file__).parent
FULL, QUICK = (10, 50, 200, 1000), (10, 50)
COHORT, MOST_EVERYONE = 40, 200
LOOK_SECONDS = 0.25
WAYS = {"plain": "plain, all asked", "cohort": "private, a cohort asked", "everyone": "secure, everyone asked"}


def config(banks: int, rounds: int, most_everyone: int) -> dict[str, Any]:
    """A consortium of so many small banks, with one phase for each way."""
    common = {"rounds": rounds, "baselines": [], "evaluate_every": rounds, "score_bins": 64, "deadline_seconds": 3600}
    private = {
        "strategy": {"name": "dpsgd", "weighting": "equal", "server_learning_rate": 10},
        "privacy": {
            "mode": "distributed",
            "epsilon": 3,
            "delta": 1.0e-6,
            "units": 10_000,
            "expected_units": 100 * min(banks, COHORT),
            "sampling_rate": 0.2,
            "encoder_share": 0.1,
            "evaluation_share": 0.1,
        },
        "secure_aggregation": {"min_cohort": min(banks * 4 // 5, 32), "colluding": 2, "recover": False},
        "codec": {"down": "int8"},
    } | ({"cohort": COHORT} if banks > COHORT else {})
    secure = {
        "strategy": {"weighting": "equal"},
        "secure_aggregation": {"min_cohort": banks * 2 // 3, "colluding": banks // 10},
    }
    ways = {"plain": {}, "cohort": private} | ({"everyone": secure} if banks <= most_everyone else {})
    generator = {"banks": banks, "transactions": 300 * banks, "days": 60, "fraud_rate": 0.05, "size_skew": 0.0}
    return {
        "consortium": {"name": "scale", "seed": 1},
        "data": {"source": "generated", "generator": generator},
        "split": {"origin": "2025-01-01", "train_days": [5, 39], "test_days": [47, 59]},
        "features": {"windows_days": [7], "aggregates": ["count", "mean", "since_last"]},
        "encoder": {"bins_per_decade": 8, "smallest": 0.01, "largest": 1.0e7},
        "model": {"hidden": [24]},
        "phases": [{"name": name, **common, **phase} for name, phase in ways.items()],
    }


@dataclass
class Watch:
    """What a process tree used, over time.

    Attributes:
        looks: Time, resident memory of each part in MB then, and CPU seconds of each part by then.
    """

    looks: list[tuple[float, dict[str, float], dict[str, float]]] = field(default_factory=list)
    _last: dict[int, tuple[str, float]] = field(default_factory=dict)

    def look(self, root: psutil.Process) -> None:
        """Add up the tree's processes by part."""
        memory: defaultdict[str, float] = defaultdict(float)
        for process in [root, *root.children(recursive=True)]:
            try:
                with process.oneshot():
                    part, times = _part_of(" ".join(process.cmdline())), process.cpu_times()
                    memory[part] += process.memory_info().rss / 2**20
            except psutil.Error:
                continue
            # Processes that end keep what they had used.
            self._last[process.pid] = part, times.user + times.system
        memory["all"] = sum(memory.values())
        used: defaultdict[str, float] = defaultdict(float)
        for part, seconds in self._last.values():
            used[part] += seconds
        self.looks.append((time.time(), memory, used))

    def used(self, part: str, since: float, until: float) -> float:
        """CPU seconds of a part between two times."""
        times = [moment for moment, _, _ in self.looks]
        first, last = (min(bisect_left(times, moment), len(times) - 1) for moment in (since, until))
        return self.looks[last][2].get(part, 0.0) - self.looks[first][2].get(part, 0.0)

    def peak_mb(self, part: str, since: float, until: float) -> int:
        """Highest memory of a part between two times."""
        return round(max(memory.get(part, 0.0) for moment, memory, _ in self.looks if since <= moment <= until))


def _part_of(command: str) -> str:
    if "flwr-simulation" in command:
        return "coordinator"
    return "banks" if "ClientAppActor" in command else "other"


def run(banks: int, rounds: int, most_everyone: int, folder: Path) -> list[dict[str, Any]]:
    """One run of all ways; returns the figures of each."""
    file, workspace = folder / "scale.yaml", folder / "workspace"
    file.write_text(yaml.safe_dump(config(banks, rounds, most_everyone)))
    watch, over = Watch(), threading.Event()
    command = [str(Path(sys.executable).parent / "fraudfl"), "run", str(file), "-w", str(workspace)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        root = psutil.Process(process.pid)

        def watching() -> None:
            while not over.wait(LOOK_SECONDS):
                watch.look(root)

        thread = threading.Thread(target=watching)
        thread.start()
        process.wait()
        over.set()
        thread.join()
    if process.returncode:
        sys.exit(f"scale: {banks} banks: exit {process.returncode}\n{(folder / 'log').read_text()[-3000:]}")
    folders = {name: workspace / "coordinator/phases" / name for name in WAYS}
    return [figures(name, banks, place, watch) for name, place in folders.items() if place.exists()]


def figures(way: str, banks: int, folder: Path, watch: Watch) -> dict[str, Any]:
    """What one phase's events and the watch tell of its rounds."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    done = [event for event in events if event["event"] == "round"]
    # The first round also makes every bank's inputs.
    first, last, number = done[0], done[-1], len(done) - 1
    asked = int(last["banks"])
    per_round = statistics.median(event["seconds"] for event in done[1:])
    span, whole = (first["time"], last["time"]), (events[0]["time"], events[-1]["time"])
    return {
        "way": way,
        "banks": banks,
        "asked": asked,
        "seconds_before_rounds": round(first["time"] - first["seconds"] - events[0]["time"], 1),
        "seconds_per_round": round(per_round, 3),
        "ms_per_bank_and_round": round(1000 * per_round / asked, 2),
        "cpu_ms_coordinator": round(1000 * watch.used("coordinator", *span) / number / asked, 2),
        "cpu_ms_bank": round(1000 * watch.used("banks", *span) / number / asked, 2),
        "coordinator_mb": watch.peak_mb("coordinator", *whole),
        "workers_mb": watch.peak_mb("banks", *whole),
        "all_mb": watch.peak_mb("all", *whole),
        "bytes_up": round((last["bytes_up"] - first["bytes_up"]) / number / asked),
        "bytes_down": round((last["bytes_down"] - first["bytes_down"]) / number / asked),
    }


def slope(rows: list[dict[str, Any]], over: str, figure: str) -> float | None:
    """Least-squares slope of a figure over the number of banks, both as logarithms: 1 is linear growth."""
    points = [(math.log(row[over]), math.log(row[figure])) for row in rows]
    if len({x for x, _ in points}) < 2:
        return None
    return round(statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope, 3)


def streamed(sizes: tuple[int, int], weights: int) -> list[dict[str, Any]]:
    """Memory of one round of a large model for few updates and for many, each in a process of its own."""
    rows = []
    for kind in ("open", "masked"):
        for banks in sizes:
            command = [sys.executable, str(HERE / "streamed_sums.py"), str(banks), str(weights), kind]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"scale: {' '.join(command)}\n{done.stderr[-3000:]}")
            rows.append({"kind": kind, **json.loads(done.stdout.splitlines()[-1])})
    return rows


COLUMNS = {
    "banks": "banks", "asked": "asked", "seconds_before_rounds": "before s", "seconds_per_round": "s/round",
    "ms_per_bank_and_round": "ms/bank", "cpu_ms_coordinator": "CPU ms co.", "cpu_ms_bank": "CPU ms bank",
    "coordinator_mb": "co. MB", "workers_mb": "workers MB", "all_mb": "all MB", "bytes_up": "B up",
    "bytes_down": "B down",
}  # fmt: skip


def show(rows: list[dict[str, Any]]) -> None:
    """The table; per-bank columns are over the banks that were asked."""
    print(f"{'':<26}" + "".join(f"{title:>12}" for title in COLUMNS.values()))
    for row in rows:
        print(f"{WAYS[row['way']]:<26}" + "".join(f"{row[name]:>12,}" for name in COLUMNS))


def growth(rows: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """How seconds, CPU and memory grow, by way: with the banks there are."""
    found = {}
    for way in WAYS:
        own = [row | {"cpu": (row["cpu_ms_coordinator"] + row["cpu_ms_bank"]) * row["asked"]} for row in rows]
        own = [row for row in own if row["way"] == way]
        if not own:
            continue
        found[way] = {
            "seconds_per_round": slope(own, "banks", "seconds_per_round"),
            "cpu_per_round": slope(own, "banks", "cpu"),
            "coordinator_mb": slope(own, "banks", "coordinator_mb"),
        }
    return found


def main() -> None:
    """Run all, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="10 and 50 banks, two ways, two rounds that count")
    parser.add_argument("--banks", type=int, nargs="*", help="other numbers of banks")
    asked = parser.parse_args()
    rows = []
    for banks in tuple(asked.banks or (QUICK if asked.quick else FULL)):
        with tempfile.TemporaryDirectory() as folder:
            rows += run(banks, 3 if asked.quick else 8, 0 if asked.quick else MOST_EVERYONE, Path(folder))
    rows.sort(key=lambda row: list(WAYS).index(row["way"]))
    show(rows)
    grown = growth(rows)
    print("\ngrowth with the number of banks (slope of logarithms; 1 is linear)")
    for way, found in grown.items():
        print(f"{WAYS[way]:<26}" + "".join(f"{name} {value}   " for name, value in found.items()))
    sums = streamed((10, 50), 100_000) if asked.quick else streamed((50, 200), 1_000_000)
    print("\none round of a large model at the coordinator")
    for row in sums:
        print(
            "  {kind:<7}{banks:>5} banks x {weights:,} weights: {before_mb} MB before, {peak_mb} at most".format(**row)
        )
    print(json.dumps({"rounds": rows, "growth": grown, "large_model": sums}))


if __name__ == "__main__":
    main()
