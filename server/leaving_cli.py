"""What `fraudfl bank remove --unlearn` prints: what was touched, what is done about it, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console

from fraudfl.trust.departure import Departure, TouchedPhase
from server.workspace import Workspace

_out = Console(emoji=False, highlight=False)


def unlearn(workspace: Path, bank: str, by: str | None, reason: str | None, rounds: int | None) -> None:
    """Remove a bank, and make ready what trains the model again without it.

    Raises:
        typer.BadParameter: when nobody is named who decides, or no reason.
        FraudflError: as `server.unlearning.Unlearning` raises it.
    """
    if by is None or reason is None:
        raise typer.BadParameter(
            "a departure is signed with who decided and why; give both", param_hint="--by, --reason"
        )
    # Imported on use: MLflow takes seconds.
    from server.unlearning import Unlearning

    place = Workspace(workspace)
    leaving = Unlearning(place, bank, rounds)
    record, roster = leaving.carry_out(by, reason)
    count = len(roster.members)
    _say(f"bank {bank} is off the roster, now number {roster.number} with {count} bank{'' if count == 1 else 's'}")
    for line in _touched(record):
        _say(line)
    if record.retraining is None:
        return
    if leaving.retraining is not None:
        from server.assessing import agreed_config
        from server.budgeting import forecast
        from server.privacy_cli import show_forecast

        again = leaving.retraining
        config = agreed_config(place, place.phase(again.replaces))
        show_forecast(forecast(config, again.settings, again.plan.contract))
        if again.rounds_done:
            left = f"rounds {again.rounds_done + 1} to {again.settings.rounds}"
            _say(f"{left} alone are run and paid for: the {again.rounds_done} before are those of {again.replaces}")
        if again.loses_rounds:
            _say(
                f"phase {again.replaces} had gone on from {again.origin}; this one begins earlier and has its "
                f"{again.settings.rounds} rounds alone; --rounds gives it more"
            )
    for line in _next(place, record):
        _say(line)


def _touched(record: Departure) -> Iterator[str]:
    if not record.phases:
        yield "it released nothing that is on record here: there is nothing to unlearn"
        return
    yield f"what it released is in {', '.join(map(_in_words, record.phases))}"
    if record.versions:
        numbers = ", ".join(str(one.number) for one in record.versions)
        yield f"models that hold it: {_versions(len(record.versions))} {numbers}; `fraudfl models list` marks them"
    if record.champion is not None:
        yield f"version {record.champion} is the champion, and stays in use until another is promoted"
    if record.retraining is None:
        yield "no model has to be trained again: the newest holds nothing of it, or none was trained"


def _in_words(phase: TouchedPhase) -> str:
    if not phase.traces:
        return f"{phase.name} (went on from {phase.origin})"
    reaches = sorted({str(trace.reach) for trace in phase.traces})
    return f"{phase.name} ({', '.join(reaches)})"


def _versions(count: int) -> str:
    return "version" if count == 1 else "versions"


def _next(workspace: Workspace, record: Departure) -> Iterator[str]:
    encoder = "with an encoder fitted anew" if record.clean is None or record.clean.public else "with the encoder there"
    yield f"phase {record.retraining} trains again from {record.clean}, {encoder}, in place of {record.replaces}"
    if workspace.bank_ids():
        yield f"next: fraudfl run CONFIG -w {workspace.path} --resume"
    else:
        yield f"next: fraudfl phase start {record.retraining} -w {workspace.path}; each bank must approve its plan"
    yield (
        "then: fraudfl models promote challenger --at-least -0.02 --by NAME --reason TEXT, where a model may be that "
        "much worse, for it had one bank less to learn from"
    )


def _say(text: str) -> None:
    _out.print(text, markup=False, soft_wrap=True)
