"""Sections 8 and 9: the words that the report uses, and who signs it."""

from __future__ import annotations

from fraudfl.report.blocks import Block, Section, Text, facts, paragraph
from fraudfl.report.facts import Report
from fraudfl.report.words import minute

_TERMS = (
    ("approval", "A bank's signed yes to one plan, identified by the plan's hash. Without it nothing leaves."),
    ("bundle", "A deployable model: encoder, network, thresholds and metadata, with a digest."),
    ("cohort", "The banks that are asked together in a round; m is the fewest whose sum may be opened."),
    ("colluding banks", "Up to t banks that tell the coordinator all they know, their own noise included."),
    (
        "coordinator",
        "The consortium's server side: it asks banks, combines what they release, and holds no transaction.",
    ),
    ("covered", "Paid for by ε. What is not covered leaves without noise, and is named in red."),
    (
        "ε, δ",
        "Differential privacy's two figures: how much any outcome's probability may change by one unit, and with "
        "what probability that bound may fail.",
    ),
    ("encoder", "Turns transactions into a model's inputs; fitted from sketches."),
    ("ledger", "A bank's durable, hash-chained record of what was charged, what left and what was refused."),
    ("mechanism", "How noise is added. σ is the noise multiplier, C the clip norm, q the sampling rate."),
    (
        "phase, plan",
        "A section of the consortium's work, and the complete and immutable text of what it does at a bank.",
    ),
    ("PLD", "Privacy loss distributions: composes releases that were fixed beforehand, almost without slack."),
    ("policy", "The bank's own rules; the coordinator cannot change them."),
    (
        "RDP filter",
        "Rényi differential privacy with a cap fixed beforehand: composes plans that were chosen one after another.",
    ),
    ("release", "Anything that leaves a bank; each passes the gate and the ledger."),
    ("secure aggregation", "Masks that cancel in the sum over banks, so that the coordinator sees the sum alone."),
    ("sketch", "Histograms of a bank's rows over public bins."),
    ("unit", "What differential privacy protects: one transaction, or one account with its transactions."),
    ("update", "What a round of training at a bank produced."),
)


def glossary() -> Section:
    """The words, in order of the alphabet."""
    return Section("8", "Glossary", (facts(_TERMS),))


def signatures(report: Report) -> Section:
    """What the machine signs, and the lines that people sign."""
    subject = report.subject
    who = f"bank {subject.name}" if subject.kind == "bank" else f"the operator of consortium {subject.consortium}"
    verify = "bank-node report verify" if subject.kind == "bank" else "fraudfl report verify"
    blocks: list[Block] = []
    if report.signer:
        blocks.append(
            paragraph(
                f"report.pdf, report.html and report.json of {report.id} are signed together with the key of {who}, as "
                f"made on {minute(report.made_at)}; report.sig.json holds the digest of each and the signature. One "
                "changed byte is found by ",
                Text(f"{verify} FOLDER --key PUBLIC-KEY-FILE", "code"),
                ".",
            )
        )
        blocks.append(facts([("Key", Text(report.signer, "code"))]))
    else:
        blocks.append(paragraph(Text("Not signed: there is no key of the operator here.", "strong"), boxed=True))
    blocks.append(
        paragraph(
            "I have read this report. What it states about releases, approvals and privacy spent agrees with the "
            "records that were put before me."
        )
    )
    return Section("9", "Signatures", tuple(blocks), apart=True)
