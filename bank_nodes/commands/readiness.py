"""`bank-node readiness`: how this bank's data stands to the consortium's; nobody else is told."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bank_nodes.commands.options import AsJson, Folder, out, say
from bank_nodes.folder.readiness_reports import kept_readiness
from fraudfl.command import EXIT_FAILED

_COLOURS = {"good": "green", "warning": "yellow", "bad": "red"}


def readiness(
    folder: Folder,
    phase: Annotated[str | None, typer.Option(help="Of this assessment; by default the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what an assessment said of this bank's data, and what would mend it. Exit 1 where something is bad."""
    reports = [report for report in kept_readiness(folder) if phase in (None, report["phase"])]
    if not reports:
        of_phase = f" of phase {phase}" if phase else ""
        say(f"{folder}: no readiness report{of_phase} yet; one is written when an assessment ends")
        raise typer.Exit(EXIT_FAILED)
    report = reports[-1]
    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _show(report)
    if any(remark["verdict"] == "bad" for remark in report["remarks"]):
        raise typer.Exit(EXIT_FAILED)


def _show(report: dict[str, Any]) -> None:
    noise = f"; its sums carry noise of {report['noise']:,.0f}" if report["noise"] else ""
    say(f"bank {report['bank']} against {report['banks']} banks of {report['consortium']}, {report['phase']}{noise}")
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for remark in sorted(report["remarks"], key=lambda one: -list(_COLOURS).index(one["verdict"])):
        mark = f"[{_COLOURS[remark['verdict']]}]{remark['verdict']}[/]"
        table.add_row(mark, *(escape(remark[name]) for name in ("topic", "text", "advice")))
    out.print(table)
