"""The handbook run in three variants: int8 both ways, float32, and differential privacy at each bank.

    python benchmarks/handbook.py --data PATH [--quick]

Each variant is a `fraudfl run` of its own, in turn. `--quick` uses two rounds and no baselines. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def variant(name: str, quick: bool) -> dict[str, Any]:
    facts: dict[str, Any] = yaml.safe_load(
        (CONFIGS / ("handbook-private.yaml" if name == "private" else "handbook.yaml")).read_text()
    )
    phase = facts["phases"][0]
    if name == "float32":
        phase["codec"] = {"up": "float32", "down": "float32"}
    if name != "int8" or quick:
        phase["baselines"] = []
    if quick:
        phase["rounds"] = 2
    return facts


def run(name: str, data: Path, quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / f"{name}.yaml"
        config.write_text(yaml.safe_dump(variant(name, quick)))
        workspace = Path(folder) / "work"
        command = [sys.executable, "-m", "server.cli", "run", str(config), "--quiet"]
        started = time.monotonic()
        subprocess.run([*command, "--data", f"handbook:{data}", "--workspace", str(workspace)], check=True)
        phase: dict[str, Any] = json.loads((workspace / "summary.json").read_text())["phases"][0]
        epsilon = json.loads((workspace / "coordinator/phases/pilot/privacy.json").read_text())["epsilon"]
        return phase | {"wall_seconds": time.monotonic() - started, "epsilon": epsilon}


def figures(phase: dict[str, Any]) -> dict[str, Any]:
    metrics = phase["metrics"]
    found = {name: metrics[name]["auprc"] for name in ("federated", "alone", "pooled") if metrics[name]}
    found |= {f"xgboost_{name}": row["auprc"] for name, row in (metrics["xgboost"] or {}).items()}
    transfer = phase["transfer"]
    return found | {
        "intervals": {name: rows["auprc"] for name, rows in metrics["intervals"].items()},
        "per_bank": metrics["per_bank"],
        "savings_vs_csv": transfer["savings_vs_csv"],
        "savings_vs_parquet": transfer["savings_vs_parquet"],
        "worst_bank_savings_vs_csv": transfer["worst_bank_savings_vs_csv"],
        "bytes": transfer["bytes_up"] + transfer["bytes_down"],
        "epsilon_max": phase["privacy"]["epsilon_max"],
        "epsilon": phase["epsilon"],
        "not_covered": phase["privacy"]["not_covered"],
        "seconds": phase["wall_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = {name: figures(run(name, options.data.resolve(), options.quick)) for name in ("int8", "float32", "private")}
    print(f"{'variant':10} {'AUPRC':>7} {'alone':>7} {'pooled':>7} {'saved vs CSV':>13} {'ε max':>7} {'seconds':>8}")
    for name, row in found.items():
        keys = ("federated", "alone", "pooled", "epsilon_max")
        cells = ["–" if row.get(key) is None else f"{row[key]:.3f}" for key in keys]
        saved, seconds = f"{row['savings_vs_csv']:.2%}", f"{row['seconds']:.0f}"
        print(f"{name:10} {cells[0]:>7} {cells[1]:>7} {cells[2]:>7} {saved:>13} {cells[3]:>7} {seconds:>8}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
