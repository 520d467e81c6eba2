"""`bank-node monitoring`: this bank's own report of each monitored window, made of exact counts and seen here only."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.table import Table

from bank_nodes.commands.options import AsJson, Folder, out, say
from fraudfl.monitoring.kept import kept_reports

_SIGNIFICANT = 0.01


def monitoring(folder: Folder, as_json: AsJson = False) -> None:
    """Show what this bank found of each monitored window: drift, figures, calibration, alerts."""
    found = list(kept_reports(folder))
    if as_json:
        for report in found:
            sys.stdout.write(json.dumps(report) + "\n")
        return
    if not found:
        say("no window was monitored here yet")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("phase", "window", "model", "rows", "drifted", "alerts", "frauds", "AUPRC", "recall", "calibration"):
        table.add_column(name, justify="left" if name in ("phase", "window", "drifted") else "right", no_wrap=True)
    for report in found:
        table.add_row(*_cells(report))
    out.print(table)
    say("drifted: features whose change is no chance, and the largest PSI; calibration: frauds seen per fraud promised")


def _cells(report: dict[str, Any]) -> list[str]:
    performance, calibration = report["performance"] or {}, report["calibration"]
    figures, rate = performance.get("figures", {}), report["alert_rate"]
    return [
        report["phase"],
        report["window"],
        str(report["model"]),
        f"{report['rows']:,}",
        _drifted(report),
        "" if rate is None else f"{rate['rate']['value']:.2%}",
        str(performance.get("frauds", "")),
        _number(figures.get("auprc")),
        _number(figures.get("recall_at_budget")),
        "" if calibration is None else f"{calibration['observed_to_expected']['value']:.2f}",
    ]


def _drifted(report: dict[str, Any]) -> str:
    if not report["reference"]:
        return "reference"
    changed = [drift for drift in report["drifts"] if drift["p_adjusted"] <= _SIGNIFICANT]
    if not changed:
        return "none"
    worst = max(changed, key=lambda drift: drift["psi"])
    return f"{len(changed)}: {worst['name']} {worst['psi']:.2f}"


def _number(estimate: dict[str, float] | None) -> str:
    return "" if estimate is None else f"{estimate['value']:.3f}"
