"""`bank-node ledger …` and `bank-node restore`: reading and proving the record, and repairing one from a backup."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bank_nodes.commands.ledger_view import show
from bank_nodes.commands.options import Folder, say
from bank_nodes.gate.kept_receipts import KeptReceipts, compare
from bank_nodes.gate.restoring import Repair, carry_out, repair_at_the_cap, repair_from_receipts
from fraudfl.errors import PrivacyError
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.ledger_chain import verify_lines

ledger_app = typer.Typer(help="Show, check, export and repair the ledger.", no_args_is_help=True)
ledger_app.command("show")(show)

By = Annotated[str, typer.Option(help="Who restores: a person's name.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@ledger_app.command("verify")
def verify(
    folder: Folder,
    receipts: Annotated[
        Path | None, typer.Option(help="Also compare with these receipts, as the operator hands them out.")
    ] = None,
) -> None:
    """Check every entry of the hash chain, and compare it with the operator's receipts for what left.

    Exit 1 names the first entry that was altered, is missing or out of order, or that was cut off at the end.
    """
    ledger = Ledger(folder / "ledger.db")
    ledger.verify()
    entry, digest = ledger.head()
    say(f"{entry} entries, all in order; head {digest}")
    kept = KeptReceipts(folder)
    files = [kept.all()] if receipts is None else [kept.all(), kept.read(receipts)]
    witnesses = {receipt.key: receipt for file in files for receipt in file}.values()
    if not witnesses:
        return
    compared = compare(ledger, witnesses)
    compared.refuse_missing()
    written_off = (
        f"; {compared.forgotten} are about releases that a restoration wrote off" if compared.forgotten else ""
    )
    newest = max(witness.entry for witness in witnesses)
    say(f"{compared.fit} receipts by the operator fit, the newest for entry {newest}{written_off}")


@ledger_app.command("export")
def export(folder: Folder) -> None:
    """Print the ledger as JSON lines, for an auditor."""
    for line in Ledger(folder / "ledger.db").export_lines():
        sys.stdout.write(line + "\n")


@ledger_app.command("verify-export")
def verify_export(file: Annotated[Path, typer.Argument(help="What `ledger export` printed.")]) -> None:
    """Check an exported ledger, without the bank's folder."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrivacyError(f"{file}: cannot be read ({error}); expected what `ledger export` printed") from error
    entry, digest = verify_lines(lines)
    say(f"{entry} entries, all in order; head {digest}")


@ledger_app.command("restore")
def restore_receipts(
    folder: Folder,
    receipts: Annotated[Path, typer.Option(help="Receipts of this bank, from `fraudfl bank receipts`.")],
    by: By,
    yes: Yes = False,
) -> None:
    """Repair a ledger that came from a backup with the operator's signed receipts; approved plans go on.

    Each release that a receipt names is put back and charged with its plan's mechanism. Numbers that no receipt
    explains, and what may have been under way, are charged at the most expensive mechanism of the approved plans. This
    bank's secrets for secure aggregation are discarded; it can be added up again from the next phase on. Rules approve
    nothing any more.
    """
    repair = repair_from_receipts(folder, KeptReceipts(folder).read(receipts))
    _confirm(folder, repair, yes)
    carry_out(folder, repair, by)
    others = len(repair.releases) - repair.explained
    say(f"restored: {repair.explained} releases are put back from receipts, {others} are charged unseen")


def restore(
    folder: Folder,
    seen: Annotated[int, typer.Option(help="Highest entry that the coordinator has seen; its refusals name it.")],
    by: By,
    yes: Yes = False,
) -> None:
    """Repair a ledger that came from a backup: charge all that may have left since, and close the plans.

    Nobody knows what was forgotten, so everything that each approved plan could still have released counts as spent,
    and the approvals are revoked: the next phase needs a new plan. Copy `plans/` and `approvals.jsonl` from the broken
    folder first, where they can be read: what they name is charged too. Afterwards rules approve nothing any more.
    `bank-node ledger restore --receipts` charges less, where the operator has receipts.
    """
    repair = repair_at_the_cap(folder, seen)
    _confirm(folder, repair, yes)
    carry_out(folder, repair, by)
    say(f"restored: {len(repair.releases)} releases are charged, {len(repair.closing)} plans are closed")


def _confirm(folder: Path, repair: Repair, yes: bool) -> None:
    if not yes:
        last, _ = Ledger(folder / "ledger.db").head()
        typer.confirm(
            f"the ledger ends at entry {last}, entry {repair.seen} was seen outside, and {len(repair.releases)} "
            "releases will be charged; write this down for good?",
            abort=True,
        )
