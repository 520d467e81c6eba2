"""`fraudfl pki` and `fraudfl bank`: what the operator types about keys, certificates and members."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import hashes
from rich.markup import escape

from fraudfl.command import console
from fraudfl.errors import TrustError
from fraudfl.trust.enrolment import Enrolment, read_enrolment
from fraudfl.trust.keys import fingerprint
from fraudfl.trust.roster import Roster
from server.commands import leaving
from server.commands.receipts import receipts
from server.store.workspace import Workspace
from server.trust.certificates import Hosts, certificate_of, hosts_of
from server.trust.pki import COORDINATOR_DAYS, Finding, Pki

EXIT_FAILED = 1

pki_app = typer.Typer(help="Make and renew the consortium's keys and certificates.", no_args_is_help=True)
bank_app = typer.Typer(help="Say which banks are in the consortium.", no_args_is_help=True)
bank_app.command()(receipts)

WorkspaceDir = Annotated[Path, typer.Option("--workspace", "-w", help="The coordinator's workspace.")]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="HOST", help="Host name that banks connect to; repeatable.", show_default=False),
]
Addresses = Annotated[
    list[str] | None,
    typer.Option("--address", metavar="IP", help="IP address that banks connect to; repeatable.", show_default=False),
]
Days = Annotated[int, typer.Option("--days", help="Days that the coordinator's certificate is good for.")]
Request = Annotated[
    Path, typer.Argument(help="The bank's enrolment request.", metavar="REQUEST.json", show_default=False)
]
Again = Annotated[bool, typer.Option("--again", help="Take a key although it was removed from the roster before.")]

# Without emoji: a fingerprint may hold `:AB:`, which is one.
_out = console(highlight=False)


@pki_app.command()
def init(
    consortium: Annotated[str, typer.Option("--consortium", help="The consortium's name.", show_default=False)],
    workspace: WorkspaceDir = Path("work"),
    name: Names = None,
    address: Addresses = None,
    days: Days = COORDINATOR_DAYS,
) -> None:
    """Make the consortium's CA, the operator's key, the coordinator's certificate and an empty roster."""
    pki = Pki.create(_folder(workspace), consortium, Hosts(tuple(name or ()), tuple(address or ())), days)
    _say(f"made in {pki.folder}; the coordinator's certificate is for {', '.join(hosts_of(pki.coordinator_pem))}")
    _say(f"operator's key {fingerprint(pki.operator)}: every bank compares it over another channel, by telephone")
    _say(f"keep a copy of {pki.folder} in a safe place: whoever has ca.key and operator.key can speak as the operator")


@pki_app.command()
def renew(
    workspace: WorkspaceDir = Path("work"),
    name: Names = None,
    address: Addresses = None,
    days: Days = COORDINATOR_DAYS,
) -> None:
    """Give the coordinator a new certificate by the same CA, for the same names unless others are given.

    With any --name or --address it is for exactly those that are given. Banks need nothing new.
    """
    pki = _pki(workspace)
    pki.renew(Hosts(tuple(name or ()), tuple(address or ())) if name or address else None, days)
    certificate = certificate_of(pki.coordinator_pem)
    _say(
        f"renewed: {', '.join(hosts_of(pki.coordinator_pem))}, until {_day(certificate.not_valid_after_utc)}; "
        "a running coordinator follows by itself"
    )


@pki_app.command()
def show(workspace: WorkspaceDir = Path("work")) -> None:
    """Show certificates, names, expiry and fingerprints, and whatever is wrong; ends with 1 when something is."""
    pki = _pki(workspace)
    findings = pki.check()
    _say(f"consortium {pki.consortium}, in {pki.folder}")
    parts: tuple[Callable[[], None], ...] = (
        partial(_show_certificate, pki, pki.ca_pem),
        partial(_show_certificate, pki, pki.coordinator_pem),
        partial(_show_operator, pki),
        partial(_show_roster, pki),
    )
    for show_part in parts:
        # What cannot be read is among the findings.
        with suppress(TrustError):
            show_part()
    for finding in findings:
        _show_finding(finding)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(EXIT_FAILED)
    if not findings:
        _say("all is well")


