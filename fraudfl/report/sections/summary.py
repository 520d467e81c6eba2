"""Section 1: the whole report on one page, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fraudfl.report.blocks import Block, Column, Paragraph, Section, Table, Text, Words, paragraph, table
from fraudfl.report.facts import Phase, Report, Total
from fraudfl.report.words import NONE, count_of, day, eps, listed, size, small


def summary(report: Report) -> Section:
    """Who, what left, what it cost, and what is not covered."""
    blocks: list[Block] = [_opening(report), *_problems(report), _phases(report)]
    blocks += [_meaning(phase) for phase in _private(report)[:1]]
    if report.totals:
        blocks.append(_totals(report.totals))
    return Section("1", "Summary", (*blocks, *_uncovered(report)))


def _opening(report: Report) -> Paragraph:
    subject = report.subject
    releases = sum(left.releases for phase in report.phases for left in phase.left)
    sent = sum(map(_sent, report.phases))
    bank = subject.kind == "bank"
    about = f"bank {subject.name}" if bank else f"the banks of consortium {subject.consortium}"
    decided = "who approved it" if bank else "which banks accepted the plans"
    contents = sorted({content.name for phase in report.phases for left in phase.left for content in left.contents})
    what = f"What left: {listed(contents)}; never a transaction. " if releases else ""
    simulated = " The banks were simulated on one machine." if report.setting == "simulation" else ""
    return paragraph(
        f"This report states what left {about} for joint training of a fraud model {_when(report)}, what privacy that "
        f"cost, and {decided}. {count_of(len(report.phases), 'phase is', 'phases are')} on record. {what}"
        f"{count_of(releases, 'release')}, {size(sent)} in all.{simulated}"
    )


def _when(report: Report) -> str:
    first, last = day(report.first), day(report.last)
    if not report.first:
        return "so far"
    return f"on {first}" if first == last else f"between {first} and {last}"


def _sent(phase: Phase) -> int:
    if phase.measured_up is not None:
        return phase.measured_up
    return sum((left.bytes or 0) + left.bytes_resent for left in phase.left)


def _problems(report: Report) -> Iterator[Paragraph]:
    for problem in report.problems:
        yield paragraph(Text("Record not in order. ", "strong"), problem, boxed=True)


def _phases(report: Report) -> Table:
    columns = (
        Column("Phase", share=3),
        Column("Unit", share=2),
        Column("ε spent", "right"),
        Column("of cap", "right"),
        Column("δ", "right"),
        Column("ε with colluders", "right"),
        Column("Rounds", "right"),
        Column("Not covered by ε", share=4),
    )
    return table(columns, (_phase_row(phase) for phase in report.phases), "ε spent in each phase, per unit and bank")


def _phase_row(phase: Phase) -> list[Words]:
    spending, promise = phase.spending, phase.promise
    colluding = "same" if promise is not None and promise.mode == "local" else NONE
    if spending is not None and spending.epsilon_colluding is not None:
        colluding = f"{eps(spending.epsilon_colluding)} (t = {spending.colluding})"
    done = phase.trained.rounds_done if phase.trained else 0
    return [
        phase.name,
        NONE if promise is None or promise.mode == "none" else promise.unit,
        "none promised" if spending is None else eps(spending.epsilon),
        NONE if spending is None or spending.cap is None else small(spending.cap),
        NONE if spending is None else small(spending.delta),
        colluding,
        f"{done:,}",
        _uncovered_names(phase),
    ]


def _uncovered_names(phase: Phase) -> Text:
    names = sorted(
        {content.name for left in phase.left if left.releases for content in left.contents if not content.covered}
    )
    return Text(", ".join(names), "red") if names else Text("nothing")


def _private(report: Report) -> list[Phase]:
    return [phase for phase in report.phases if phase.spending is not None]


def _meaning(phase: Phase) -> Paragraph:
    spending, promise = phase.spending, phase.promise
    assert spending is not None  # only phases that promise something are explained
    assert promise is not None
    unit = "one transaction"
    if promise.unit == "account":
        unit = f"one account, of which each release uses at most {count_of(promise.unit_rows, 'transaction')},"
    factor = math.exp(min(spending.epsilon, 700.0))
    return paragraph(
        f"How to read it: whether or not {unit} was among a bank's data in phase {phase.name} changes the probability "
        f"of anything that others could see or conclude from what ε covers by a factor of at most "
        f"exp(ε) = {small(factor)}, but for a probability of δ = {small(spending.delta)}. Smaller is more private."
    )


def _totals(totals: tuple[Total, ...]) -> Table:
    columns = (
        Column("Window", share=2),
        Column("Unit", share=2),
        Column("ε spent", "right"),
        Column("cap", "right"),
        Column("left", "right"),
        Column("δ", "right"),
        Column("Composed by", share=5),
    )
    rows: list[list[Words]] = []
    for total in totals:
        spent = total.spending
        window = "all time" if total.window == "all" else f"month from {day(total.since)}"
        cap = NONE if spent.cap is None else small(spent.cap)
        rows.append([window, spent.unit, eps(spent.epsilon), cap, eps(spent.left), small(spent.delta), spent.method])
    return table(columns, rows, "ε spent over all phases")


def _uncovered(report: Report) -> Iterator[Paragraph]:
    names = report.uncovered
    if not report.phases:
        return
    if not names:
        yield paragraph(Text("Everything that left and depends on data is covered by ε.", "strong"))
        return
    yield paragraph(
        Text("Not covered by any ε: ", "red"),
        Text(listed(names), "red"),
        ". These left, or may have left, without differential privacy; no figure in this report bounds what they give "
        "away. Section 2 says how much of each left, and whether only sums over banks became visible.",
        boxed=True,
    )
