"""What a run looks like in a terminal: live rounds, then a closing table."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from fraudfl.config import AnyPhase, MonitoringConfig, PhaseConfig
from server.commands.monitoring_view import monitoring_line, windows_table
from server.commands.phases_view import phase_line, readiness_lines

_GATES = {"pass": "green", "hold": "yellow", "fail": "red"}
# Most lines that a log gets from the rounds of one phase.
_LINES = 50
_FIGURES = {
    "auprc": "AUPRC",
    "auprc_bank_mean": "AUPRC, bank mean",
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "recall_at_budget": "recall at budget",
}


class QuietView:
    """Says nothing."""

    def tell(self, text: str) -> None:
        """Say nothing."""

    def begin(self, phase: AnyPhase) -> None:
        """Say nothing."""

    def show(self, event: dict[str, Any]) -> None:
        """Say nothing."""

    def end(self, outcome: dict[str, Any]) -> None:
        """Say nothing."""


class JsonView(QuietView):
    """Each event as one JSON line on standard output."""

    def show(self, event: dict[str, Any]) -> None:
        """Print the event."""
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


class RichView:
    """A progress bar with banks heard from, loss, AUPRC, bytes and time left; tables at the end of each phase."""

    def __init__(self, console: Console) -> None:
        """Write to `console`."""
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._heard: set[str] = set()

    def tell(self, text: str) -> None:
        """One line about what happens now."""
        self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}", highlight=False)

    def begin(self, phase: AnyPhase) -> None:
        """A phase begins."""
        steps, what = _steps(phase)
        self.tell(f"phase [bold]{phase.name}[/] ({phase.kind}){what}")
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._task = self._progress.add_task("gathering banks", total=steps, facts="")
        self._progress.start()

    def show(self, event: dict[str, Any]) -> None:
        """Move the bar, and print what must not be missed."""
        match event["event"]:
            case "heard":
                self._heard.add(event["bank"])
                self._describe(
                    f"{event['kind']} {event['round'] or ''}".strip(), f"{len(self._heard)}/{event['of']} banks"
                )
            case "round":
                self._heard.clear()
                self._step(event)
            case "look" | "look missed":
                self._heard.clear()
                if event["event"] == "look missed":
                    self.tell(f"[yellow]no look after round {event['round']}:[/] {event['reason']}")
                elif "auprc" in event:
                    self._describe(f"look after round {event['round']}", f"AUPRC {event['auprc']:.3f}")
            case "stopped" | "looked":
                self.tell(f"early stopping: {event['reason']}")
            case "encoder":
                self._heard.clear()
                self.tell(f"shared encoder: {event['width']} inputs")
            case "peers":
                self._heard.clear()
                self.tell(f"secure aggregation among {len(event['banks'])} banks, which know each other's keys")
            case "left":
                self.tell(f"[yellow]no longer on the roster: {', '.join(event['banks'])}[/]")
            case "dropped":
                self._heard.clear()
                self.tell(
                    f"[yellow]{event['kind']} in round {event['round']}, attempt {event['attempt']}, was dropped:[/] "
                    f"{event['reason']}"
                )
            case "excluded":
                self.tell(f"[yellow]{event['bank']} left out of round {event['round']}:[/] {event['reason']}")
            case "short":
                self.tell(
                    f"[yellow]round {event['round']}: {event['heard']} banks answered, {event['needed']} needed[/]"
                )
            case "resumed":
                self.tell(f"going on after round {event['round']}")
                self._advance(event["round"])
            case "gain missed":
                self.tell(f"[yellow]the banks' gains were not counted:[/] {event['reason']}")
            case "comparing" | "alone" | "evaluated" | "gain":
                self._heard.clear()
                self._describe({"comparing": "baselines"}.get(event["event"], "evaluating"), "")
            case "due":
                self._heard.clear()
                self._describe(event["day"], f"{event['step']} {event['window'] or ''}")
                self._advance(max(0, event["window"] - 1))
            case _:
                line = monitoring_line(event) or phase_line(event)
                if line is not None:
                    self.tell(line)

    def end(self, outcome: dict[str, Any]) -> None:
        """Print the phase's tables."""
        if self._progress is not None:
            self._progress.stop()
        if outcome["metrics"]:
            self._console.print(_figures_table(outcome))
        if outcome.get("monitoring"):
            self._console.print(windows_table(outcome))
        if outcome["metrics"] and outcome["metrics"]["per_bank"]:
            self._console.print(_banks_table(outcome))
        for line in (*(readiness_lines(outcome) if outcome.get("assessment") else ()), *_closing_lines(outcome)):
            self._console.print(line, highlight=False)

    def _step(self, event: dict[str, Any]) -> None:
        facts = [f"{event['banks']:.0f} banks"]
        facts += [f"loss {event['loss']:.4f}"] if "loss" in event else []
        facts += [f"AUPRC {event['auprc']:.3f}"] if "auprc" in event else []
        facts += [f"{(event['bytes_up'] + event['bytes_down']) / 1e6:.2f} MB", f"{event['seconds']:.1f} s"]
        line = ", ".join(facts)
        self._describe(f"round {event['round']}/{event['rounds']}", line)
        self._advance(event["round"])
        every = max(1, event["rounds"] // _LINES)
        if not self._console.is_terminal and (event["round"] % every == 0 or event["round"] == event["rounds"]):
            self.tell(f"round {event['round']}/{event['rounds']}: {line}")

    def _describe(self, text: str, facts: str) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=text, facts=facts)

    def _advance(self, done: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done)


