"""What monitoring looks like in a terminal: a line for each event that must not be missed, and a table of windows."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}
_SIGNIFICANT = 0.01


def monitoring_line(event: dict[str, Any]) -> str | None:
    """What to say of an event; None where there is nothing to say."""
    match event["event"]:
        case "in use":
            return f"version {event['version']} is watched"
        case "alert":
            return f"[{_COLOURS[event['severity']]}]{event['day']} alert {event['rule']}:[/] {escape(event['reason'])}"
        case "challenged":
            said = "is champion" if event["promoted"] else "did not win"
            return f"[bold]{event['day']} challenger {event['phase']} {said}:[/] {escape(event['reason'])}"
        case "rolled back":
            version = event["version"]
            said = "nothing to go back to" if version is None else f"back to version {version}"
            return f"[bold]{event['day']} {said}:[/] {escape(event['reason'])}"
        case "missed":
            return f"[yellow]window {event['window']} has no {event['step']}:[/] {escape(event['reason'])}"
    return None


def windows_table(outcome: dict[str, Any]) -> Table:
    """One row for each window."""
    found = outcome["monitoring"]
    table = Table(
        title=f"{outcome['name']}: windows (the first {found['quiet']} are the reference)",
        title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for name in ("window", "from", "model", "rows", "PSI", "alerts", "AUPRC", "recall", "missed"):
        table.add_column(name, justify="left" if name == "from" else "right", no_wrap=True)
    for window in found["windows"]:
        table.add_row(*_cells(window))
    return table


def _cells(window: dict[str, Any]) -> list[str]:
    performance = window["performance"] or {}
    figures, rate = performance.get("figures", {}), window["alert_rate"]
    drifts = [drift for drift in window["drifts"] if drift["name"] != "score"]
    worst = max(drifts, key=lambda drift: drift["psi"], default=None)
    psi = "" if worst is None else f"{worst['psi']:.3f}" + ("*" if worst["p_adjusted"] <= _SIGNIFICANT else " ")
    missed = performance.get("missed_ratio")
    return [
        str(window["number"]),
        window["window"].split("..")[0],
        str(window["model"]),
        f"{window['rows']:,}",
        psi,
        "" if rate is None else f"{rate['rate']['value']:.2%}",
        _number(figures.get("auprc")),
        _number(figures.get("recall_at_budget")),
        "" if missed is None else f"×{missed['value']:.2f}",
    ]


def _number(estimate: dict[str, float] | None) -> str:
    return "" if estimate is None else f"{estimate['value']:.3f}"
