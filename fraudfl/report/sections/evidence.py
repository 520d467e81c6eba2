"""Sections 3 to 6: what an audit found, which data and which code were used, and what the record itself is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fraudfl.report.blocks import Block, Column, Heading, Section, Text, Words, facts, paragraph, table
from fraudfl.report.facts import AuditResult, DataUsed, LedgerRecord, PolicyRules, Report
from fraudfl.report.words import NONE, count_of, listed, number, short, small

MOST_LEDGERS = 20


def evidence(report: Report) -> Iterator[Section]:
    """Audit, data, models and code, ledger and policy."""
    yield Section("3", "Empirical audit", tuple(_audit(report.audit)))
    yield Section("4", "Data used", tuple(_data(report)))
    yield Section("5", "Models and code", tuple(_code(report)))
    yield Section("6", "Ledger and rules", tuple(_ledgers(report)))


def _audit(results: tuple[AuditResult, ...] | None) -> Iterator[Block]:
    if results is None:
        yield paragraph("No audit was run. The figures of section 2 rest on proof and accounting alone.")
        return
    yield paragraph(
        "An audit attacks the mechanism as it was run and gives a lower bound of its ε. A bound above the claimed ε "
        "would refute the claim; one below it is consistent with the claim, and does not prove it."
    )
    columns = (
        Column("Audit", share=3),
        Column("Mechanism", share=3),
        Column("ε claimed", "right"),
        Column("lower bound", "right"),
        Column("confidence", "right"),
        Column("trials", "right"),
        Column("Verdict", share=2),
    )
    yield table(columns, map(_audit_row, results))
    notes = [(one.name, _detail(one)) for one in results if one.detail]
    if notes:
        yield facts(notes)


def _audit_row(one: AuditResult) -> list[Words]:
    # Red is for what no ε covers; a refuted claim must stand out without it.
    verdict = Text(one.verdict, "plain" if one.verdict == "sound" else "strong")
    confidence = NONE if one.confidence is None else f"{100 * one.confidence:g} %"
    trials = NONE if one.trials is None else number(one.trials)
    claimed, bound = (NONE if value is None else small(value) for value in (one.claimed, one.lower_bound))
    return [one.name, one.mechanism, claimed, bound, confidence, trials, verdict]


def _detail(one: AuditResult) -> str:
    return one.detail if isinstance(one.detail, str) else json.dumps(one.detail, sort_keys=True, ensure_ascii=False)


def _data(report: Report) -> Iterator[Block]:
    if report.subject.kind == "consortium":
        known = " Here the banks were simulated, from one data set." if report.setting == "simulation" else ""
        yield paragraph(
            "Each bank's transactions stay at that bank, and so does what is known of them. The coordinator holds no "
            f"count and no date of any bank's rows beyond what section 2 lists as released.{known} Each bank's own "
            "report states its data."
        )
        return
    used: dict[DataUsed, list[str]] = {}
    for phase in report.phases:
        if phase.data is not None:
            used.setdefault(phase.data, []).append(phase.name)
    rows: list[list[Words]] = [
        [listed(names), part.part, number(part.rows), part.first or NONE, part.last or NONE]
        for data, names in used.items()
        for part in data.parts
    ]
    if not rows:
        yield paragraph("There is no data in this bank's folder, so that no rows can be counted.")
        return
    yield paragraph(
        "Rows that each plan's split takes from the bank's transactions, counted when this report was made. Rows were "
        "read at the bank; none of them left, and none is in this report."
    )
    columns = (Column("Phases", share=4), Column("Part", share=2), Column("Rows", "right", share=2))
    yield table((*columns, Column("First day", share=2), Column("Last day", share=2)), rows)
    digests = dict.fromkeys(data.source_digest for data in used)
    yield facts(("SHA-256 of transactions", Text(digest, "code")) for digest in digests)


def _code(report: Report) -> Iterator[Block]:
    software = report.software
    rows: list[list[Words]] = []
    for phase in report.phases:
        trained = phase.trained
        if trained is not None:
            if trained.encoder_digest:
                rows.append([phase.name, "encoder", Text(trained.encoder_digest, "code")])
            if trained.model_digest:
                rows.append([phase.name, trained.model_holds, Text(trained.model_digest, "code")])
        rows.append([phase.name, "plan", Text(phase.plan_hash, "code")])
    if rows:
        yield table(
            (Column("Phase", share=2), Column("What", share=3), Column("SHA-256, or its beginning", share=9)), rows
        )
    yield Heading("Software that made this report")
    yield facts(
        [
            ("fraudfl", software.version),
            ("Installed packages", listed(software.packages)),
            ("SHA-256 of their files", Text(software.program_digest, "code")),
            ("Libraries", listed([f"{name} {version}" for name, version in software.libraries.items()])),
        ]
    )


def _ledgers(report: Report) -> Iterator[Block]:
    yield paragraph(
        "A bank's ledger is append-only: a release is written down and charged before its work begins, and each entry "
        "holds the SHA-256 of the one before, so that none can be changed, moved or taken out unseen."
    )
    if len(report.ledgers) == 1:
        yield facts(_one_ledger(report.ledgers[0]))
    elif report.ledgers:
        yield from _many_ledgers(report.ledgers)
    else:
        yield paragraph("No ledger is known here.")
    if report.policy is not None:
        yield Heading("The bank's own rules")
        yield facts(_policy(report.policy))


def _one_ledger(record: LedgerRecord) -> Iterator[tuple[str, Words]]:
    yield "Entries", number(record.entries)
    yield "Head", Text(record.head, "code")
    yield "Chain", _verdict(record)
    if record.events:
        yield "Entries by event", ", ".join(f"{number(count)} {event}" for event, count in record.events.items())
    if not record.witness:
        yield "Compared with", "nothing outside of it"


def _many_ledgers(records: tuple[LedgerRecord, ...]) -> Iterator[Block]:
    broken = [record for record in records if record.verified is False]
    checked = [record for record in records if record.verified]
    yield paragraph(
        f"{count_of(len(records), 'ledger')}: {number(len(checked))} checked here entry by entry and in order, "
        f"{number(len(broken))} not in order, {number(len(records) - len(checked) - len(broken))} known by the head "
        "that came with the last reply."
    )
    shown = sorted(records, key=lambda record: (record.verified is not False, record.bank))[:MOST_LEDGERS]
    columns = (Column("Bank", share=3), Column("Entries", "right"), Column("Head", share=4), Column("Chain", share=5))
    rest = len(records) - len(shown)
    caption = f"{number(len(shown))} of {number(len(records))} ledgers; report.json lists all" if rest else ""
    yield table(
        columns,
        ([one.bank, number(one.entries), Text(short(one.head), "code"), _verdict(one)] for one in shown),
        caption,
    )


def _verdict(record: LedgerRecord) -> Text:
    if record.verified is None:
        return Text("kept by the bank; not checked here")
    if not record.verified:
        return Text(f"NOT IN ORDER: {record.problem}", "strong")
    return Text(f"checked, in order; fits {record.witness}" if record.witness else "checked, in order")


def _policy(policy: PolicyRules) -> Iterator[tuple[str, Words]]:
    yield "Policy file", Text(policy.digest, "code") if policy.digest else "none; the strict defaults hold"
    yield "Plans are approved", "by rules, or by a person" if policy.automatic else "by a person, or by hash in advance"
    caps = {"phase": policy.epsilon_phase, "month": policy.epsilon_month, "all time": policy.epsilon_total}
    said = [f"{small(cap)} per {name}" for name, cap in caps.items() if cap is not None]
    yield "Caps on ε", ", ".join(said) or "none beyond each plan's own"
    allowed = ["anything that a plan lists" if name == "*" else name for name in policy.uncovered]
    yield "May leave uncovered", Text(listed(allowed), "red" if allowed else "plain")
