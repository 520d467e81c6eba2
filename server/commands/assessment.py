"""`fraudfl assessment`: what the banks' data amounts to, and what the consortium agreed on because of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from fraudfl.command import console
from fraudfl.config import AssessmentConfig
from fraudfl.errors import ConfigError
from server.store.workspace import Workspace, read_json

assessment_app = typer.Typer(help="Show what an assessment found.", no_args_is_help=True)

WorkspaceDir = Annotated[Path, typer.Option("--workspace", "-w", help="The coordinator's workspace, or a run's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Facts = dict[str, Any]

_out = console(highlight=False)


@assessment_app.callback()
def assessment() -> None:
    """What the banks' data amounts to."""


@assessment_app.command("show")
def show(
    phase: Annotated[
        str | None, typer.Argument(help="The assessment; by default the newest.", metavar="[PHASE]")
    ] = None,
    workspace: WorkspaceDir = Path("work"),
    as_json: AsJson = False,
) -> None:
    """Show the consortium's readiness: banks, columns, the agreed schema, what the next phases take, the power."""
    name, readiness = _readiness(Workspace(workspace), phase)
    if as_json:
        sys.stdout.write(json.dumps({"phase": name, **readiness}) + "\n")
        return
    _show(name, readiness)


def _readiness(workspace: Workspace, phase: str | None) -> tuple[str, Facts]:
    # Imported on use: it brings torch.
    from pipelines.assessment import READINESS

    names = [one.name for one in workspace.phases() if isinstance(one, AssessmentConfig)]
    if phase is not None and phase not in names:
        raise ConfigError(f"there is no assessment {phase!r}; the consortium has {', '.join(names) or 'none'}")
    found = [
        (name, facts)
        for name in (names if phase is None else [phase])
        if (facts := read_json(workspace.phase(name).path / READINESS)) is not None
    ]
    if not found:
        raise ConfigError(f"{workspace.path}: no assessment has come to its end here; run one first")
    return found[-1]


def _show(name: str, facts: Facts) -> None:
    noise = f" (noise of {facts['noise']:,.1f} in each sum)" if facts["noise"] else ""
    _say(f"{name}: {facts['banks']} banks, {_count(facts['rows'])} transactions{noise}")
    for part, words in (("train", "training window"), ("test", "test window")):
        window = facts["windows"][part]
        _say(f"{words}: {_count(window['rows'])} transactions, {_count(window['frauds'])} frauds")
    _say(f"banks with 10 frauds or more to learn from: {_banks(facts['ready_banks'])}")
    _out.print(_columns(facts))
    for line in _schema_lines(facts):
        _say(line)
    if facts["months"]:
        _out.print(_months(facts["months"]))
    frauds = {f"{int(least):,}": banks for least, banks in facts["banks_by_frauds"].items() if banks["high"] > 0}
    _out.print(_bins("banks with at least so many frauds to learn from", frauds))
    if facts["labels_within_days"]:
        delays = {_days(float(days)): share for days, share in facts["labels_within_days"].items()}
        _out.print(_bins("labels known within", delays, share=True))
    if facts["ahead"]:
        _out.print(_ahead(facts["ahead"]))
    _say(f"power: {facts['power']['words']}")


def _columns(facts: Facts) -> Table:
    table = Table(title="columns", title_justify="left", box=box.SIMPLE)
    for heading in ("column", "banks", "filled", "middle half, or unlisted", "later phases"):
        table.add_column(heading, overflow="fold")
    for one in facts["columns"]:
        fate = "use it" if one["kept"] else f"[yellow]leave it out[/]: {escape(one['reason'])}"
        fate += " (noise leaves a doubt)" if one["doubtful"] else ""
        fate += f"; lacking at {escape(', '.join(one['lacking']))}" if one["lacking"] else ""
        table.add_row(escape(one["column"]), _banks(one["banks"]), _share(one["present"]), _values(one), fate)
    return table


def _values(one: Facts) -> str:
    if "unlisted" in one:
        return f"{_count(one['unlisted'])} unlisted"
    if one["middle"] is None:
        return "no value"
    low, high = one["middle"]
    return f"{'…' if low is None else f'{low:,.4g}'} to {'…' if high is None else f'{high:,.4g}'}"


def _schema_lines(facts: Facts) -> Iterator[str]:
    for one in facts["columns"]:
        if "agreed" in one and one["values"]:
            cut = [value for value in one["values"] if value not in one["agreed"]]
            rare = f"; too rare: {', '.join(cut)}" if cut else ""
            yield f"{one['column']}: {', '.join(one['agreed']) or 'no value is frequent enough'}{rare}"
    for column, (low, high) in facts["schema"]["units"].items():
        yield f"{column}: in a unit in which its median magnitude is {low:,.4g} to {high:,.4g}"
    if facts["schema"]["period"]:
        first, last = facts["schema"]["period"]
        yield f"transactions from {first[:7]} to {last[:7]}"


def _months(months: list[Facts]) -> Table:
    table = Table(title="months", title_justify="left", box=box.SIMPLE)
    for heading in ("month", "transactions", "banks that can train on it"):
        table.add_column(heading, justify="left" if heading == "month" else "right")
    for one in months:
        table.add_row(one["month"], _count(one["rows"]), "–" if one["banks"] is None else _banks(one["banks"]))
    return table


def _bins(title: str, bins: Facts, *, share: bool = False) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in bins:
        table.add_column(name, justify="right")
    table.add_row(*((_share if share else _banks)(figure) for figure in bins.values()))
    return table


def _days(days: float) -> str:
    return f"{days:g} d" if days >= 1 else f"{days * 24:g} h"


def _ahead(estimates: list[Facts]) -> Table:
    table = Table(title="what comes, estimated", title_justify="left", box=box.SIMPLE)
    for heading in ("phase", "banks", "rounds", "weights", "up", "down", "time", "ε per bank"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for one in estimates:
        spent = "none promised" if one["epsilon"] is None else f"{one['epsilon']:.2f} (δ {one['delta']:g})"
        table.add_row(
            one["phase"],
            str(one["banks"]),
            str(one["rounds"]),
            f"{one['weights']:,}",
            *(f"{one[way] / 1e6:,.2f} MB" for way in ("bytes_up", "bytes_down")),
            f"{one['seconds']:,.0f} s",
            spent,
        )
    return table


def _count(figure: Facts) -> str:
    """A count, with its interval where noise leaves one."""
    if figure["low"] == figure["high"]:
        return f"{figure['value']:,.0f}"
    return f"{figure['value']:,.0f} ({figure['low']:,.0f}–{figure['high']:,.0f})"


def _banks(figure: Facts) -> str:
    """A number of banks, of which some may count in part."""
    low, high = figure["low"], figure["high"]
    return f"{figure['value']:.0f}" if high - low < 0.5 else f"{low:.0f} to {high:.0f}"


def _share(figure: Facts) -> str:
    if figure["low"] == figure["high"]:
        return f"{figure['value']:.1%}"
    return f"{figure['value']:.1%} ({figure['low']:.1%}–{figure['high']:.1%})"


def _say(text: str) -> None:
    _out.print(text, soft_wrap=True, markup=False)
