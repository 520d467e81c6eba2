"""What monitoring saw and did, inside of its phase's section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fraudfl.report.blocks import Block, Column, Heading, Picture, Text, Words, paragraph, table
from fraudfl.report.words import NONE, count_of, number
from fraudfl.results.kinds import Action, Alert, WatchedWindow, Watching
from fraudfl.results.spelling import estimate, share


def monitoring(phase: str, found: Watching, drawn: Mapping[str, Picture]) -> Iterator[Block]:
    """Windows, alerts, and what rules did."""
    yield paragraph(
        f"{number(len(found.windows))} of {count_of(found.planned, 'window')} watched; the first {found.quiet} are the "
        "reference that later ones are compared with."
    )
    for name in (f"{phase}-windows", f"{phase}-drift"):
        if name in drawn:
            yield drawn[name]
    yield Heading("Alerts")
    if found.alerts:
        columns: tuple[Column, ...] = (
            Column("Day", share=3),
            Column("Rule", share=3),
            Column("Severity", share=2),
            Column("Reason", share=9),
        )
        yield table(columns, map(_alert, found.alerts))
    else:
        yield paragraph("None.")
    yield Heading("Challengers and rollbacks")
    if found.actions:
        columns = (
            Column("Day", share=3),
            Column("What", share=5),
            Column("After alert", share=3),
            Column("Reason", share=8),
        )
        yield table(columns, map(_action, found.actions))
    else:
        yield paragraph("None.")
    yield Heading("Windows")
    columns = (
        Column("Begins", share=3),
        Column("Model", "right"),
        Column("Rows", "right"),
        Column("Largest PSI", share=4),
        Column("Alerts", "right"),
        Column("AUPRC", "right", share=4),
        Column("Missed", "right", share=4),
    )
    yield table(
        columns, map(_window, found.windows), "Missed: frauds that the alert budget misses, against quiet windows"
    )


def _alert(one: Alert) -> list[Words]:
    return [one.day, one.rule, (Text(one.severity, "plain" if one.severity == "info" else "strong"),), one.reason]


def _action(one: Action) -> list[Words]:
    if one.action == "rollback":
        said = f"back to version {one.version}" if one.done else "nothing to go back to"
    else:
        model = "no model" if one.version is None else f"version {one.version}"
        said = f"challenger {one.phase}, {model}: {'became champion' if one.done else 'did not win'}"
    return [one.day, (Text(said, "strong" if one.done else "plain"),), one.alert, one.reason]


def _window(one: WatchedWindow) -> list[Words]:
    worst = max(one.drifts, key=lambda drift: drift.psi, default=None)
    return [
        one.first,
        str(one.model),
        number(one.rows),
        NONE if worst is None else f"{worst.psi:.3f} {worst.name}",
        NONE if one.alert_rate is None else share(one.alert_rate.value),
        estimate(one.auprc),
        estimate(one.missed),
    ]
