"""`bank-node plans|approve|reject|revoke`: what a person at the bank decides about a plan."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from bank_nodes.commands.options import AsJson, Folder, say
from bank_nodes.rules.approvals import Approvals, Verdict, explain, offered
from bank_nodes.rules.policy import read_policy, review
from fraudfl.errors import PlanError
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Ledger

Hash = Annotated[str, typer.Argument(help="The plan's hash, or its first letters.", metavar="HASH")]
By = Annotated[str, typer.Option(help="Who decides: a person's name.")]
Reason = Annotated[str, typer.Option(help="Why.")]


def plans(folder: Folder, as_json: AsJson = False) -> None:
    """Show the plans that this bank was offered: what each would do, and how it stands here."""
    approvals, policy = Approvals(folder), read_policy(folder)
    rows = [(plan, approvals.standing(plan.hash)) for plan in offered(folder)]
    if as_json:
        facts = [
            {"hash": plan.hash, "phase": plan.phase, "standing": standing.decision if standing else "waiting"}
            for plan, standing in rows
        ]
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    if not rows:
        say("no plan was offered yet")
    for plan, standing in rows:
        state = f"{standing.decision} by {standing.by}, {standing.at}" if standing else "waiting for a decision"
        say(f"{plan.hash}  phase {plan.phase}: {state}")
        for line in explain(plan):
            say(f"    {line}")
        if standing is None:
            for reason in review(plan, policy):
                say(f"    not approved by rule: {reason}")


def approve(folder: Folder, plan: Hash, by: By, reason: Reason = "") -> None:
    """Approve a plan, signed with this bank's key."""
    _decide(folder, plan, "approve", by, reason)


def reject(folder: Folder, plan: Hash, by: By, reason: Reason = "") -> None:
    """Say no to a plan that waits."""
    _decide(folder, plan, "reject", by, reason)


def revoke(folder: Folder, plan: Hash, by: By, reason: Reason = "") -> None:
    """Take an approval back; nothing more leaves under that plan."""
    _decide(folder, plan, "revoke", by, reason)


def _decide(folder: Folder, short: str, verdict: Verdict, by: str, reason: str) -> None:
    plan = _named(folder, short)
    decision = Approvals(folder).decide(plan, verdict, by, reason)
    # With its digest in the ledger, a decision cannot be cut from the end of its file unseen.
    said = f"{verdict} by {decision.by}, decision {decision.digest[:16]}" + (f": {reason}" if reason else "")
    Ledger(folder / "ledger.db").note(said, plan.hash)
    say(f"{plan.hash[:12]}, phase {plan.phase}: {verdict} by {decision.by}, {decision.at}")


def _named(folder: Folder, short: str) -> Plan:
    found = [plan for plan in offered(folder) if plan.hash.startswith(short.lower())]
    if len(found) != 1 or len(short) < 6:
        found_them = {0: "no plan begins", 1: "too short: a plan begins"}
        many = found_them.get(len(found), f"{len(found)} plans begin")
        raise PlanError(f"{many} with {short!r} here; give six letters or more of one in `bank-node plans`")
    return found[0]
