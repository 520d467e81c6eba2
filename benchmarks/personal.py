"""What each bank gains: training alone, the federated model, and a model of its own on top of it.

    python benchmarks/personal.py --data PATH [--quick]

Each variant is a `fraudfl run` of its own; the figures are those that the banks keep (`banks/<id>/gain/`), which only
a simulation can read side by side. Three times the handbook data (banks by account hash, by region, and with unequal
shares of the accounts that fraud hits); the generator's banks, each of which meets other kinds of fraud; and these
under differential privacy and secure aggregation. `--quick`: one in six of the handbook's customers, by account hash,
four rounds. The last line is one JSON object.
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

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
PARTITIONS: dict[str, dict[str, Any] | None] = {
    "hash": None,
    "region": {"by": "region", "count": 10},
    "dirichlet": {"by": "dirichlet", "count": 10, "alpha": 0.3},
}
WAYS = ("alone", "federated", "personalised")


def handbook(partition: str, quick: bool) -> dict[str, Any]:
    facts: dict[str, Any] = yaml.safe_load((CONFIGS / "handbook.yaml").read_text())
    facts["banks"] = PARTITIONS[partition] or facts["banks"]
    facts["phases"][0] |= {"baselines": ["alone"]} | ({"rounds": 4} if quick else {})
    return facts


def generated(seed: int, config: str = "quickstart") -> dict[str, Any]:
    facts: dict[str, Any] = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    facts["consortium"]["seed"] = seed
    facts["phases"][0]["baselines"] = ["alone"]
    return facts


def one_in_six(source: Path, folder: Path) -> Path:
    """A sixth of the handbook's customers."""
    table = pq.read_table(source / "transactions.parquet")
    customers = pc.cast(table["CUSTOMER_ID"], "int64").to_numpy()
    pq.write_table(table.filter(customers % 6 == 0), folder / "transactions.parquet")
    return folder


def run(facts: dict[str, Any], data: Path | None) -> tuple[list[dict[str, Any]], dict[str, Any], float]:
    """Every bank's report, the phase's metrics, and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        config, workspace = Path(folder) / "config.yaml", Path(folder) / "work"
        config.write_text(yaml.safe_dump(facts))
        command = [sys.executable, "-m", "server.cli", "run", str(config), "--quiet", "--workspace", str(workspace)]
        started = time.monotonic()
        subprocess.run(command + (["--data", f"handbook:{data}"] if data else []), check=True)
        seconds = time.monotonic() - started
        reports = []
        for bank in sorted((workspace / "banks").iterdir()):
            [path] = (bank / "gain").glob("*.json")
            reports.append({"bank": bank.name} | json.loads(path.read_text()))
        outcome = json.loads((workspace / "coordinator/phases/pilot/result.json").read_text())
        return reports, outcome["metrics"], seconds


def row(report: dict[str, Any]) -> dict[str, Any]:
    takings = report["takings"]
    return {
        "bank": report["bank"],
        "frauds": takings["frauds"],
        "alerts": takings["alerts"],
        "own": report["own"]["choice"],
        "auprc": report["auprc"],
        "frauds_caught": {way: takings["takings"][way]["frauds_caught"]["value"] for way in WAYS},
        "money_saved": {way: takings["takings"][way]["money_saved"]["value"] for way in WAYS},
        "gains": takings["gains"],
        "auprc_gain": report["auprc_gain"],
    }


def summary(rows: list[dict[str, Any]], metrics: dict[str, Any]) -> dict[str, Any]:
    """What personalising did over the banks, beyond the federated model."""
    more = [
        one["auprc"]["personalised"] - one["auprc"]["federated"] for one in rows if one["auprc"]["alone"] is not None
    ]
    caught = {way: sum(one["frauds_caught"][way] for one in rows) for way in WAYS}
    return {
        "auprc_bank_mean": {way: _mean([one["auprc"][way] for one in rows]) for way in WAYS},
        "frauds": sum(one["frauds"] for one in rows),
        "frauds_caught": caught,
        "money_saved": {way: sum(one["money_saved"][way] for one in rows) for way in WAYS},
        "own_models": sum(one["own"] != "global" for one in rows),
        "better": sum(value > 0.01 for value in more),
        "worse": sum(value < -0.01 for value in more),
        "auprc": {"alone": metrics["alone"]["auprc"], "federated": metrics["federated"]["auprc"]}
        | {"personalised": metrics["personalised"]["auprc"]},
        "gain_over_federated": metrics["personalised"]["gain_over_federated"],
        "gain_bins": metrics["gain_bins"],
    }


def _mean(values: list[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def show(name: str, rows: list[dict[str, Any]], total: dict[str, Any], seconds: float) -> None:
    print(f"\n{name} ({seconds:.0f} s)")
    headings = [f"{figure} {way}" for figure in ("AUPRC", "caught") for way in WAYS]
    print(f"{'bank':9} {'frauds':>6} " + " ".join(f"{heading:>19}" for heading in headings) + "  own model")
    for one in rows:
        cells = [_cell(one["auprc"][way], ".3f") for way in WAYS]
        cells += [_cell(one["frauds_caught"][way], ".1f") for way in WAYS]
        print(f"{one['bank']:9} {one['frauds']:>6} " + " ".join(f"{cell:>19}" for cell in cells) + f"  {one['own']}")
    cells = [_cell(total["auprc_bank_mean"][way], ".3f") for way in WAYS]
    cells += [_cell(total["frauds_caught"][way], ".1f") for way in WAYS]
    print(f"{'all':9} {total['frauds']:>6} " + " ".join(f"{cell:>19}" for cell in cells))
    low, high = total["gain_over_federated"]
    gain = total["auprc"]["personalised"] - total["auprc"]["federated"]
    print(
        f"own models at {total['own_models']} of {len(rows)} banks; AUPRC better by more than 0.01 at "
        f"{total['better']}, worse at {total['worse']}; over all rows {gain:+.4f} ({low:+.4f} to {high:+.4f})"
    )


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the handbook's folder")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="variants whose name holds this")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            variants = {"handbook by hash, one customer in six": (handbook("hash", True), True)}
            data = one_in_six(options.data.resolve(), Path(folder))
        else:
            variants = {f"handbook by {name}": (handbook(name, False), True) for name in PARTITIONS}
            variants |= {f"generated, seed {seed}": (generated(seed), False) for seed in (7, 11, 12)}
            variants["generated, private"] = (generated(7, "quickstart-private"), False)
            data = options.data.resolve()
        for name, (facts, needs_data) in variants.items():
            if options.only not in name:
                continue
            reports, metrics, seconds = run(facts, data if needs_data else None)
            rows = [row(report) for report in reports if report["takings"] is not None]
            total = summary(rows, metrics)
            show(name, rows, total, seconds)
            found[name] = {"banks": rows, "all": total, "seconds": seconds}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
