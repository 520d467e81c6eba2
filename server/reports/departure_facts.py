"""What a consortium's report states about banks that left: from the signed records, and from how things stand now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fraudfl.report.departures import Departed, Retraining, TouchedModel, TouchedPhase
from fraudfl.report.facts import Phase
from fraudfl.trust.departure import Departure
from server.models.departures import departures, exports_of
from server.models.registered import registered
from server.models.versions import Version
from server.store.workspace import Workspace


def departed(workspace: Workspace, phases: tuple[Phase, ...]) -> tuple[Departed, ...]:
    """Every bank that left and was unlearned.

    Args:
        phases: As the report states them.

    Raises:
        TrustError: when the record of departures was altered.
        FraudflError: when the registry cannot be read.
    """
    records = departures(workspace)
    versions = {one.number: one for one in registered(workspace)} if records else {}
    stated = {phase.name: phase for phase in phases}
    return tuple(_departed(workspace, one, versions, stated.get) for one in records)


def _departed(
    workspace: Workspace,
    record: Departure,
    versions: dict[int, Version],
    stated: Callable[[str], Phase | None],
) -> Departed:
    models = tuple(
        TouchedModel(
            version=one.number,
            digest=one.digest,
            aliases=versions[one.number].aliases if one.number in versions else (),
            exported=exports_of(workspace, one.number, one.digest),
        )
        for one in record.versions
    )
    touched = tuple(
        TouchedPhase(
            name=one.name,
            plan_hash=one.plan_hash,
            trains=one.trains,
            began_at=str(one.origin),
            traces=one.traces,
        )
        for one in record.phases
    )
    return Departed(
        bank=record.bank,
        at=record.at,
        by=record.by,
        reason=record.reason,
        roster=record.roster,
        phases=touched,
        models=models,
        retraining=tuple(_retraining(record, versions, stated)),
    )


def _retraining(
    record: Departure, versions: dict[int, Version], stated: Callable[[str], Phase | None]
) -> Iterator[Retraining]:
    clean, first = record.clean, True
    for again in record.retraining:
        assert clean is not None  # where something is run again, it begins somewhere
        phase = stated(again.phase)
        made = [one for one in versions.values() if phase is not None and one.plan_hash == phase.plan_hash]
        version = made[-1] if made else None
        spending = None if phase is None else phase.spending
        done = phase.trained.rounds_done if phase is not None and phase.trained is not None else 0
        yield Retraining(
            phase=again.phase,
            replaces=again.replaces,
            plan_hash="" if phase is None else phase.plan_hash,
            began_at=str(clean) if first else "the model of the phase before",
            encoder=("fitted anew" if clean.public else "kept") if first else "of the phase before",
            status="not begun" if phase is None else phase.status,
            rounds=max(0, done - (clean.round or 0)) if first else done,
            banks=0 if phase is None else sum(1 for one in phase.participants if one.accepted_at),
            version=None if version is None else version.number,
            digest="" if version is None else version.digest,
            aliases=() if version is None else version.aliases,
            epsilon=None if spending is None else spending.epsilon,
            delta=None if spending is None else spending.delta,
        )
        first = False
