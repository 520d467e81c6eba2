"""The `bank-node` command: what a bank's IT department types."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bank_nodes.commands.decide import approve, plans, reject, revoke
from bank_nodes.commands.gain import gain
from bank_nodes.commands.ledger import ledger_app, restore
from bank_nodes.commands.look import log, status
from bank_nodes.commands.models import model_app
from bank_nodes.commands.monitoring import monitoring
from bank_nodes.commands.options import Folder, say
from bank_nodes.commands.readiness import readiness
from bank_nodes.commands.report import report_app
from bank_nodes.folder.home import Home
from fraudfl.command import EXIT_FAILED, run_command, show_tracebacks
from fraudfl.logs import log_as_json
from fraudfl.trust.keys import fingerprint

app = typer.Typer(
    name="bank-node",
    help="One bank's daemon, and this bank's control over it: its key, its policy, its approvals, its ledger.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False) -> None:
    """Options of all commands."""
    show_tracebacks(debug)


@app.command()
def init(folder: Folder, bank: Annotated[str, typer.Option(help="This bank's id in the consortium.")]) -> None:
    """Make this bank's folder, its key (which never leaves it) and a request to be enrolled."""
    home = Home.create(folder, bank)
    say(f"{folder}: made for bank {bank}")
    say(f"send {folder / 'enrolment.json'} to the operator, who compares this by telephone:")
    say(fingerprint(home.enrolment.public_key))


@app.command()
def join(
    folder: Folder,
    kit: Annotated[Path, typer.Argument(help="The operator's kit: a folder.")],
    operator: Annotated[
        str | None, typer.Option(help="Fingerprint of the operator's key, as told by telephone; once.")
    ] = None,
) -> None:
    """Take the operator's kit: the consortium's CA, its roster, and where the coordinator is."""
    roster = Home(folder).take_kit(kit, operator)
    say(f"consortium {roster.consortium}, roster {roster.number}: {', '.join(m.bank for m in roster.members)}")


@app.command("import")
def import_data(
    folder: Folder, description: Annotated[Path, typer.Argument(help="YAML: `source`, and `path` or `table`.")]
) -> None:
    """Read this bank's transactions, check every row against the contract, and put them into the folder."""
    filled = Home(folder).import_data(description)
    say(f"{filled.table().num_rows:,} transactions in {filled.transactions}")


@app.command()
def check(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at everything that a round needs, and send nothing that depends on data. Exit 1 when something fails."""
    # Imported on use: the dry run needs all of training, and no other command does.
    from bank_nodes.node.checkup import checkup

    findings = checkup(Home(folder))
    if as_json:
        sys.stdout.write(json.dumps([vars(finding) for finding in findings]) + "\n")
    else:
        for finding in findings:
            mark = {"good": "[green]good[/]", "warning": "[yellow]warning[/]", "bad": "[red]bad[/]"}[finding.verdict]
            say(f"{mark:<16} {finding.what}: {escape(finding.text)}", markup=True)
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def run(
    folder: Folder,
    health: Annotated[
        str | None, typer.Option(help="HOST:PORT of the health page and metrics; `off` for none.")
    ] = "127.0.0.1:9465",
    idle: Annotated[float, typer.Option(help="Seconds between two looks while no phase is under way.", min=0.05)] = 2.0,
    calm: Annotated[
        float, typer.Option(help="Seconds of silence after which a phase counts as over.", hidden=True)
    ] = 60,
) -> None:
    """Run the daemon: answer the coordinator with this bank's own code, through the gate. Logs are JSON on stderr."""
    from bank_nodes.node.daemon import Pace
    from bank_nodes.node.running import run_daemon

    log_as_json(logging.INFO)
    run_daemon(Home(folder), health=None if health in (None, "off") else health, pace=Pace(idle=idle, calm=calm))


app.command()(plans)
app.command()(approve)
app.command()(reject)
app.command()(revoke)
app.command()(status)
app.command()(log)
app.command()(readiness)
app.command()(gain)
app.command()(restore)
app.command()(monitoring)
app.add_typer(ledger_app, name="ledger")
app.add_typer(report_app, name="report")
app.add_typer(model_app, name="model")


def main() -> None:
    """Run the command; every error ends in a message and an exit code, never in a traceback unless asked for."""
    # What a bank keeps is for its own user alone, whatever the shell's habits.
    os.umask(0o077)
    run_command(app)


if __name__ == "__main__":
    main()
