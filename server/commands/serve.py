"""`fraudfl serve` and `fraudfl phase …`: the coordinator of a deployment, and the operator's words to it."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fraudfl.command import console, keep_quiet
from fraudfl.config_file import load_config
from fraudfl.logs import log_as_json
from server.store.operator_line import Operator
from server.store.workspace import Workspace

phase_app = typer.Typer(help="Start, watch, stop and resume a phase of a running coordinator.", no_args_is_help=True)

WorkspaceDir = Annotated[Path, typer.Option("--workspace", "-w", help="The coordinator's workspace.")]
PhaseName = Annotated[str, typer.Argument(help="Name of the phase in the configuration.", metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_out = console()


def serve(
    config: Annotated[Path, typer.Argument(help="The consortium's YAML file.", metavar="CONFIG", show_default=False)],
    workspace: WorkspaceDir = Path("work"),
    data: Annotated[str | None, typer.Option("--data", help="NAME:PATH, where a contract needs data.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a phase that was under way.")] = False,
) -> None:
    """Run the coordinator: banks connect over TLS, `fraudfl phase` talks to it. Logs are JSON lines on stderr."""
    # Imported on use: the other commands need no torch and no MLflow, and answer at once.
    from server.deployment.serve import Coordinator

    keep_quiet()
    log_as_json(logging.INFO)
    loaded = load_config(config, data)
    folder = Workspace(workspace)
    with folder.locked():
        folder.open(loaded, resume=True)
        coordinator = Coordinator(loaded, folder, Path() if data else config.resolve().parent)
        for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(ending, lambda *_: coordinator.stop())
        coordinator.run(resume=resume)


@phase_app.command("start")
def start(name: PhaseName, workspace: WorkspaceDir = Path("work"), as_json: AsJson = False) -> None:
    """Begin a phase: its plan is fixed now, and offered to the banks on the roster."""
    _show(Operator(workspace).start(name, resume=False), as_json)


@phase_app.command("resume")
def resume(name: PhaseName, workspace: WorkspaceDir = Path("work"), as_json: AsJson = False) -> None:
    """Go on with a phase after its last finished round."""
    _show(Operator(workspace).start(name, resume=True), as_json)


@phase_app.command("stop")
def stop(name: PhaseName, workspace: WorkspaceDir = Path("work"), as_json: AsJson = False) -> None:
    """Stop a phase; it can be resumed."""
    _show(Operator(workspace).stop(name), as_json)


@phase_app.command("status")
def status(
    name: Annotated[str | None, typer.Argument(help="One phase; all of them without.", metavar="[NAME]")] = None,
    workspace: WorkspaceDir = Path("work"),
    as_json: AsJson = False,
) -> None:
    """Show how phases stand: rounds, who is connected, who is waited for and why."""
    facts = Operator(workspace).status()
    phases = [phase for phase in facts["phases"] if name in (None, phase["name"])]
    if not phases:
        raise typer.BadParameter(f"there is no phase {name!r}", param_hint="NAME")
    if as_json:
        sys.stdout.write(json.dumps(facts if name is None else phases[0]) + "\n")
        return
    _out.print(
        f"{facts['consortium']} on {facts['listen']}, certificate good until {facts['certificate_ends']}",
        highlight=False,
        soft_wrap=True,
    )
    for phase in phases:
        _show(phase, as_json=False)


def _show(phase: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(phase) + "\n")
        return
    auprc = f", AUPRC {phase['auprc']:.3f}" if "auprc" in phase else ""
    late = f", {phase['late']} late" if phase["late"] else ""
    _out.print(
        f"[bold]{phase['name']}[/]: {phase['status']}, round {phase['round']} of {phase['rounds'] or '?'}{auprc}{late}"
        + (f"\n{escape(phase['reason'])}" if phase["reason"] else ""),
        highlight=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("bank", "connected", "this round"):
        table.add_column(heading)
    for bank, there in phase["connected"].items():
        table.add_row(bank, "yes" if there else "no", escape(_standing(phase, bank)))
    _out.print(table)


def _standing(phase: dict[str, Any], bank: str) -> str:
    if bank in phase["waiting"]:
        return f"waited for: {phase['waiting'][bank]}"
    if bank in phase["heard"]:
        return "heard"
    left_out = [item for item in phase["excluded"] if item["bank"] == bank and item["round"] >= phase["round"]]
    return f"left out: {left_out[-1]['reason']}" if left_out else ""
