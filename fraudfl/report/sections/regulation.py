"""Section 7: which statements of this report bear on which rule, and where the evidence is."""

from __future__ import annotations

from collections.abc import Iterator

from fraudfl.report.blocks import Block, Column, Heading, Section, paragraph, table
from fraudfl.report.facts import Report
from fraudfl.report.words import NONE, count_of, listed

Statement = tuple[str, str, str]
"""A rule, what this report states about it, and the sections with the evidence."""


def regulation(report: Report) -> Section:
    """The mapping to GDPR and to SR 11-7."""
    blocks: tuple[Block, ...] = (
        paragraph(
            "Statements of fact with references to the evidence in this report. They are not legal advice, and they do "
            "not say that a duty is met: that is for the bank to judge, with all that this report does not know."
        ),
        Heading("Regulation (EU) 2016/679 (GDPR)"),
        _mapped("Article", _gdpr(report)),
        Heading("Federal Reserve SR 11-7, model risk management"),
        _mapped("Point", _model_risk(report)),
    )
    return Section("7", "Regulatory mapping", blocks)


def _mapped(first: str, rows: Iterator[Statement]) -> Block:
    return table((Column(first, share=4), Column("Statement", share=10), Column("Evidence", share=2)), rows)


def _gdpr(report: Report) -> Iterator[Statement]:
    yield (
        "5(1)(b) purpose limitation",
        "Each plan fixes beforehand what is trained, from which columns and for which phase; what it does not list "
        "cannot leave. The plan is identified by its hash.",
        "§ 2, 5",
    )
    yield "5(1)(c) data minimisation", _minimisation(report), "§ 1, 2"
    yield "5(1)(f) integrity and confidentiality", _confidentiality(report), "§ 2, 6"
    yield "5(2) accountability", _accountability(report), "§ 2, 6, 9"
    yield (
        "25 data protection by design and by default",
        "Every release passes one gate, which refuses what no approved plan lists. By default no plan is approved and "
        "nothing leaves without privacy; exceptions need their own line in the bank's policy.",
        "§ 2, 6",
    )
    yield (
        "30 records of processing",
        "For joint training this report supplies: purpose and plan, categories of what was disclosed and to whom (the "
        "coordinator), dates, and a description of the technical measures. It does not supply contact details, "
        "retention periods or the lawful basis.",
        "§ 2, 4, 6",
    )
    yield "32 security of processing", _security(report), "§ 2, 3, 6"
    yield "35 impact assessment", _impact(report), "§ 1, 2, 3"


def _minimisation(report: Report) -> str:
    kinds = sorted({content.name for phase in report.phases for left in phase.left for content in left.contents})
    return f"No transaction left a bank. What the plans let out: {listed(kinds)}. Counts and bytes are stated by kind."


def _confidentiality(report: Report) -> str:
    private = [phase for phase in report.phases if phase.spending is not None]
    secure = [phase for phase in report.phases if phase.secure is not None]
    total = len(report.phases)
    said = f"Differential privacy: {len(private)} of {count_of(total, 'phase')}. Secure aggregation: {len(secure)}."
    return f"{said} Without differential privacy left: {listed(report.uncovered)}."


def _accountability(report: Report) -> str:
    broken = [record for record in report.ledgers if record.verified is False]
    checked = sum(1 for record in report.ledgers if record.verified)
    chain = f"{count_of(checked, 'ledger was', 'ledgers were')} checked entry by entry."
    if broken:
        chain = f"The ledger of {listed([record.bank for record in broken])} is NOT in order."
    decided = "Decisions on plans are signed with the bank's key. " if report.subject.kind == "bank" else ""
    return (
        f"{decided}{chain} This report is signed with a key, and verifiable." if report.signer else f"{decided}{chain}"
    )


def _security(report: Report) -> str:
    audited = (
        "no test was run for this report" if report.audit is None else f"{count_of(len(report.audit), 'audit')} ran"
    )
    return (
        "Noise, sampling and masks are drawn from the operating system's generator; records and approvals are chained "
        f"and signed. Regular testing of the measures, 32(1)(d): {audited}."
    )


def _impact(report: Report) -> str:
    rest = f"Residual risk that no ε bounds: {listed(report.uncovered)}." if report.uncovered else ""
    return (
        "Supplies to an assessment under 35(7): a systematic description of the processing, a bound (ε, δ) of what "
        f"releases give away about one person's unit where one is promised, and the measures in place. {rest}"
    ).strip()


def _model_risk(report: Report) -> Iterator[Statement]:
    yield (
        "Development and implementation",
        "Model, features, training procedure and privacy parameters are fixed in the plan before training; the "
        "encoder, the model and the software are identified by digest.",
        "§ 2, 5",
    )
    yield (
        "Use",
        "This report is about privacy and states no figure of predictive quality: those are in the model's card and "
        "the run's summary, and limits of use with them.",
        "§ 5",
    )
    yield "Validation", _validation(report), "§ 2, 3"
    yield "Governance, policies and controls", _governance(report), "§ 2, 6, 9"
    yield (
        "Documentation and inventory",
        "The ledger lists every release; report.json is the same report for machines, with a published schema.",
        "§ 6",
    )


def _validation(report: Report) -> str:
    theory = "Conceptual soundness of the privacy claim rests on published accounting, named beside each figure."
    if report.audit is None:
        return f"{theory} Outcome analysis: no empirical audit was run."
    refuted = [one.name for one in report.audit if one.verdict != "sound"]
    found = f"REFUTED or open: {listed(refuted)}" if refuted else "none refutes its claim"
    return f"{theory} Outcome analysis: {count_of(len(report.audit), 'audit')}; {found}."


def _governance(report: Report) -> str:
    if report.subject.kind == "consortium":
        return "Each bank decides on each plan by itself, under its own policy; the coordinator cannot change either."
    deciders = sorted({one.by for phase in report.phases for one in phase.decisions})
    people = ["the policy's rules" if name == "policy" else name for name in deciders]
    return f"Decisions on plans were taken by: {listed(people) if people else NONE}. Caps and rules are the bank's own."
