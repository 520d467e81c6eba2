"""The `fraudfl` command: what the consortium's operator types."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from fraudfl.command import EXIT_GATED, console, run_command, show_tracebacks
from fraudfl.config import FraudflConfig
from fraudfl.config_file import load_config
from fraudfl.data.dataset import contract_of
from fraudfl.folder import write_whole
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from server.commands.assessment import assessment_app
from server.commands.audit import audit
from server.commands.dashboard import dashboard
from server.commands.gates import gates_app
from server.commands.models import models_app
from server.commands.pki import bank_app, pki_app
from server.commands.privacy import privacy_app
from server.commands.report import report_app
from server.commands.serve import phase_app, serve
from server.store.workspace import Workspace

app = typer.Typer(
    name="fraudfl",
    help="Competing banks train one fraud model together, and no transaction leaves a bank.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Check and show a consortium's configuration.", no_args_is_help=True)
banks_app = typer.Typer(help="Make banks' folders.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(banks_app, name="banks")
app.add_typer(phase_app, name="phase")
app.add_typer(pki_app, name="pki")
app.add_typer(bank_app, name="bank")
app.add_typer(gates_app, name="gates")
app.add_typer(assessment_app, name="assessment")
app.add_typer(models_app, name="models")
app.add_typer(report_app, name="report")
app.add_typer(privacy_app, name="privacy")
privacy_app.command("audit")(audit)
app.command()(serve)
app.command()(dashboard)

ConfigFile = Annotated[Path, typer.Argument(help="The consortium's YAML file.", metavar="CONFIG", show_default=False)]
WorkspaceDir = Annotated[Path, typer.Option("--workspace", "-w", help="Folder for everything that the run leaves.")]
DataPath = Annotated[
    str | None, typer.Option("--data", help="Where the data set is, as NAME:PATH.", show_default=False)
]

_out = console()


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False) -> None:
    """Options of all commands."""
    show_tracebacks(debug)


@app.command()
def run(
    config: ConfigFile,
    workspace: WorkspaceDir = Path("work"),
    data: DataPath = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that this workspace holds.")] = False,
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="Play only so many days of monitoring.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print events and the summary as JSON lines.")] = False,
) -> None:
    """Run a consortium's phases on this machine, in Flower's simulation runtime."""
    # Imported on use, here and below: what needs no torch answers at once.
    from server.commands.view import JsonView, QuietView, RichView
    from server.local.simulation import Simulation, View

    loaded = load_config(config, data)
    view: View = QuietView() if quiet else JsonView() if as_json else RichView(_out)
    folder = Workspace(workspace)
    with folder.locked():
        summary = Simulation(loaded, folder, view, _base(config, data)).run(resume=resume, days=days)
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
    elif not quiet:
        _out.print(f"summary: {folder.summary_file}", highlight=False, soft_wrap=True)
    if any(phase["status"] in ("held", "gated") for phase in summary["phases"]):
        raise typer.Exit(EXIT_GATED)


@config_app.command("check")
def config_check(config: ConfigFile, data: DataPath = None) -> None:
    """Check a configuration; say everything that is wrong with it, with file, line and key."""
    loaded = load_config(config, data)
    names = ", ".join(phase.name for phase in loaded.phases)
    _out.print(f"{config}: good. Consortium {loaded.consortium.name}, phases: {names}", highlight=False, soft_wrap=True)


@config_app.command("show")
def config_show(config: ConfigFile, data: DataPath = None) -> None:
    """Print each phase's complete plan, defaults filled in, and its plan hash."""
    loaded = load_config(config, data)
    for phase, plan in _plans(loaded, _base(config, data)):
        sys.stdout.write(
            json.dumps({"phase": phase, "plan_hash": plan.hash, "plan": plan.model_dump(mode="json")}, indent=2)
        )
        sys.stdout.write("\n")


@banks_app.command("create")
def banks_create(config: ConfigFile, workspace: WorkspaceDir = Path("work"), data: DataPath = None) -> None:
    """Split the configured data set into one folder per bank."""
    from server.local.banks import create_banks

    loaded = load_config(config, data)
    folder = Workspace(workspace)
    with folder.locked():
        folder.open(loaded, resume=False)
        banks = create_banks(loaded, folder, _base(config, data), lambda text: _out.print(text, highlight=False))
    _out.print(
        f"{len(banks)} banks in {folder.banks}; go on with `fraudfl run {config} -w {workspace} --resume`",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def score(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder: coordinator/phases/NAME/bundle.")],
    transactions: Annotated[Path, typer.Argument(help="Parquet file with the contract's columns.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")] = Path("scores.parquet"),
    threshold: Annotated[str, typer.Option(help="What makes an alert: budget, balanced_accuracy or f1.")] = "budget",
) -> None:
    """Score transactions with a model bundle, after checking each of its digests."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from fraudfl.models.bundle import Bundle, checked_digest
    from fraudfl.models.scoring import score_file
    from fraudfl.trust.bundle_signature import find_signature

    loaded = Bundle.load(bundle)
    if find_signature(bundle, checked_digest(bundle)) is None:
        typer.echo("unsigned: nobody vouches for this bundle; a bank would refuse it", err=True)
    scored = score_file(loaded, transactions, threshold)
    write_whole(out, lambda part: pq.write_table(scored, part))
    alerts = int(pc.sum(scored["alert"]).as_py() or 0)
    _out.print(f"{scored.num_rows:,} transactions scored, {alerts:,} alerts: {out}", highlight=False, soft_wrap=True)


def _base(config: Path, data: str | None) -> Path:
    """Where relative data paths start: `--data` was made absolute, a path in the file starts at the file."""
    return Path() if data else config.resolve().parent


def _plans(config: FraudflConfig, base: Path) -> list[tuple[str, Plan]]:
    contract = contract_of(config.data, base=base)
    return [(phase.name, make_plan(config, phase, contract)) for phase in config.phases]


def main() -> None:
    """Run the command; every error ends in a message and an exit code, never in a traceback unless asked for."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        # A polite kill or a closed terminal ends a run as Ctrl-C does: with its processes, and with a summary.
        signal.signal(ending, signal.default_int_handler)
    run_command(app, interrupted="interrupted; go on with --resume")


if __name__ == "__main__":
    main()
