"""`fraudfl privacy audit`: what an observer could really tell, beside what the plan claims."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from fraudfl.command import EXIT_FAILED, console
from server.store.workspace import Workspace, write_json

_out = console(highlight=False)


def audit(
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Folder of a run.")] = Path("work"),
    phase: Annotated[str | None, typer.Option(help="Its name; the last one that has begun by default.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file to write.", show_default=False)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try less: bounds are less sharp.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Audit a phase: lower bounds of ε, membership in the final model, and what the coordinator received.

    The result goes to `coordinator/audit.json`, where privacy reports find it. Exit 1 when a claim does not hold.
    """
    # Imported on use: what needs no torch answers at once.
    from fraudfl.privacy.audit.planned import Effort
    from server.reports.auditing import audit_phase

    place = Workspace(workspace)
    name = phase or _last_begun(place)
    effort = Effort(trials=2_000, sampled_trials=400, rounds=20, canaries=200) if quick else Effort()
    results = audit_phase(place, name, effort, _silent if as_json else _tell)
    facts = [result.to_dict() for result in results]
    written = out or place.coordinator / "audit.json"
    write_json(written, facts)
    if as_json:
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        table = Table(title=f"audit of phase {name}", title_justify="left", box=box.SIMPLE_HEAD)
        for heading in ("what", "ε claimed", "ε at least", "verdict"):
            table.add_column(heading, justify="right" if heading.startswith("ε") else "left")
        for result in results:
            colour = "red" if result.verdict == "violated" else "default"
            figures = (_number(result.claimed), _number(result.lower_bound))
            table.add_row(f"{result.name}\n[dim]{result.detail}[/]", *figures, f"[{colour}]{result.verdict}[/]")
        _out.print(table)
        _out.print(f"kept in {written}", soft_wrap=True)
    if any(result.verdict == "violated" for result in results):
        raise typer.Exit(EXIT_FAILED)


def _tell(text: str) -> None:
    _out.print(f"[dim]{text}[/]")


def _silent(text: str) -> None:
    """JSON stands alone."""


def _last_begun(workspace: Workspace) -> str:
    begun = [phase.name for phase in workspace.config().phases if workspace.phase(phase.name).result() is not None]
    return begun[-1] if begun else workspace.config().phases[0].name


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
