"""`bank-node ledger show`: the ledger's entries as a table, with what was spent in each phase, month and ever."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bank_nodes.commands.options import AsJson, Folder, out
from bank_nodes.rules.approvals import offered
from bank_nodes.rules.budget import Budget, Statement
from bank_nodes.rules.policy import read_policy
from fraudfl.errors import ConfigError
from fraudfl.plan import Plan
from fraudfl.privacy.ledger import Entry, Ledger
from fraudfl.privacy.mechanisms import DpSgd, mechanism_from_dict

_DELTA = 1e-6
"""The δ of totals where no plan has one."""


def show(
    folder: Folder,
    plan: Annotated[str, typer.Option(help="Only entries of plans whose hash begins so.", show_default=False)] = "",
    since: Annotated[
        str, typer.Option(help="Only entries from this day on, such as 2025-01-31.", show_default=False)
    ] = "",
    kind: Annotated[str, typer.Option(help="Only entries of this kind, such as train.", show_default=False)] = "",
    last: Annotated[int, typer.Option(help="At most so many entries, the newest; 0 shows all.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the ledger's entries, and what was spent: ε with δ and unit for each phase, this month and in all.

    Filters choose entries; the totals are always of the whole ledger.
    """
    ledger, policy = Ledger(folder / "ledger.db"), read_policy(folder)
    entries = [entry for entry in ledger.entries() if _chosen(entry, plan, _day(since), kind)][-last:]
    plans = [one for one in offered(folder) if one.private]
    totals = list(_totals(Budget(ledger, policy), plans))
    if as_json:
        facts = {
            "entries": [vars(entry) for entry in entries],
            "totals": [{"name": name, **asdict(said)} for name, said in totals],
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    out.print(_entries_table(entries))
    if totals:
        out.print(_totals_table(totals))


def _chosen(entry: Entry, plan: str, since: str, kind: str) -> bool:
    return entry.plan_hash.startswith(plan) and entry.at >= since and kind in ("", entry.kind)


def _day(text: str) -> str:
    try:
        return "" if not text else datetime.fromisoformat(text).date().isoformat()
    except ValueError as error:
        raise ConfigError(f"--since is {text!r}; expected a day such as 2025-01-31") from error


def _totals(budget: Budget, plans: Iterable[Plan]) -> Iterable[tuple[str, Statement]]:
    listed = list(plans)
    for plan in listed:
        said = budget.statement(plan)
        if said is not None:
            yield f"phase {plan.phase} ({plan.hash[:8]})", said
    delta = min((plan.delta for plan in listed), default=_DELTA)
    for said in budget.statements("month", delta):
        yield "this month", said
    for said in budget.statements("all", delta):
        yield "in all", said


def _entries_table(entries: Iterable[Entry]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("entry", "when (UTC)", "event", "kind", "charged", "bytes", "plan", "note"):
        right = heading in ("entry", "bytes")
        table.add_column(heading, no_wrap=heading != "note", justify="right" if right else "left")
    for entry in entries:
        table.add_row(
            str(entry.entry),
            entry.at[:19].replace("T", " "),
            entry.event,
            f"{entry.kind} {entry.round}.{entry.attempt}" if entry.kind else "",
            _charged(entry.mechanism),
            f"{entry.size:,}" if entry.size else "",
            entry.plan_hash[:8],
            escape(entry.note),
        )
    return table


def _charged(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return ""
    mechanism = mechanism_from_dict(facts)
    shared = f" by {mechanism.parties}" if mechanism.parties > 1 else ""
    noise = f"σ {mechanism.noise_multiplier:.4g}{shared}, {mechanism.unit}"
    if isinstance(mechanism, DpSgd):
        return f"{mechanism.steps} of DP-SGD, q {mechanism.sampling_rate:g}, C {mechanism.clip_norm:g}, {noise}"
    return f"{mechanism.releases} sums, Δ {mechanism.sensitivity:.4g}, {noise}"


def _totals_table(totals: Iterable[tuple[str, Statement]]) -> Table:
    table = Table(title="spent", title_justify="left", box=None, pad_edge=False)
    for heading in ("window", "unit", "δ", "ε", "ε, colluding", "cap", "left", "releases", "composed by"):
        table.add_column(heading, justify="left" if heading in ("window", "unit", "composed by") else "right")
    for name, said in totals:
        caps = [_number(said.cap), _number(said.left)]
        spent = [_number(said.epsilon), _number(said.epsilon_colluding)]
        table.add_row(name, said.unit, f"{said.delta:g}", *spent, *caps, f"{said.releases:,}", said.method)
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
