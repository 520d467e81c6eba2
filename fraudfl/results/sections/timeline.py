"""Section 2: phases in order, what their gates said and why, and who released what held."""

from __future__ import annotations

from collections.abc import Mapping

from fraudfl.report.blocks import Block, Column, Picture, Section, Text, Words, paragraph, table
from fraudfl.report.words import NONE, minute, number
from fraudfl.results.facts import Gate, PhaseResult, Results
from fraudfl.results.spelling import epsilon, gates_in_short, share


def timeline(results: Results, drawn: Mapping[str, Picture]) -> Section:
    """The consortium's life so far."""
    blocks: list[Block] = [drawn["timeline"], _phases(results), _times(results)]
    said = [(phase, gate) for phase in results.phases for gate in phase.gates]
    if said:
        columns: tuple[Column, ...] = (
            Column("Phase", share=3),
            Column("Gate", share=2),
            Column("Said", share=1),
            Column("Reason", share=9),
        )
        blocks.append(table(columns, (_gate(phase, gate) for phase, gate in said), "What gates said"))
    released = [(phase, gate) for phase, gate in said if gate.released is not None]
    if released:
        columns = (
            Column("Phase", share=3),
            Column("Gate", share=2),
            Column("By", share=3),
            Column("On", share=3),
            Column("Reason", share=6),
        )
        rows = (_release(phase, gate) for phase, gate in released)
        blocks.append(table(columns, rows, "Released by the operator, each signed"))
    else:
        blocks.append(paragraph("No gate that held was released."))
    return Section("2", "Timeline and gates", tuple(blocks), apart=True)


def _phases(results: Results) -> Block:
    columns = (
        Column("Phase", share=5),
        Column("Banks", "right", share=2),
        Column("Balanced accuracy, alone", "right", share=4),
        Column("federated", "right", share=4),
        Column("Transfer saved", "right", share=3),
        Column("ε", "right", share=4),
        Column("Gates", share=4),
        Column("Status", share=3),
    )
    return table(columns, (_row(phase) for phase in results.phases), "What phases came to")


def _row(phase: PhaseResult) -> list[Words]:
    found = next((one for one in phase.compared if one.figure == "balanced_accuracy"), None)
    own = next((way.balanced_accuracy for way in phase.ways if way.way == "federated"), None)
    saved = phase.transfer.vs_csv
    return [
        f"↳ {phase.name}" if phase.within else phase.name,
        number(phase.took_part.banks),
        NONE if found is None else share(found.alone.value),
        NONE if own is None else share(own.value),
        NONE if saved is None else share(saved.value),
        NONE if phase.spent.promised is None else epsilon(phase),
        gates_in_short(phase),
        phase.status,
    ]


def _times(results: Results) -> Block:
    columns = (
        Column("Phase", share=4),
        Column("Kind", share=3),
        Column("First record", share=4),
        Column("Last record", share=4),
        Column("Status", share=3),
    )
    rows: list[list[Words]] = [
        [
            f"↳ {phase.name}" if phase.within else phase.name,
            phase.kind,
            minute(phase.began),
            minute(phase.ended),
            phase.status,
        ]
        for phase in results.phases
    ]
    return table(columns, rows, "When")


def _gate(phase: PhaseResult, gate: Gate) -> list[Words]:
    said = Text(gate.outcome, "strong" if gate.outcome != "pass" else "plain")
    return [phase.name, gate.name, (said,), gate.reason]


def _release(phase: PhaseResult, gate: Gate) -> list[Words]:
    word = gate.released
    return [phase.name, gate.name, *((NONE, NONE, NONE) if word is None else (word.by, minute(word.at), word.reason))]
