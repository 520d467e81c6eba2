"""`fraudfl gates`: what the gates said of a phase, and the operator's word to release a hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape

from fraudfl.command import EXIT_GATED, console
from fraudfl.errors import ConfigError
from fraudfl.gates.decision import still_holds
from server.store.workspace import Workspace

gates_app = typer.Typer(help="Show what gates said of a phase; release one that holds.", no_args_is_help=True)

WorkspaceDir = Annotated[Path, typer.Option("--workspace", "-w", help="The coordinator's workspace, or a run's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COLOURS = {"pass": "green", "hold": "yellow", "fail": "red"}
_out = console(highlight=False)


@gates_app.command("show")
def show(
    phase: Annotated[
        str | None, typer.Argument(help="One phase; all that have ended without.", metavar="[PHASE]")
    ] = None,
    workspace: WorkspaceDir = Path("work"),
    as_json: AsJson = False,
) -> None:
    """Show what each gate said, why, and who released it; exit 3 when one fails or holds."""
    # Imported on use, here and below: it brings torch.
    from server.trust.decisions import outcome_of

    folder = Workspace(workspace)
    ended = [one.name for one in folder.config().phases if folder.phase(one.name).result() is not None]
    _print([outcome_of(folder, name) for name in (ended if phase is None else [phase])], as_json)


@gates_app.command("release")
def release_held(
    phase: Annotated[str, typer.Argument(help="The phase that is held.", metavar="PHASE")],
    by: Annotated[str, typer.Option("--by", help="Who decides.", metavar="NAME")],
    reason: Annotated[str, typer.Option("--reason", help="Why the phase may go on.", metavar="TEXT")],
    gate: Annotated[
        list[str] | None, typer.Option("--gate", help="Release this gate only; may be given more than once.")
    ] = None,
    workspace: WorkspaceDir = Path("work"),
    as_json: AsJson = False,
) -> None:
    """Release gates that say `hold`: the decision is signed with the operator's key and kept beside the phase.

    A `fail` cannot be released. Exit 3 while another gate still holds.
    """
    from server.trust.decisions import release

    try:
        outcome, decision = release(Workspace(workspace), phase, by=by, reason=reason, gates=gate or ())
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(
            f"--{problem['loc'][0]}: expected one line of text, not too long ({problem['msg']}). Nothing was released"
        ) from error
    if not as_json:
        names = ", ".join(one.name for one in decision.gates)
        _out.print(f"released by {escape(decision.by)} on {decision.at}: {escape(names)}", soft_wrap=True)
    _print([outcome], as_json)


def _print(outcomes: list[dict[str, Any]], as_json: bool) -> None:
    """Print what gates said of phases; exit 3 when one fails or holds."""
    if as_json:
        facts = [{key: outcome[key] for key in ("name", "status", "plan_hash", "gates")} for outcome in outcomes]
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        for outcome in outcomes:
            _print_phase(outcome)
    if any(gate["outcome"] == "fail" or still_holds(gate) for outcome in outcomes for gate in outcome["gates"]):
        raise typer.Exit(EXIT_GATED)


def _print_phase(outcome: dict[str, Any]) -> None:
    _out.print(f"[bold]{outcome['name']}[/]: {outcome['status']}", soft_wrap=True)
    if not outcome["gates"]:
        _out.print("  no gates")
    for gate in outcome["gates"]:
        said = gate["outcome"]
        _out.print(
            f"  [{_COLOURS[said]}]{said}[/]  {escape(gate['name'])}: {escape(gate['reason'])}",
            soft_wrap=True,
        )
        if "released" in gate:
            told = gate["released"]
            _out.print(
                f"        released by {escape(told['by'])} on {told['at']}: {escape(told['reason'])}", soft_wrap=True
            )
