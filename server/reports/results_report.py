"""The report of results, from what the coordinator keeps: outcomes, events, checkpoints, models, decisions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fraudfl.config import AnyPhase, PhaseConfig
from fraudfl.errors import CheckpointError, TrustError
from fraudfl.folder import write_bytes
from fraudfl.plan import Plan
from fraudfl.report.facts import Subject
from fraudfl.report.heard import Heard
from fraudfl.report.problems import Problems
from fraudfl.report.rendering import render_document
from fraudfl.report.sealing import ResultsSeal, write_sealed
from fraudfl.report.software import software
from fraudfl.results import reading
from fraudfl.results.document import document
from fraudfl.results.drawn import pictures as drawn
from fraudfl.results.facts import Decision, Model, PhaseResult, Promotion, Results
from fraudfl.results.measured import Estimate
from fraudfl.results.pictures.canvas import standalone
from fraudfl.results.reading_kinds import readiness, watching
from fraudfl.trust.keys import fingerprint, load_key, now_text, public_text
from pipelines.world import State
from server.models.registered import registered
from server.models.versions import Version
from server.phases.past import origin_of
from server.reports.reporting import PACKAGES
from server.store.checkpoint import FileCheckpoints
from server.store.summary import unfinished_outcome
from server.store.workspace import PhaseFolder, Workspace
from server.trust.decision_log import DecisionLog
from server.trust.decisions import outcome_of


def report_results(
    workspace: Workspace,
    out: Path,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    *,
    pictures: Path | None = None,
) -> tuple[Path, ...]:
    """Write the report of results, signed with the operator's key where there is one.

    Args:
        workspace: The coordinator's workspace, or a simulation's.
        out: Where the files go.
        clock: Says the time.
        pictures: Where the report's pictures go, as files of their own; nowhere when absent.

    Returns:
        What was written; without a key there is no signature.

    Raises:
        CheckpointError: when the folder is no workspace, or no phase has begun there whose records can be read.
        TrustError: when the operator's key cannot be used, or a folder cannot be written.
    """
    path = workspace.coordinator / "pki" / "operator.key"
    key = load_key(path) if path.exists() else None
    signer = "" if key is None else fingerprint(public_text(key))
    results = gather_results(workspace, signer, clock)
    files = render_document(document(results), results, results.made_at)
    written = write_sealed(results, files, out, key, ResultsSeal)
    return (*written, *(() if pictures is None else _write_pictures(results, pictures)))


def _write_pictures(results: Results, folder: Path) -> Iterator[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in drawn(results).items():
            write_bytes(folder / f"{name}.svg", standalone(picture.svg).encode())
            yield folder / f"{name}.svg"
    except OSError as error:
        raise TrustError(f"{folder}: pictures cannot be written ({error.strerror}); choose another folder") from error


def gather_results(workspace: Workspace, signer: str, clock: Callable[[], datetime]) -> Results:
    """Everything that the report states; what is wrong with a part of the records is stated in it, too.

    Args:
        signer: Fingerprint of the key that will sign; empty without one.

    Raises:
        CheckpointError: as `report_results`.
    """
    problems = Problems()
    phases = tuple(_phases(workspace, problems))
    if not phases:
        told = problems.found[0] if problems.found else "no phase has begun here; run one first"
        raise CheckpointError(f"{workspace.path}: {told}")
    name = workspace.config().consortium.name
    return Results.named(
        made_at=now_text(clock()),
        setting="simulation" if workspace.bank_ids() else "deployment",
        subject=Subject(kind="consortium", name=name, consortium=name),
        signer=signer,
        first=min((phase.began for phase in phases if phase.began), default=""),
        last=max((phase.ended for phase in phases), default=""),
        software=software(PACKAGES),
        headline=_headline(phases),
        phases=phases,
        models=tuple(map(_model, problems.attempt(registered, workspace) or ())),
        decisions=problems.attempt(_decisions, workspace) or (),
        problems=problems.found,
    )


def _headline(phases: tuple[PhaseResult, ...]) -> str:
    """The last phase that set federated beside alone; challengers are for monitoring."""
    fitting = [phase.name for phase in phases if phase.compared and not phase.within]
    return fitting[-1] if fitting else ""


def _phases(workspace: Workspace, problems: Problems) -> Iterator[PhaseResult]:
    """Every phase that has begun; a challenger stands behind the monitoring phase that started it."""
    settings = workspace.phases()
    order = {phase.name: number for number, phase in enumerate(settings)}
    for phase in sorted(settings, key=lambda one: order.get(workspace.within(one.name) or one.name, 0)):
        folder = workspace.stored(phase.name)
        if folder.roster() is not None:
            found = problems.attempt(_phase, workspace, phase, folder, problems)
            if found is not None:
                yield found


def _phase(workspace: Workspace, settings: AnyPhase, folder: PhaseFolder, problems: Problems) -> PhaseResult:
    plan = Plan.from_json((folder.path / "plan.json").read_bytes())
    lines = folder.events.read_text(encoding="utf-8").splitlines() if folder.events.exists() else []
    heard, state = Heard.from_lines(lines), _state(folder)
    ended = folder.result() is not None
    outcome = outcome_of(workspace, settings.name) if ended else _unfinished(settings, folder)
    trains = isinstance(settings, PhaseConfig)
    return PhaseResult(
        name=settings.name,
        kind=settings.kind,
        within=workspace.within(settings.name) or "",
        status=str(outcome["status"]) if ended else "begun",
        plan_hash=plan.hash,
        began=heard.began,
        ended=heard.ended,
        seconds=outcome["seconds"],
        start=str(origin_of(folder)[0]) if trains else "",
        rounds_planned=plan.rounds if trains else 0,
        rounds=reading.rounds(state.history),
        took_part=reading.took_part(
            outcome, [len(one.rounds) for one in heard.banks.values() if trains and one.accepted_at]
        ),
        spent=reading.spent(outcome, plan.privacy.epsilon if plan.private else None),
        source=reading.source(outcome),
        ways=reading.ways(outcome),
        compared=reading.compared(outcome),
        gains=reading.gains(outcome),
        transfer=reading.transfer(outcome, state.meter.by_kind()),
        gates=reading.gates(outcome),
        version=outcome["model_version"],
        promotion=_promotion(lines),
        readiness=readiness(outcome["assessment"]) if outcome.get("assessment") else None,
        watching=watching(outcome["monitoring"]) if outcome.get("monitoring") else None,
    )


def _unfinished(settings: AnyPhase, folder: PhaseFolder) -> Mapping[str, Any]:
    return unfinished_outcome(settings, folder, len(folder.roster() or ()))


def _state(folder: PhaseFolder) -> State:
    checkpoint = FileCheckpoints(folder.checkpoints).latest()
    return State() if checkpoint is None else State.from_checkpoint(checkpoint)[0]


def _promotion(lines: Sequence[str]) -> Promotion | None:
    """The newest word about the phase's own model, from its events; a crash can cut one of them."""
    for line in reversed(lines):
        try:
            event = json.loads(line)
            if event["event"] == "promotion":
                return Promotion(done=event["done"], reason=event["reason"])
        except (ValueError, TypeError, KeyError):
            continue
    return None


def _model(version: Version) -> Model:
    value, ends = version.figure("auprc")
    low, high = ends or (None, None)
    return Model(
        version=version.number,
        aliases=version.aliases,
        phase=version.phase,
        parent=None if version.start is None else version.start.parent,
        digest=version.digest,
        created=version.created,
        tested=tuple(day.isoformat() for day in version.tested or ()),
        auprc=None if value is None else Estimate(value=value, low=low, high=high),
        epsilon=version.epsilon,
        banks=version.banks,
        holds=version.holds,
    )


def _decisions(workspace: Workspace) -> tuple[Decision, ...]:
    """Every signed decision about the champion, after checking signatures and order."""
    return tuple(
        Decision(
            action=one.action,
            at=one.at,
            by=one.by,
            reason=one.reason,
            champion=one.champion,
            replaced=one.replaced,
            forced=one.forced,
            figures=one.not_compared if one.comparison is None else one.comparison.difference.in_words(),
        )
        for one in DecisionLog(workspace, workspace.config().consortium.name).read()
    )