@pki_app.command()
def kit(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.", show_default=False)],
    workspace: WorkspaceDir = Path("work"),
    host: Annotated[
        str | None,
        typer.Option(help="What banks connect to; when absent, the certificate's first name.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(help="The coordinator's port for banks.", min=1, max=65535)] = 9092,
) -> None:
    """Write what a bank needs: ca.pem, operator.pub, roster.json and coordinator.json. Nothing in it is secret."""
    pki = _pki(workspace)
    pki.write_kit(out, host, port)
    _say(f"kit of roster {pki.roster().number}: {out}")
    _say(f"operator's key {fingerprint(pki.operator)}: the bank compares it over another channel, by telephone")


@bank_app.command("add")
def bank_add(request: Request, workspace: WorkspaceDir = Path("work"), again: Again = False) -> None:
    """Put a bank on the roster, by its enrolment request."""
    enrolment = read_enrolment(request)
    roster = _pki(workspace).add(enrolment, again=again)
    _say(f"bank {enrolment.bank} is on the roster, now number {roster.number} with {_banks(roster)}")
    _say_compare(enrolment)


@bank_app.command("remove")
def bank_remove(
    bank: Annotated[str, typer.Argument(help="The bank's id.", metavar="ID", show_default=False)],
    workspace: WorkspaceDir = Path("work"),
    unlearn: Annotated[
        bool, typer.Option("--unlearn", help="Make ready the phases that train the model again without it.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(help="With --unlearn: who decides, a person's name.", metavar="NAME")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="With --unlearn: why.", metavar="TEXT")] = None,
) -> None:
    """Take a bank off the roster; its key cannot come back unnoticed.

    With --unlearn also of one that is off it already: a signed record says what its releases touched, and phases are
    added that train again from the newest state made before them.
    """
    if unlearn:
        leaving.unlearn(workspace, bank, by, reason)
        return
    roster = _pki(workspace).remove(bank)
    _say(f"bank {bank} is off the roster, now number {roster.number} with {_banks(roster)}")


@bank_app.command("replace")
def bank_replace(request: Request, workspace: WorkspaceDir = Path("work"), again: Again = False) -> None:
    """Give a bank on the roster a new key, when it lost the old one."""
    enrolment = read_enrolment(request)
    roster = _pki(workspace).replace(enrolment, again=again)
    _say(f"bank {enrolment.bank} has a new key on the roster, now number {roster.number}; the old one is removed")
    _say_compare(enrolment)


@bank_app.command("list")
def bank_list(workspace: WorkspaceDir = Path("work")) -> None:
    """List the banks on the roster, and the keys that were removed from it."""
    roster = _pki(workspace).roster()
    _say(f"roster {roster.number} of {roster.consortium}, issued {roster.issued}, {_banks(roster)}")
    banks = [*(member.bank for member in roster.members), *(gone.bank for gone in roster.removed)]
    width = max(map(len, banks), default=0)
    for member in roster.members:
        _say(f"{member.bank:<{width}}  since    {member.since}  {fingerprint(member.public_key)}")
    for gone in roster.removed:
        _say(f"{gone.bank:<{width}}  removed  {gone.at}  {gone.fingerprint}")


def _folder(workspace: Path) -> Path:
    return Workspace(workspace).coordinator / "pki"


def _pki(workspace: Path) -> Pki:
    return Pki(_folder(workspace))


def _show_certificate(pki: Pki, path: Path) -> None:
    certificate = certificate_of(path)
    begin, end = _day(certificate.not_valid_before_utc), _day(certificate.not_valid_after_utc)
    names = f" for {', '.join(hosts_of(path))}" if path == pki.coordinator_pem else ""
    _say(f"{path.name}: {begin} to {end}{names}")
    _say(f"  SHA-256 {certificate.fingerprint(hashes.SHA256()).hex(':').upper()}")


def _show_operator(pki: Pki) -> None:
    _say(f"{pki.operator_pub.name}: {fingerprint(pki.operator)}")


def _show_roster(pki: Pki) -> None:
    roster = pki.roster()
    _say(f"{pki.roster_file.name}: number {roster.number}, issued {roster.issued}, {_banks(roster)}")


def _show_finding(finding: Finding) -> None:
    colour = "red" if finding.severity == "error" else "yellow"
    _out.print(f"[{colour}]{finding.severity}:[/] {escape(finding.text)}", soft_wrap=True)


def _say_compare(enrolment: Enrolment) -> None:
    _say(
        f"key {fingerprint(enrolment.public_key)}: compare it with {enrolment.bank} over another channel, by telephone"
    )


def _banks(roster: Roster) -> str:
    count = len(roster.members)
    return "1 bank" if count == 1 else f"{count} banks"


def _day(moment: datetime) -> str:
    return moment.date().isoformat()


def _say(text: str) -> None:
    _out.print(text, markup=False, soft_wrap=True)
