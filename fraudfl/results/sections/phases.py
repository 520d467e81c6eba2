"""Section 3: each phase: what it did, its figures, who took part, what was transferred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fraudfl.report.blocks import Block, Column, Heading, Picture, Section, Text, Words, facts, paragraph, table
from fraudfl.report.words import count_of, number, size
from fraudfl.results.facts import PhaseResult, Results
from fraudfl.results.measured import Contender
from fraudfl.results.sections.assessment import assessment
from fraudfl.results.sections.monitoring import monitoring
from fraudfl.results.spelling import FIGURE_NAMES, KIND_NAMES, PERCENT, SOURCES, WAY_NAMES, epsilon, estimate, share


def phases(results: Results, drawn: Mapping[str, Picture]) -> Iterator[Section]:
    """One section for all, and one below it for each phase."""
    blocks = [drawn[name] for name in ("savings",) if name in drawn]
    yield Section("3", "Phases", tuple(blocks), apart=True)
    for place, phase in enumerate(results.phases, start=1):
        told = _phase(phase, drawn, headline=phase.name == results.headline)
        yield Section(f"3.{place}", f"Phase {phase.name}", tuple(told))


def _phase(phase: PhaseResult, drawn: Mapping[str, Picture], *, headline: bool) -> Iterator[Block]:
    yield facts(_identity(phase))
    if phase.readiness is not None:
        yield from assessment(phase.readiness)
    if phase.watching is not None:
        yield from monitoring(phase.name, phase.watching, drawn)
    if phase.ways:
        yield Heading("Figures")
        yield _figures(phase)
        if not headline:
            yield from _picture(drawn, f"{phase.name}-figures")
        yield from _gains(phase, drawn)
    if phase.rounds:
        yield Heading("Rounds")
        yield from _picture(drawn, f"{phase.name}-rounds")
    yield Heading("Who took part")
    yield paragraph(_took_part(phase))
    yield Heading("Transfer")
    yield from _transfer(phase)


def _identity(phase: PhaseResult) -> Iterator[tuple[str, Words]]:
    yield "Kind of phase", phase.kind + (f", started by {phase.within}" if phase.within else "")
    yield "Status", phase.status
    yield "Plan hash", Text(phase.plan_hash, "code")
    if phase.start:
        yield "Trained from", phase.start
        yield "Rounds", f"{number(len(phase.rounds))} of {number(phase.rounds_planned)}"
    spent = phase.spent
    unit = "" if spent.promised is None else f" at δ = {spent.delta:g} per {spent.unit}, mode {spent.mode}"
    yield "ε", epsilon(phase) + unit
    yield "Not covered by ε", _uncovered(phase)
    yield "Coordinator saw", "sums over banks only" if spent.secure_aggregation else "what each bank released"
    if phase.version is not None:
        yield "Model", f"version {phase.version}"
    if phase.promotion is not None:
        said = "became champion" if phase.promotion.done else "did not become champion"
        yield "Promotion", f"{said}: {phase.promotion.reason}"
    yield "Time", f"{number(round(phase.seconds))} s"


def _uncovered(phase: PhaseResult) -> Words:
    if phase.spent.promised is None:
        return "everything: no ε is promised"
    names = phase.spent.not_covered
    return Text(", ".join(names), "red") if names else "nothing"


def _figures(phase: PhaseResult) -> Block:
    columns = (Column("Trained", share=3), *(Column(FIGURE_NAMES[name], "right", share=4) for name in FIGURE_NAMES))
    source = "" if phase.source is None else SOURCES[phase.source]
    return table(columns, (_way(way) for way in phase.ways), f"With 95 % intervals; {source}")


def _way(way: Contender) -> list[Words]:
    figures = (estimate(way.figure(name), percent=name in PERCENT) for name in FIGURE_NAMES)
    return [WAY_NAMES[way.way], *figures]


def _gains(phase: PhaseResult, drawn: Mapping[str, Picture]) -> Iterator[Block]:
    found, banks = phase.gains, phase.took_part.banks
    if found is not None and not found.tell(banks):
        yield paragraph(
            f"Banks were counted by what they gained, but the noise in each count has a standard deviation of "
            f"{found.noise:.0f}, and {count_of(banks, 'bank')} took part: nothing can be read from it."
        )
    yield from _picture(drawn, f"{phase.name}-gain")


def _took_part(phase: PhaseResult) -> str:
    part = phase.took_part
    said = f"{number(part.banks)} of {count_of(part.asked, 'bank')} took part"
    if part.fewest is not None and part.median is not None and part.most is not None:
        spread = f"{number(part.fewest)}, {number(part.median)} and {number(part.most)}"
        said += f", in {spread} rounds (fewest, median, most)"
    return f"{said}. Left out of a round: {count_of(part.left_out, 'time')}."


def _transfer(phase: PhaseResult) -> Iterator[Block]:
    moved = phase.transfer
    if moved.vs_csv is not None and moved.raw_csv is not None:
        yield paragraph(
            f"Saved {estimate(moved.vs_csv, percent=True)} of {size(moved.raw_csv)} as CSV (the interval is 2.5 % to "
            f"97.5 % over banks), {share(moved.vs_parquet)} against Parquet; at the worst bank {share(moved.worst)} of "
            "CSV."
        )
    else:
        yield paragraph("Nothing to compare with: the size of the banks' data is not known here.")
    columns = (Column("Messages", share=5), Column("Up", "right", share=2), Column("Down", "right", share=2))
    rows: list[list[Words]] = [
        [KIND_NAMES.get(one.kind, one.kind), size(one.up), size(one.down)] for one in moved.kinds
    ]
    rows.append([(Text("all", "strong"),), size(moved.up), size(moved.down)])
    yield table(columns, rows, "Bytes that crossed the banks' borders, measured")


def _picture(drawn: Mapping[str, Picture], name: str) -> Iterator[Picture]:
    if name in drawn:
        yield drawn[name]
