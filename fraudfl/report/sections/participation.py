"""Who took part in a phase, as the coordinator knows it; of many banks, those that missed most."""

from __future__ import annotations

from collections.abc import Iterator

from fraudfl.report.blocks import Block, Column, Heading, Words, paragraph, table
from fraudfl.report.facts import Participant, Phase
from fraudfl.report.words import eps, minute, number

MOST_ROWS = 20


def participation(phase: Phase) -> Iterator[Block]:
    """How many took part and how often, and a table of at most `MOST_ROWS` banks."""
    yield Heading("Who took part")
    banks = phase.participants
    heard = [one for one in banks if one.accepted_at]
    roster = len(banks) if phase.roster is None else phase.roster
    rounds = sorted(one.rounds for one in heard)
    spread = f" They took part in {_spread(rounds)} rounds (fewest, median, most)." if rounds else ""
    yield paragraph(
        f"{number(len(heard))} of {number(roster)} banks accepted the plan.{spread} Each bank's approval, with name "
        "and signature, is kept by that bank and is in its own report; the coordinator knows its answers alone."
    )
    if banks:
        yield table(_columns(banks), map(_row, _shown(banks)), _caption(banks))


def _columns(banks: tuple[Participant, ...]) -> tuple[Column, ...]:
    return (
        Column("Bank", share=4),
        Column("Accepted", share=4),
        Column("Rounds", "right", share=2),
        Column("Left out", "right", share=2),
        Column("ε spent", "right", share=2),
    )


def _row(one: Participant) -> list[Words]:
    return [one.bank, minute(one.accepted_at), number(one.rounds), number(one.missed), eps(one.epsilon)]


def _shown(banks: tuple[Participant, ...]) -> list[Participant]:
    if len(banks) <= MOST_ROWS:
        return list(banks)
    return sorted(banks, key=lambda one: (one.rounds, -one.missed, one.bank))[:MOST_ROWS]


def _caption(banks: tuple[Participant, ...]) -> str:
    if len(banks) <= MOST_ROWS:
        return ""
    return f"The {MOST_ROWS} banks with fewest rounds; report.json lists all {len(banks):,}"


def _spread(rounds: list[int]) -> str:
    return f"{number(rounds[0])}, {number(rounds[len(rounds) // 2])} and {number(rounds[-1])}"
