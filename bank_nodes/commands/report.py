"""`bank-node report …`: writing this bank's privacy report, and checking one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bank_nodes.commands.options import Folder, say
from fraudfl.trust.keys import fingerprint

report_app = typer.Typer(help="Write and check privacy reports.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the report's files.", show_default=True)]
Audit = Annotated[
    Path | None, typer.Option("--audit", help="Results of an audit, as JSON; DIR/audit.json when it is there.")
]
ReportDir = Annotated[Path, typer.Argument(help="Folder with the report's files.", metavar="REPORT")]
Key = Annotated[Path | None, typer.Option("--key", help="Public key file of whoever must have signed.")]
Bank = Annotated[Path | None, typer.Option("--folder", help="A bank's folder: its own key must have signed.")]


@report_app.command("privacy")
def privacy(folder: Folder, out: Out = Path("privacy-report"), audit: Audit = None) -> None:
    """Write this bank's privacy report as PDF, HTML and JSON, signed with this bank's key."""
    # Imported on use: it brings torch and the page compiler.
    from bank_nodes.folder.reporting import report_bank
    from fraudfl.report.audit_file import read_audit

    found = audit or folder / "audit.json"
    results = read_audit(found) if audit or found.exists() else None
    for path in report_bank(folder, out, results):
        say(str(path))


@report_app.command("verify")
def verify(report: ReportDir, key: Key = None, folder: Bank = None) -> None:
    """Check that a report's files are those that were signed; exit 1 names the file that was changed.

    Whose key it is, only --key or --folder can say.
    """
    from fraudfl.report.sealing import read_public, verify_report

    files = [path for path in (key, folder / "keys" / "bank.pub" if folder else None) if path is not None]
    known = {read_public(path): str(path) for path in files}
    seal = verify_report(report, known)
    say(f"{seal.report}: as it was signed on {seal.at} with {fingerprint(seal.public_key)}")
    if not known:
        say(
            f"[yellow]whose key that is was not checked:[/] compare it with {escape(seal.subject)}'s, "
            "or give --key or --folder",
            markup=True,
        )


@report_app.command("schema")
def schema() -> None:
    """Print the JSON schema of report.json."""
    from fraudfl.report.rendering import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n")
