"""`bank-node status` and `bank-node log`: how this bank stands, and everything that was asked and left."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table

from bank_nodes.commands.options import AsJson, Folder, out, say
from bank_nodes.folder.home import Home
from bank_nodes.node.alone import daemon_runs
from bank_nodes.rules.approvals import Approvals, offered
from bank_nodes.rules.policy import read_policy
from bank_nodes.rules.schedule import opens_at
from fraudfl.plan import Plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger
from fraudfl.privacy.mechanisms import DpSgd


def status(folder: Folder, as_json: AsJson = False) -> None:
    """Show whether the daemon runs, what was decided, and what every plan has cost so far."""
    home, policy, ledger = Home(folder), read_policy(folder), Ledger(folder / "ledger.db")
    approvals, zone = Approvals(folder), ZoneInfo(policy.hours.zone)
    opening = opens_at(policy.hours, datetime.now(UTC))
    facts: dict[str, Any] = {
        "bank": home.bank,
        "daemon": "running" if daemon_runs(folder) else "stopped",
        "coordinator": home.address(),
        "open": "now" if opening is None else f"from {opening:%Y-%m-%d %H:%M %Z}",
        "ledger_entries": ledger.head()[0],
        "plans": [],
    }
    for plan in offered(folder):
        standing = approvals.standing(plan.hash)
        totals = ledger.totals(plan.hash, datetime.now(UTC), zone)
        facts["plans"].append(
            {
                "hash": plan.hash,
                "phase": plan.phase,
                "standing": standing.decision if standing else "waiting",
                "rounds": totals.rounds_phase,
                "releases": totals.releases_phase,
                "epsilon": _spent(plan, ledger),
                "delta": plan.privacy.delta if plan.private else None,
            }
        )
    if as_json:
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    for name in ("bank", "daemon", "coordinator", "open", "ledger_entries"):
        say(f"{name.replace('_', ' '):<16}{facts[name]}")
    for plan_facts in facts["plans"]:
        spent = "no privacy promised" if plan_facts["epsilon"] is None else f"ε {plan_facts['epsilon']:.3f}"
        say(
            f"plan {plan_facts['hash'][:12]}  {plan_facts['phase']}: {plan_facts['standing']}, "
            f"{plan_facts['rounds']} rounds, {plan_facts['releases']} releases, {spent}"
        )


def log(
    folder: Folder,
    since: Annotated[int, typer.Option(help="Only entries after this number.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the ledger: every request that was answered, sent again or refused, and every decision."""
    entries = Ledger(folder / "ledger.db").entries(since)
    if as_json:
        for entry in entries:
            sys.stdout.write(json.dumps(vars(entry)) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("entry", "when (UTC)", "event", "what", "bytes", "plan", "note"):
        table.add_column(
            heading, no_wrap=heading != "note", justify="right" if heading in ("entry", "bytes") else "left"
        )
    for entry in entries:
        what = f"{entry.kind} {entry.round}.{entry.attempt}" if entry.kind else ""
        paid = " (charged)" if entry.mechanism else ""
        table.add_row(
            str(entry.entry),
            entry.at[:19].replace("T", " "),
            entry.event + paid,
            what,
            f"{entry.size:,}" if entry.size else "",
            entry.plan_hash[:8],
            escape(entry.note),
        )
    out.print(table)


def _spent(plan: Plan, ledger: Ledger) -> float | None:
    if not plan.private:
        return None
    charged = [DpSgd.from_dict(facts) for facts in ledger.mechanisms(plan.hash)]
    return epsilon(charged, plan.privacy.delta) if charged else 0.0