def _steps(phase: AnyPhase) -> tuple[int, str]:
    """How many steps a phase has, and of what."""
    if isinstance(phase, PhaseConfig):
        start = "" if phase.start is None else f", from {phase.start}"
        return phase.rounds, f": {phase.rounds} rounds, {phase.strategy.name}{start}"
    if isinstance(phase, MonitoringConfig):
        return phase.windows, f": {phase.windows} windows of {phase.window_days} days"
    return 1, ""


def _table(title: str) -> Table:
    # Narrow enough for 80 columns, so that figures are never cut short.
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _figures_table(outcome: dict[str, Any]) -> Table:
    metrics = outcome["metrics"]
    contenders = {name: metrics[name] for name in ("federated", "alone", "pooled") if metrics.get(name)}
    contenders |= {f"xgboost {name}": row for name, row in (metrics["xgboost"] or {}).items()}
    table = _table(f"{outcome['name']}: figures on later transactions ({metrics['source']})")
    table.add_column("figure", no_wrap=True)
    for name in contenders:
        table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for key, title in _FIGURES.items():
        cells = []
        for name, row in contenders.items():
            interval = (metrics["intervals"].get(name) or {}).get(key)
            cells.append(_number(row.get(key)) + (f"\n[dim]{interval[0]:.2f}–{interval[1]:.2f}[/]" if interval else ""))
        table.add_row(title, *cells)
    return table


def _banks_table(outcome: dict[str, Any]) -> Table:
    table = _table("AUPRC per bank (95 % interval of the gain)")
    for name in ("bank", "alone", "federated", "gain"):
        table.add_column(name, justify="left" if name == "bank" else "right")
    for bank, row in list(outcome["metrics"]["per_bank"].items())[:20]:
        interval = row["interval"]
        gain = f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval else ""
        table.add_row(bank, _number(row["alone"]), _number(row["federated"]), gain)
    return table


def _closing_lines(outcome: dict[str, Any]) -> list[str]:
    transfer, privacy = outcome["transfer"], outcome["privacy"]
    lines = [
        f"{outcome['status']}: {outcome['banks']} of {outcome['roster']} banks, {outcome['rounds']} rounds, "
        f"{outcome['seconds']:.0f} s"
    ]
    if transfer.get("raw_csv_bytes"):
        lines.append(
            f"transfer: {transfer['bytes_up'] / 1e6:.2f} MB up, {transfer['bytes_down'] / 1e6:.2f} MB down; saved "
            f"{transfer['savings_vs_csv']:.1%} of CSV, {transfer['savings_vs_parquet']:.1%} of Parquet, worst bank "
            f"{transfer['worst_bank_savings_vs_csv']:.1%} of CSV"
        )
    lines += [
        f"gate [{_GATES[gate['outcome']]}]{gate['outcome']}[/] {gate['name']}: {gate['reason']}"
        for gate in outcome["gates"]
    ]
    if privacy["mode"] == "none":
        summed = ", but the coordinator saw sums over banks only" if privacy["secure_aggregation"] else ""
        lines.append(f"privacy: none promised in this phase{summed}")
    else:
        spent = "" if privacy["epsilon_max"] is None else f"ε at most {privacy['epsilon_max']:.3f} at any bank, "
        lines.append(f"privacy ({privacy['mode']}): {spent}δ = {privacy['delta']:g} per {privacy['unit']}")
        if privacy["secure_aggregation"]:
            lines.append("secure aggregation: the coordinator saw sums over banks only")
        colour = "red" if privacy["not_covered"] else "dim"
        lines.append(f"[{colour}]not covered by ε: {', '.join(privacy['not_covered']) or 'nothing'}[/]")
    missed = sorted({item["bank"] for item in outcome["excluded"]})
    if missed:
        lines.append(f"[yellow]missed at least one round: {', '.join(missed)}[/]")
    if outcome["model_version"] is not None:
        lines.append(f"model: version {outcome['model_version']} registered")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
