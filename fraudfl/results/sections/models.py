"""Sections 4 and 6: where models come from and who decided on them; who signs the report."""

from __future__ import annotations

from collections.abc import Iterator

from fraudfl.report.blocks import Block, Column, Section, Text, Words, facts, paragraph, table
from fraudfl.report.words import NONE, minute, number, short
from fraudfl.results.facts import Decision, Model, Results
from fraudfl.results.spelling import estimate


def models(results: Results) -> Section:
    """Every version with its parent, and every signed decision about the champion."""
    return Section("4", "Models and decisions", tuple(_models(results)), apart=True)


def _models(results: Results) -> Iterator[Block]:
    if not results.models:
        yield paragraph("No model is registered yet.")
        return
    columns: tuple[Column, ...] = (
        Column("Version", "right"),
        Column("Is now", share=3),
        Column("Made by", share=4),
        Column("From", "right"),
        Column("Banks", "right"),
        Column("AUPRC", "right", share=5),
        Column("ε promised", "right"),
        Column("Digest", share=5),
    )
    yield table(columns, map(_model, results.models), "Versions; From is the version whose weights training began with")
    held = [one for one in results.models if one.holds]
    for one in held:
        yield paragraph(
            Text(
                f"Version {one.version} holds what {', '.join(one.holds)} released, which is to be unlearned.", "strong"
            )
        )
    if results.decisions:
        columns = (Column("When", share=4), Column("Decision", share=5), Column("By", share=4), Column("Why", share=8))
        yield table(columns, map(_decision, results.decisions), "Who decided on the champion; each decision is signed")
    else:
        yield paragraph("Nobody has decided on a champion.")


def _model(one: Model) -> list[Words]:
    return [
        str(one.version),
        ", ".join(one.aliases) or NONE,
        one.phase,
        "anew" if one.parent is None else str(one.parent),
        number(one.banks),
        estimate(one.auprc),
        NONE if one.epsilon is None else f"{one.epsilon:g}",
        Text(short(one.digest), "code"),
    ]


def _decision(one: Decision) -> list[Words]:
    forced = " by force" if one.forced else ""
    before = "" if one.replaced is None else f" in place of {one.replaced}"
    said = f"{one.action}{forced}: version {one.champion}{before}"
    return [minute(one.at), said, one.by, f"{one.reason}; {one.figures}" if one.figures else one.reason]


def signatures(results: Results) -> Section:
    """What the machine signs, and the lines that people sign."""
    blocks: list[Block] = []
    if results.signer:
        blocks.append(
            paragraph(
                f"report.pdf, report.html and report.json of {results.id} are signed together with the key of the "
                f"operator of consortium {results.subject.consortium}, as made on {minute(results.made_at)}; "
                "report.sig.json holds the digest of each and the signature. One changed byte is found by ",
                Text("fraudfl report verify FOLDER --key PUBLIC-KEY-FILE", "code"),
                ".",
            )
        )
        blocks.append(facts([("Key", Text(results.signer, "code"))]))
    else:
        blocks.append(paragraph(Text("Not signed: there is no key of the operator here.", "strong"), boxed=True))
    blocks.append(paragraph("We have read this report, and decided on it as is written beside our names."))
    return Section("6", "Signatures", tuple(blocks), apart=True)
