"""`fraudfl report …`: writing the consortium's privacy report and its report of results, and checking any."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fraudfl.command import console
from fraudfl.trust.keys import fingerprint
from server.store.workspace import Workspace

report_app = typer.Typer(help="Write and check reports.", no_args_is_help=True)

WorkspaceDir = Annotated[Path, typer.Option("--workspace", "-w", help="The coordinator's workspace, or a run's.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the report's files.")]
Audit = Annotated[
    Path | None, typer.Option("--audit", help="Results of an audit, as JSON; coordinator/audit.json when it is there.")
]
ReportDir = Annotated[Path, typer.Argument(help="Folder with the report's files.", metavar="REPORT")]
Key = Annotated[Path | None, typer.Option("--key", help="Public key file of whoever must have signed.")]

# Without emoji: a fingerprint may hold `:AB:`, which is one.
_out = console(highlight=False)


@report_app.command("privacy")
def privacy(workspace: WorkspaceDir = Path("work"), out: Out = Path("privacy-report"), audit: Audit = None) -> None:
    """Write the consortium's privacy report as PDF, HTML and JSON, signed with the operator's key when there is one."""
    # Imported on use: it brings torch and the page compiler.
    from fraudfl.report.audit_file import read_audit
    from server.reports.reporting import report_consortium

    folder = Workspace(workspace)
    found = audit or folder.coordinator / "audit.json"
    results = read_audit(found) if audit or found.exists() else None
    _say_written(report_consortium(folder, out, results), folder)


@report_app.command("results")
def results(
    workspace: WorkspaceDir = Path("work"),
    out: Out = Path("results-report"),
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Write its pictures here, too, one SVG file each.")
    ] = None,
) -> None:
    """Write what the phases came to, for the committee: PDF, HTML and JSON, signed with the operator's key."""
    # Imported on use: it brings MLflow and the page compiler.
    from server.reports.results_report import report_results

    _say_written(report_results(Workspace(workspace), out, pictures=pictures), Workspace(workspace))


@report_app.command("verify")
def verify(report: ReportDir, key: Key = None) -> None:
    """Check that a report's files are those that were signed; exit 1 names the file that was changed.

    Whose key it is, only --key can say.
    """
    from fraudfl.report.sealing import read_public, verify_report

    known = {read_public(key): str(key)} if key is not None else {}
    seal = verify_report(report, known)
    _say(f"{escape(seal.report)}: as it was signed on {seal.at} with {fingerprint(seal.public_key)}")
    if not known:
        _say(
            f"[yellow]whose key that is was not checked:[/] compare it with {escape(seal.subject)}'s over another "
            "channel, or give --key"
        )


@report_app.command("schema")
def schema(
    of_results: Annotated[bool, typer.Option("--results", help="Of the report of results.")] = False,
) -> None:
    """Print the JSON schema of report.json: the privacy report's, or that of the report of results."""
    from fraudfl.report.rendering import json_schema
    from fraudfl.results.schema import results_schema

    found = results_schema() if of_results else json_schema()
    sys.stdout.write(json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _say_written(written: Collection[Path], workspace: Workspace) -> None:
    from fraudfl.report.sealing import SEAL_FILE

    for path in written:
        _say(escape(str(path)))
    if SEAL_FILE not in {path.name for path in written}:
        _say(f"[yellow]not signed:[/] {escape(str(workspace.coordinator / 'pki'))} holds no operator's key")


def _say(text: str) -> None:
    _out.print(text, soft_wrap=True)
