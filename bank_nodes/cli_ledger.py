"""`bank-node ledger …` and `bank-node restore`: proving the record, and repairing one that came from a backup."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bank_nodes.approvals import Approvals, offered
from bank_nodes.cli_options import Folder, say
from fraudfl.errors import PrivacyError
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.ledger_chain import verify_lines

ledger_app = typer.Typer(help="Check and export the ledger.", no_args_is_help=True)


@ledger_app.command("verify")
def verify(folder: Folder) -> None:
    """Check every entry of the hash chain; exit 1 names the first that was altered, is missing or out of order."""
    ledger = Ledger(folder / "ledger.db")
    ledger.verify()
    entry, digest = ledger.head()
    say(f"{entry} entries, all in order; head {digest}")


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


def restore(
    folder: Folder,
    seen: Annotated[int, typer.Option(help="Highest entry that the coordinator has seen; its refusals name it.")],
    by: Annotated[str, typer.Option(help="Who restores: a person's name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Repair a ledger that came from a backup: charge all that may have left since, and close the plans.

    Nobody knows what was forgotten, so everything that each approved plan could still have released counts as spent,
    and the approvals are revoked: the next phase needs a new plan. Copy `plans/` and `approvals.jsonl` from the broken
    folder first, where they can be read: what they name is charged too. Afterwards rules approve nothing any more.
    """
    ledger, approvals = Ledger(folder / "ledger.db"), Approvals(folder)
    if not ledger.behind(seen):
        raise PrivacyError(f"the ledger ends at entry {ledger.head()[0]}, so nothing up to {seen} is missing")
    last, _ = ledger.head()
    if not yes:
        typer.confirm(
            f"the ledger ends at entry {last}, so {seen - last} are missing; write this down for good?", abort=True
        )
    approved = [plan for plan in offered(folder) if _approved(approvals, plan)]
    for plan in approved:
        approvals.decide(plan, "revoke", by, "the ledger was restored from an older copy")
    charged = {plan.hash: _unspent(plan, ledger) for plan in approved}
    note = f"restored by {by}; entries up to {seen} were seen outside"
    # The gap in the numbers is recorded first, by itself.
    ledger.restore(seen, [], note)
    for plan_hash, mechanisms in charged.items():
        if mechanisms:
            ledger.restore(ledger.head()[0], mechanisms, note, plan_hash)
    say(f"restored: {sum(map(len, charged.values()))} releases are charged, {len(approved)} plans are closed")


def _approved(approvals: Approvals, plan: Plan) -> bool:
    standing = approvals.standing(plan.hash)
    return standing is not None and standing.decision == "approve"


def _unspent(plan: Plan, ledger: Ledger) -> list[dict[str, object]]:
    mechanism = plan.round_mechanism
    if mechanism is None:
        return []
    most = plan.rounds + plan.privacy.spare_attempts
    return [mechanism.to_dict()] * max(0, most - len(ledger.mechanisms(plan.hash)))
