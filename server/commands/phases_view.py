"""What assessments, starts and promotions look like in a terminal: a line for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape


def phase_line(event: dict[str, Any]) -> str | None:
    """What to say of an event; None where there is nothing to say."""
    match event["event"]:
        case "started from":
            after = f" after round {event['round']}" if "round" in event else ""
            return f"training goes on from model {event['digest'][:12]}{after}"
        case "assessed":
            left_out = ", ".join(event["left_out"])
            return f"assessed at {event['banks']} banks; " + (
                f"left out: {left_out}" if left_out else "every column stays"
            )
        case "promotion":
            said = "[green]is champion[/]" if event["done"] else "[yellow]is not promoted[/]"
            return f"the phase's model {said}: {escape(event['reason'])}"
    return None


def readiness_lines(outcome: dict[str, Any]) -> Iterator[str]:
    """An assessment in a few lines."""
    found = outcome["assessment"]
    ready, frauds = found["ready_banks"], found["windows"]["train"]["frauds"]
    yield (
        f"{_banks(ready)} of {found['banks']} banks have frauds enough to learn from; {frauds['value']:,.0f} frauds in "
        "the training window"
    )
    for one in found["schema"]["left_out"]:
        yield f"[yellow]{escape(one['column'])} is left out by later phases:[/] {escape(_why(found, one['column']))}"
    for one in found["ahead"]:
        spent = "no ε promised" if one["epsilon"] is None else f"ε {one['epsilon']:.2f}"
        moved = (one["bytes_up"] + one["bytes_down"]) / 1e6
        yield f"ahead, {one['phase']}: {one['banks']} banks, {one['rounds']} rounds, {moved:,.1f} MB, {spent}"
    yield f"power: {escape(found['power']['words'])}"


def _why(found: dict[str, Any], column: str) -> str:
    return str(next((one["reason"] for one in found["columns"] if one["column"] == column), ""))


def _banks(figure: dict[str, float]) -> str:
    """A number of banks; between which two, where noise leaves that open."""
    low, high = figure["low"], figure["high"]
    return f"{figure['value']:.0f}" if high - low < 0.5 else f"{low:.0f} to {high:.0f}"
