"""What `fraudfl bank remove --unlearn` prints: what was touched, what is done about it, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fraudfl.command import console
from fraudfl.trust.departure import Departure, TouchedPhase
from server.store.workspace import Workspace

if TYPE_CHECKING:
    from server.phases.unlearning import Retraining

_out = console(highlight=False)


def unlearn(workspace: Path, bank: str, by: str | None, reason: str | None) -> None:
    """Remove a bank, and make ready what trains the model again without it.

    Raises:
        typer.BadParameter: when nobody is named who decides, or no reason.
        FraudflError: as `server.phases.unlearning.Unlearning` raises it.
    """
    if by is None or reason is None:
        raise typer.BadParameter(
            "a departure is signed with who decided and why; give both", param_hint="--by, --reason"
        )
    # Imported on use: MLflow takes seconds.
    from server.phases.unlearning import Unlearning

    place = Workspace(workspace)
    leaving = Unlearning(place, bank)
    record, roster = leaving.carry_out(by, reason)
    count = len(roster.members)
    _say(f"bank {bank} is off the roster, now number {roster.number} with {count} bank{'' if count == 1 else 's'}")
    for line in _touched(record):
        _say(line)
    for again in leaving.retraining:
        _show_cost(place, again)
    for line in _next(place, record) if record.retraining else ():
        _say(line)


def _show_cost(workspace: Workspace, again: Retraining) -> None:
    """What a phase costs the banks that remain."""
    from server.commands.privacy import show_forecast
    from server.phases.assessing import agreed_config
    from server.phases.budgeting import forecast

    config = agreed_config(workspace, workspace.phase(again.replaces))
    show_forecast(forecast(config, again.settings, again.contract))
    if again.rounds_done:
        left = f"rounds {again.rounds_done + 1} to {again.settings.rounds}"
        _say(f"{left} alone are run and paid for: the {again.rounds_done} before are those of {again.replaces}")


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
    if not record.retraining:
        yield "no model has to be trained again: the newest holds nothing of it, or none was trained"


def _in_words(phase: TouchedPhase) -> str:
    if not phase.traces:
        return f"{phase.name} (went on from {phase.origin})"
    reaches = sorted({str(trace.reach) for trace in phase.traces})
    return f"{phase.name} ({', '.join(reaches)})"


def _versions(count: int) -> str:
    return "version" if count == 1 else "versions"


def _next(workspace: Workspace, record: Departure) -> Iterator[str]:
    begins = str(record.clean)
    for again in record.retraining:
        yield f"phase {again.phase} trains again from {begins}, in place of {again.replaces}"
        begins = f"the model of {again.phase}"
    if workspace.bank_ids():
        yield f"next: fraudfl run CONFIG -w {workspace.path} --resume"
    else:
        names = ", then ".join(again.phase for again in record.retraining)
        yield f"next: fraudfl phase start {names}, with -w {workspace.path}; each bank must approve each plan"
    yield (
        "then: fraudfl models promote challenger --at-least -0.02 --by NAME --reason TEXT, where a model may be that "
        "much worse, for it had one bank less to learn from"
    )


def _say(text: str) -> None:
    _out.print(text, markup=False, soft_wrap=True)
