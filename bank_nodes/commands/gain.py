"""`bank-node gain`: what this bank gained by the federation, at its own alert budget; nobody else is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from bank_nodes.commands.options import AsJson, Folder, out, say
from bank_nodes.folder.gain_reports import WAYS, AlertTerms, GainReports, kept_scores, own_figures, plan_of
from fraudfl.folder import BankFolder

_NOT_THERE = "–"
Spell = Callable[[float], str]


def gain(
    folder: Folder,
    phase: Annotated[str | None, typer.Option(help="Of this phase, or phase instance; by default the newest.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Alert budget, a share of transactions: figures are made again.")
    ] = None,
    cost_per_alert: Annotated[
        float | None, typer.Option("--cost-per-alert", help="In the bank's currency: figures are made again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show frauds caught and money saved: by training alone, with the federated model, with the bank's own on top."""
    _check(budget, cost_per_alert)
    report = GainReports(folder).one(phase)
    if budget is not None or cost_per_alert is not None:
        report = report | _again(folder, report, budget, cost_per_alert)
    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    _show(report)


def _check(budget: float | None, cost: float | None) -> None:
    if budget is not None and not 0 < budget < 1:
        raise typer.BadParameter(f"{budget:g} is no share of transactions; give one between 0 and 1, such as 0.005")
    if cost is not None and not 0 <= cost < float("inf"):
        raise typer.BadParameter(f"{cost:g} is no cost; give 0 or more")


def _again(folder: Folder, report: Mapping[str, Any], budget: float | None, cost: float | None) -> dict[str, Any]:
    """The figures on other terms, from the scores that the bank kept; the report on disk stays as it is."""
    bank, before = BankFolder(folder), report["alerts"]
    terms = AlertTerms(
        budget=before["budget"] if budget is None else budget, cost=before["cost"] if cost is None else cost
    )
    return own_figures(bank, plan_of(folder, report), kept_scores(bank, report["instance"]), terms)


def _show(report: Mapping[str, Any]) -> None:
    takings, alerts, own = report["takings"], report["alerts"], report["own"]
    say(f"phase {report['phase']}, {report['at'][:16].replace('T', ' ')} UTC")
    if takings is None:
        say("this bank has no test rows; nothing can be said of what it gained")
    else:
        say(
            f"{takings['transactions']:,} test transactions with {takings['frauds']:,} frauds; analysts look at "
            f"{alerts['budget']:.2%} of them, {takings['alerts']:,.0f} alerts, at {alerts['cost']:g} each"
        )
        out.print(_table(report, takings))
    say(f"own model: {own['choice']}: {own['reason']}")


def _table(report: Mapping[str, Any], takings: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", *WAYS):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    rows: list[tuple[str, str, Spell, Spell]] = [
        ("frauds caught", "frauds_caught", "{:,.1f}".format, "{:+,.1f}".format),
        ("money saved", "money_saved", "{:,.0f}".format, "{:+,.0f}".format),
    ]
    if not report["money"]:
        rows = rows[:1]
    for title, key, plain, _ in rows:
        table.add_row(title, *(_spelled(takings["takings"][way][key], plain) for way in WAYS))
    table.add_row("AUPRC", *(_number(report["auprc"][way], "{:.3f}".format) for way in WAYS))
    table.add_row("more than alone")
    for title, key, _, signed in rows:
        table.add_row(f"  {title}", "", *(_spelled(takings["gains"][way][key], signed) for way in WAYS[1:]))
    table.add_row("  AUPRC", "", *(_spelled(report["auprc_gain"][way], "{:+.3f}".format) for way in WAYS[1:]))
    return table


def _number(value: float | None, spell: Spell) -> str:
    return _NOT_THERE if value is None else spell(value)


def _spelled(estimate: Mapping[str, Any] | None, spell: Spell) -> str:
    """A figure and its interval."""
    if estimate is None:
        return _NOT_THERE
    interval = estimate["interval"]
    said = spell(estimate["value"])
    return said if interval is None else f"{said} ({spell(interval[0])} to {spell(interval[1])})"
