"""Section 6.1: banks that left, what their releases had touched, and the model that was trained without them."""

from __future__ import annotations

from collections.abc import Iterator

from fraudfl.report.blocks import Block, Column, Heading, Section, Text, Words, facts, paragraph, table
from fraudfl.report.departures import Departed, Retraining, TouchedModel
from fraudfl.report.facts import Report
from fraudfl.report.sections.phases import KINDS
from fraudfl.report.words import NONE, count_of, eps, listed, minute, number, small
from fraudfl.unlearning import Trace

_REACHES = {"encoder": "encoder", "weights": "weights", "thresholds": "thresholds and figures", "figures": "figures"}

_RELEASES = (
    Column("Phase", share=3),
    Column("What it released", share=3),
    Column("Rounds", "right"),
    Column("First", share=3),
    Column("Became part of", share=3),
)
_MODELS = (
    Column("Version", "right"),
    Column("SHA-256, or its beginning", share=4),
    Column("Is now", share=3),
    Column("Written for banks", share=4),
)


def departures(report: Report) -> Iterator[Section]:
    """One section for all banks that left; none where nobody did."""
    if not report.departures:
        return
    blocks: list[Block] = [
        paragraph(
            "What a bank released cannot be taken out of a model that was trained with it. Such a model is trained "
            "again without the bank, from the newest state made before its first release; encoder and thresholds that "
            "it had a part in are fitted again. Each departure is on record, signed by the operator and chained."
        )
    ]
    for one in report.departures:
        blocks += _departed(one)
    yield Section("6.1", "Banks that left", tuple(blocks))


def _departed(one: Departed) -> Iterator[Block]:
    yield Heading(f"Bank {one.bank}")
    yield facts(_facts(one))
    if one.phases:
        yield table(_RELEASES, _releases(one), "What its releases touched")
    if one.models:
        yield table(_MODELS, map(_model, one.models), "Models that hold what it released")
    yield paragraph(Text("What could not be undone: ", "strong"), " ".join(_not_undone(one)), boxed=True)


def _facts(one: Departed) -> Iterator[tuple[str, Words]]:
    yield "Left on", minute(one.at)
    yield "Decided by", f"{one.by}: {one.reason}"
    yield "Roster without it", number(one.roster)
    if not one.retraining:
        yield "Trained again", "nothing: no model holds what it released, or a newer one does not"
    for again in one.retraining:
        yield f"Instead of {again.replaces}", _again(again)
        yield "Its model", _version(again)
        yield "Paid by the others", _paid(again)


def _again(again: Retraining) -> str:
    work = f"{count_of(again.rounds, 'round')} by {count_of(again.banks, 'bank')}"
    return f"{again.phase}, from {again.began_at}, encoder {again.encoder}: {again.status}, {work}"


def _version(again: Retraining) -> Words:
    if again.version is None:
        return Text("none yet; what is in use holds what the bank released until then", "strong")
    now = f", now {listed(again.aliases)}" if again.aliases else ""
    return f"version {again.version}{now}, digest {again.digest[:16]}…"


def _paid(again: Retraining) -> str:
    if again.epsilon is None or again.delta is None:
        return "no ε: none is promised, or nothing was spent yet"
    return f"ε at most {eps(again.epsilon)} at δ = {small(again.delta)}, each, beside what they had spent before"


def _releases(one: Departed) -> Iterator[list[Words]]:
    for phase in one.phases:
        for trace in phase.traces:
            # A kind of request that holds no data is on record, and touches nothing.
            if trace.reach is not None:
                became = _REACHES[trace.reach]
                yield [phase.name, KINDS.get(trace.kind, trace.kind), number(trace.rounds), _first(trace), became]
        if not any(trace.reach for trace in phase.traces):
            yield [phase.name, "nothing", "0", NONE, f"it went on from {phase.began_at}"]


def _first(trace: Trace) -> str:
    return f"round {trace.first}, {minute(trace.at)}" if trace.first else minute(trace.at)


def _model(model: TouchedModel) -> list[Words]:
    now: Words = Text(listed(model.aliases), "strong") if "champion" in model.aliases else listed(model.aliases)
    return [str(model.version), Text(model.digest[:32], "code"), now, ", ".join(map(minute, model.exported)) or NONE]


def _not_undone(one: Departed) -> Iterator[str]:
    yield "The coordinator received what is listed above, and the ε that the bank spent on it stays spent."
    figures = [
        phase.name for phase in one.phases if any(trace.reach in ("thresholds", "figures") for trace in phase.traces)
    ]
    if figures:
        yield f"Figures of {listed(figures)} that were published, or decided by, hold its counts."
    exported = [str(model.version) for model in one.models if model.exported]
    if exported:
        which = "Version" if len(exported) == 1 else "Versions"
        yield f"{which} {listed(exported)} had been written for banks: copies there are theirs to replace."
    used = [str(model.version) for model in one.models if "champion" in model.aliases]
    if used:
        yield f"Version {used[0]} is still the champion."
