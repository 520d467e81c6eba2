"""A watched year: when alerts come after a drift and a new kind of fraud, and when a challenger takes over.

    python benchmarks/year.py [--quick] [--seeds 7,8,9]

Each seed is one `fraudfl run configs/year.yaml` on another generated history: four quiet months as reference, then
twelve months with a drift in the fifth and a new kind of fraud in the eighth. `--quick` plays a smaller consortium with
a stronger fraud for six months. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent.parent
DRIFT_RULE, FRAUD_RULE = "data-moved", "new-fraud"
COLUMNS = ("seed", "quiet", "false", "drift +days", "fraud +days", "tries", "champion +days", "before", "after", "s")


def year(*, quick: bool) -> dict[str, Any]:
    """The configuration to play."""
    config: dict[str, Any] = yaml.safe_load((HERE / "configs" / "year.yaml").read_text())
    if quick:
        changes = {
            "drifts": [{"month": 11, "kind": "amounts", "strength": 0.5}],
            "new_frauds": [{"month": 12, "kind": "cash_out", "rate": 0.05}],
        }
        config["data"]["generator"] |= {"banks": 3, "transactions": 75_000, "days": 450, "fraud_rate": 0.015}
        config["data"]["generator"]["changes"] = changes
        config["split"] |= {"train_days": [30, 119], "test_days": [127, 149]}
        config["model"], config["training"] = {"hidden": [16]}, {"local_epochs": 2, "learning_rate": 0.01}
        config["phases"][0] |= {"rounds": 6, "baselines": [], "alert_budget": 0.08}
        config["phases"][1] |= {"windows": 10, "alert_budget": 0.08, "score_bins": 256}
        config["phases"][1]["retrain"] |= {"train_days": 90}
    return config


def play(config: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """Run one year; returns what is said of it in one row."""
    config["consortium"]["seed"] = seed
    path = folder / f"year-{seed}.yaml"
    path.write_text(yaml.safe_dump(config))
    workspace, begun = folder / f"work-{seed}", time.monotonic()
    command = [Path(sys.executable).parent / "fraudfl", "run", path, "--workspace", workspace, "--quiet"]
    subprocess.run(command, check=True)
    result = json.loads((workspace / "coordinator" / "phases" / "watch" / "result.json").read_text())
    return read(config, result["monitoring"]) | {"seed": seed, "s": round(time.monotonic() - begun)}


def read(config: dict[str, Any], section: dict[str, Any]) -> dict[str, Any]:
    """The row: days are counted from the day on which what is looked for began."""
    changes, start = config["data"]["generator"]["changes"], config["data"]["generator"]["start"]
    began = {rule: _day(start, changes[kind][0]["month"])
             for rule, kind in ((DRIFT_RULE, "drifts"), (FRAUD_RULE, "new_frauds"))}  # fmt: skip
    ends = {window["number"]: date.fromisoformat(window["window"].split("..")[1]) for window in section["windows"]}
    quiet = [number for number, end in ends.items() if number > section["quiet"] and end < began[DRIFT_RULE]]
    first, false = {}, 0
    for alert in section["alerts"]:
        rule, end = alert["rule"], date.fromisoformat(alert["window"].split("..")[1])
        if end < began.get(rule, began[DRIFT_RULE]):
            false += 1
        elif rule not in first:
            first[rule] = (date.fromisoformat(alert["day"]) - began[rule]).days if rule in began else None
    won = next((action for action in section["actions"] if action["promoted"]), None)
    models = [window["model"] for window in section["windows"]]
    return {
        "quiet": len(quiet),
        "false": false,
        "drift +days": first.get(DRIFT_RULE),
        "fraud +days": first.get(FRAUD_RULE),
        "tries": len(section["actions"]),
        "champion +days": None if won is None else (date.fromisoformat(won["day"]) - began[FRAUD_RULE]).days,
        "won": None if won is None else won["reason"],
        "before": _auprc(section, models[0], began[FRAUD_RULE]),
        "after": None if won is None else _auprc(section, won["version"], began[FRAUD_RULE]),
        "other alerts": sorted({alert["rule"] for alert in section["alerts"]} - set(began)),
    }


def _day(start: Any, month: int) -> date:
    return date.fromordinal(date.fromisoformat(str(start)).toordinal() + 30 * (month - 1))


def _auprc(section: dict[str, Any], model: int, since: date) -> float | None:
    """Mean AUPRC of a model over the windows since a day in which it was in use."""
    found = [
        window["performance"]["figures"]["auprc"]["value"]
        for window in section["windows"]
        if window["model"] == model and window["performance"] and window["window"] >= since.isoformat()
    ]
    return round(sum(found) / len(found), 3) if found else None


def main() -> None:
    """Play each seed's year; print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a smaller consortium, one seed")
    parser.add_argument("--seeds", default="7,8,9", help="which histories, comma separated")
    arguments = parser.parse_args()
    seeds = [4] if arguments.quick else [int(seed) for seed in arguments.seeds.split(",")]
    print("".join(f"{name:>16}" for name in COLUMNS))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in seeds:
            row = play(year(quick=arguments.quick), seed, Path(scratch))
            print("".join(f"{'–' if row[name] is None else row[name]:>16}" for name in COLUMNS), flush=True)
            rows.append(row)
    for row in rows:
        print(f"seed {row['seed']}: {row['won'] or 'no challenger won'}")
    print(json.dumps({"years": rows}))


if __name__ == "__main__":
    main()
