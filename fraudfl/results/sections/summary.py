"""Section 1: the whole report on one page, for those who decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fraudfl.metrics.figures import FigureName
from fraudfl.report.blocks import Block, Column, Paragraph, Picture, Section, Table, Text, Words, paragraph, seen, table
from fraudfl.report.words import count_of, day, listed, minute, number, size
from fraudfl.results.facts import PhaseResult, Results
from fraudfl.results.measured import Compared
from fraudfl.results.spelling import FIGURE_NAMES, PERCENT, SOURCES, WAY_NAMES, epsilon, estimate, share

_HEADLINE: tuple[FigureName, ...] = ("balanced_accuracy", "auprc", "recall_at_budget")


def summary(results: Results, drawn: Mapping[str, Picture]) -> Section:
    """What the federation gives, what it saves, what it costs, and what the gates say."""
    blocks: list[Block] = [_opening(results), *_problems(results)]
    found = results.of_headline
    if found is not None:
        blocks += [_headline(found), _transfer(found), _privacy(found)]
        blocks += [drawn[name] for name in (f"{found.name}-figures",) if name in drawn]
    else:
        blocks.append(paragraph("No phase has set federated training beside training alone yet."))
    blocks += [*_in_use(results), *_waiting(results)]
    return Section("1", "Summary", tuple(blocks))


def _opening(results: Results) -> Paragraph:
    kinds = [phase.name for phase in results.phases if not phase.within]
    first, last = day(results.first), day(results.last)
    when = f"on {first}" if first == last else f"between {first} and {last}"
    simulated = " The banks were simulated on one machine." if results.setting == "simulation" else ""
    return paragraph(
        f"This report states what the phases of consortium {results.subject.consortium} came to {when}: "
        f"{listed(kinds)}. Each figure stands beside its 95 % interval and says where it comes from.{simulated}"
    )


def _problems(results: Results) -> Iterator[Paragraph]:
    for problem in results.problems:
        yield paragraph(Text("Record not in order. ", "strong"), seen(problem), boxed=True)


def _headline(phase: PhaseResult) -> Table:
    columns = (
        Column("Figure", share=5),
        Column("Best alone", share=3),
        Column("Alone", "right", share=5),
        Column("Federated", "right", share=5),
        Column("Gain", "right", share=6),
    )
    found = {one.figure: one for one in phase.compared}
    rows = [_compared(found[name]) for name in _HEADLINE if name in found]
    source = "" if phase.source is None else f" ({phase.source})"
    return table(columns, rows, f"Phase {phase.name}: federated against training alone, on later transactions{source}")


def _compared(one: Compared) -> list[Words]:
    percent = one.figure in PERCENT
    gain = estimate(one.gain, percent=percent, signed=True)
    return [
        FIGURE_NAMES[one.figure],
        "network" if one.rival == "alone" else "XGBoost",
        estimate(one.alone, percent=percent),
        (Text(estimate(one.federated, percent=percent), "strong"),),
        (Text(gain, "strong"),),
    ]


def _transfer(phase: PhaseResult) -> Paragraph:
    moved = phase.transfer
    sent = f"{size(moved.up)} up and {size(moved.down)} down"
    if moved.vs_csv is None:
        return paragraph(
            Text("Data transferred: ", "strong"), f"{sent}; the raw data stays at the banks, and its size is not known."
        )
    return paragraph(
        Text(f"Data transfer saved: {estimate(moved.vs_csv, percent=True)}", "strong"),
        f" of the banks' training data as CSV, the interval being over banks; {share(moved.vs_parquet)} of it as "
        f"compressed Parquet; {share(moved.worst)} of CSV at the bank that saved least. All messages are counted, both "
        f"ways: {sent}.",
    )


def _privacy(phase: PhaseResult) -> Paragraph:
    spent, part = phase.spent, phase.took_part
    summed = " The coordinator saw sums over banks only." if spent.secure_aggregation else ""
    banks = f"{number(part.banks)} of {count_of(part.asked, 'bank')} took part."
    if spent.promised is None:
        return paragraph(Text("Privacy: ", "strong"), f"the phase promises none.{summed} {banks}")
    uncovered = f" Not covered by ε: {listed(spent.not_covered)}." if spent.not_covered else ""
    return paragraph(
        Text(f"Privacy: ε {epsilon(phase)}", "strong"),
        f" at δ = {spent.delta:g} per {spent.unit}, mode {spent.mode}.{summed}{uncovered} {banks} ",
    )


def _in_use(results: Results) -> Iterator[Paragraph]:
    """Which model is the consortium's now, and what monitoring said of it."""
    if results.decisions:
        last = results.decisions[-1]
        made = next((one.phase for one in results.models if one.version == last.champion), "")
        by = f" of phase {made}" if made else ""
        yield paragraph(
            Text(f"Champion: version {last.champion}{by}", "strong"),
            f", by decision of {seen(last.by)} on {minute(last.at)}: {seen(last.reason)}.",
        )
    for phase in results.phases:
        if phase.watching is not None:
            found = phase.watching
            won = sum(1 for one in found.actions if one.action == "retrain" and one.done)
            back = sum(1 for one in found.actions if one.action == "rollback" and one.done)
            yield paragraph(
                Text("Monitoring: ", "strong"),
                f"{count_of(len(found.windows), 'window')} watched, {count_of(len(found.alerts), 'alert')}; "
                f"{count_of(won, 'challenger')} became champion, {count_of(back, 'rollback')}.",
            )


def _waiting(results: Results) -> Iterator[Paragraph]:
    """What keeps the consortium from going on."""
    for phase in results.phases:
        stopped = [gate for gate in phase.gates if gate.outcome != "pass" and gate.released is None]
        if phase.status in ("held", "gated"):
            said = "; ".join(f"{gate.name} says {gate.outcome}: {gate.reason}" for gate in stopped)
            yield paragraph(Text(f"Phase {phase.name} is {phase.status}. ", "strong"), seen(said), boxed=True)


def how_to_read() -> Section:
    """What the words and the intervals mean."""
    lines: list[Block] = [
        paragraph(
            "Alone is the better, figure by figure, of two ways to train at each bank without the others: the "
            "consortium's network and XGBoost, each with a threshold from the bank's own validation rows. Federated "
            "and alone are judged on the same later transactions of all banks; the interval of the gain is drawn in "
            "pairs over accounts, so that what is hard for both cancels."
        ),
        paragraph(
            "Balanced accuracy is the mean of the share of frauds found and the share of good transactions left alone. "
            "AUPRC is the area under the precision-recall curve; a model that guesses has the share of frauds. Recall "
            "at alert budget is the share of frauds that are among as many alerts as analysts can look at."
        ),
        paragraph(
            f"Sources. {SOURCES['exact'].capitalize()}. {SOURCES['released'].capitalize()}. Bytes, counts of banks "
            f"and spends are exact. {WAY_NAMES['pooled'].capitalize()} is what all rows on one machine would give; it "
            "exists in simulation only."
        ),
    ]
    return Section("5", "How to read it", tuple(lines))
