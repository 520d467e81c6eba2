"""From an assessment to what comes after it: plans of later phases follow the schema that was negotiated."""

from __future__ import annotations

from collections.abc import Sequence

from fraudfl.assessment.estimates import Ahead
from fraudfl.assessment.negotiated import Schema, negotiated
from fraudfl.assessment.report import READINESS
from fraudfl.config import AnyPhase, AssessmentConfig, FraudflConfig, PhaseConfig
from fraudfl.data.schema import Contract
from fraudfl.errors import CheckpointError, ConfigError
from fraudfl.planning import make_plan
from server.phases.budgeting import forecast
from server.store.workspace import PhaseFolder, Workspace, read_json, write_json
from server.trust.decisions import outcome_of

_AGREED = "agreed.json"
"""In a phase's folder: the schema that it began under, and whose assessment negotiated it."""


def keep_agreed(workspace: Workspace, folder: PhaseFolder, like: PhaseFolder | None = None) -> None:
    """Fix, before a phase begins, which schema it follows: the newest completed assessment's before it.

    Args:
        workspace: The coordinator's.
        folder: The phase's.
        like: A phase whose place it takes, and whose schema it follows then.
    """
    kept = None if like is None else read_json(like.path / _AGREED)
    if kept is not None:
        write_json(folder.path / _AGREED, kept)
        return
    assessment, found = _newest(workspace, folder.path.name)
    write_json(folder.path / _AGREED, {"assessment": assessment, "schema": found})


def agreed_config(workspace: Workspace, folder: PhaseFolder) -> FraudflConfig:
    """The consortium's configuration as a phase that has begun follows it, whatever was assessed since."""
    found = (read_json(folder.path / _AGREED) or {}).get("schema")
    return workspace.config() if found is None else negotiated(workspace.config(), _schema(found, folder))


def plans_ahead(
    workspace: Workspace, name: str, contract: Contract, banks: Sequence[str], schema: Schema
) -> list[Ahead]:
    """The training phases after an assessment, as they would be planned under its schema.

    Args:
        name: The assessment's.
        banks: All that there are.
    """
    phases = workspace.phases()
    after = phases[[phase.name for phase in phases].index(name) + 1 :]
    config = negotiated(workspace.config(), schema)
    return [_ahead(config, phase, contract, banks) for phase in after if isinstance(phase, PhaseConfig)]


def _ahead(config: FraudflConfig, settings: PhaseConfig, contract: Contract, banks: Sequence[str]) -> Ahead:
    worst = forecast(config, settings, contract).worst
    try:
        taking_part = len(settings.banks.choose(banks, config.consortium.seed))
    except ConfigError:
        # More are asked for than there are yet; the phase itself will say so when it begins.
        taking_part = len(banks)
    return Ahead(
        plan=make_plan(config, settings, contract),
        banks=taking_part,
        cohort=settings.cohort,
        epsilon=None if worst is None else worst.epsilon,
        asked=_asked(settings),
    )


def _asked(settings: AnyPhase) -> float | None:
    """The most that a phase's gates ask of the lower end of a gain in AUPRC."""
    return max(
        (
            gate.at_least
            for gate in settings.gates
            if gate.measure.startswith("gain_over_") and gate.measure.endswith(".auprc") and gate.at_least is not None
        ),
        default=None,
    )


def _newest(workspace: Workspace, name: str) -> tuple[str | None, dict[str, object] | None]:
    """Name and schema of the newest assessment before a phase that came to its end."""
    found: tuple[str | None, dict[str, object] | None] = (None, None)
    for settings in workspace.phases():
        if settings.name == name:
            break
        folder = workspace.phase(settings.name)
        if not isinstance(settings, AssessmentConfig) or folder.result() is None:
            continue
        readiness = read_json(folder.path / READINESS)
        if outcome_of(workspace, settings.name)["status"] == "completed" and readiness is not None:
            found = (settings.name, readiness["schema"])
    return found


def _schema(facts: object, folder: PhaseFolder) -> Schema:
    try:
        return Schema.model_validate(facts)
    except ValueError as error:
        raise CheckpointError(
            f"{folder.path}: the schema that phase {folder.path.name} follows cannot be read ({error}); restore the "
            "assessment's readiness.json"
        ) from error
