"""What an assessment found, inside of its phase's section."""

from __future__ import annotations

from collections.abc import Iterator

from fraudfl.report.blocks import Block, Column, Heading, Text, Words, facts, paragraph, seen, table
from fraudfl.report.words import listed, number, size
from fraudfl.results.kinds import Ahead, Readiness
from fraudfl.results.kinds import Column as Found
from fraudfl.results.spelling import counted, estimate


def assessment(found: Readiness) -> Iterator[Block]:
    """Readiness, the schema that was agreed on, what comes, and whether the gain can be seen."""
    yield Heading("Readiness")
    yield facts(
        [
            ("Banks that answered", number(found.banks)),
            ("with frauds enough to learn from", counted(found.ready)),
            ("Transactions", counted(found.rows)),
            ("Frauds to train on", counted(found.train_frauds)),
            ("Frauds to test on", counted(found.test_frauds)),
        ]
    )
    yield paragraph(Text("Is there enough fraud to see the gain? ", "strong"), seen(found.power))
    yield Heading("Schema that was agreed on")
    columns: tuple[Column, ...] = (
        Column("Column", share=4),
        Column("Banks", "right", share=3),
        Column("Filled", "right", share=4),
        Column("Later phases", share=7),
    )
    yield table(columns, map(_column, found.columns))
    if found.categories:
        yield facts(
            (name, listed(values) if values else "no value is kept") for name, values in found.categories.items()
        )
    if found.ahead:
        yield Heading("What comes, as it was estimated")
        columns = (
            Column("Phase", share=4),
            Column("Banks", "right"),
            Column("Rounds", "right"),
            Column("Up", "right"),
            Column("Down", "right"),
            Column("Time", "right"),
            Column("ε", "right"),
        )
        yield table(columns, map(_ahead, found.ahead))


def _column(one: Found) -> list[Words]:
    fate: Words = "use it" if one.kept else (Text("leave it out: ", "strong"), Text(one.reason))
    return [one.name, counted(one.banks), estimate(one.filled, percent=True), fate]


def _ahead(one: Ahead) -> list[Words]:
    return [
        one.phase,
        number(one.banks),
        number(one.rounds),
        size(one.up),
        size(one.down),
        f"{one.seconds:,.0f} s",
        "none promised" if one.epsilon is None else f"{one.epsilon:.3g}",
    ]
