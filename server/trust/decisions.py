"""The operator's decisions about held phases: kept beside the phase, checked, and carried out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fraudfl.errors import TrustError
from fraudfl.folder import write_bytes
from fraudfl.gates.decision import GateDecision, GateError, decide, still_holds
from fraudfl.trust.keys import load_key, read_signed
from pipelines.gates import released
from server.store.summary import write_summary
from server.store.workspace import PhaseFolder, Workspace
from server.trust.pki import Pki

_FOLDER = "decisions"


def outcome_of(workspace: Workspace, phase: str) -> dict[str, Any]:
    """A phase's outcome, with each release in it checked against the operator's signature.

    Raises:
        GateError: when there is no such phase, or it has no outcome yet.
        TrustError: when a decision was altered, or the outcome tells of a release that nobody signed.
    """
    folder = _phase_folder(workspace, phase)
    outcome = folder.result()
    if outcome is None:
        raise GateError(f"phase {phase!r} has no outcome yet; its gates are judged at its end")
    if any("released" in gate for gate in outcome["gates"]):
        _check(outcome, _decisions(workspace, folder), folder.path / "result.json")
    return outcome


def release(
    workspace: Workspace, phase: str, *, by: str, reason: str, gates: Iterable[str] = ()
) -> tuple[dict[str, Any], GateDecision]:
    """Sign, keep and carry out the decision to release a phase's holds; returns the outcome now, and the decision.

    A decision that was kept before, but not carried out because the process died, is carried out first.

    Args:
        phase: Its name.
        by: Who decides.
        reason: Why.
        gates: Names of the gates to release; all that hold when empty.

    Raises:
        GateError: when there is nothing to release, or it cannot be released.
        TrustError: when the operator's key is missing or cannot be used, or a kept decision was altered.
        ValueError: when `by` or `reason` is empty, too long, or more than a line.
    """
    folder, outcome = _phase_folder(workspace, phase), outcome_of(workspace, phase)
    kept = _decisions(workspace, folder)
    now = released(outcome, kept)
    if now != outcome and not any(still_holds(gate) for gate in now["gates"]):
        _keep_outcome(workspace, folder, now)
        return now, kept[-1]
    key = load_key(_pki(workspace).operator_key)
    decision = decide(key, folder.instance(), now, by=by, reason=reason, gates=gates)
    _keep(folder, decision)
    now = released(now, [decision])
    _keep_outcome(workspace, folder, now)
    return now, decision


def _check(outcome: dict[str, Any], decisions: list[GateDecision], origin: Path) -> None:
    """Refuse an outcome with a release that no decision is behind."""
    for gate in outcome["gates"]:
        told = gate.get("released")
        signed = [
            {"by": one.by, "reason": one.reason, "at": one.at}
            for one in decisions
            if one.covers(gate) and one.plan_hash == outcome["plan_hash"]
        ]
        if told is not None and told not in signed:
            raise TrustError(
                f"{origin}: gate {gate['name']!r} is said to be released by {told.get('by')!r}, but no decision that "
                "the operator signed says so; restore the file, or find out who edited it"
            )


def _decisions(workspace: Workspace, folder: PhaseFolder) -> list[GateDecision]:
    """What was decided about this phase instance, oldest first."""
    files = sorted((folder.path / _FOLDER).glob("*.json"))
    if not files:
        return []
    operator, instance = _pki(workspace).operator, folder.instance()
    found = [read_signed(file, GateDecision) for file in files]
    for file, decision in zip(files, found, strict=True):
        if decision.operator != operator:
            raise TrustError(f"{file}: signed by another key than this consortium's operator; do not use it")
        if (decision.phase, decision.instance) != (folder.path.name, instance):
            raise TrustError(f"{file}: is about phase {decision.phase!r}, instance {decision.instance}; expected this")
    return found


def _keep(folder: PhaseFolder, decision: GateDecision) -> None:
    data = decision.to_bytes()
    # In order of time by name; two decisions of one second do not take each other's place.
    moment = decision.at.translate({ord(sign): None for sign in ":-"})[:15]
    place = folder.path / _FOLDER
    place.mkdir(exist_ok=True)
    write_bytes(place / f"{moment}-{hashlib.sha256(data).hexdigest()[:8]}.json", data)


def _keep_outcome(workspace: Workspace, folder: PhaseFolder, outcome: dict[str, Any]) -> None:
    folder.set_result(outcome)
    config = workspace.config()
    outcomes = [found for phase in workspace.phases() if (found := workspace.phase(phase.name).result()) is not None]
    write_summary(config, workspace, outcomes)


def _phase_folder(workspace: Workspace, phase: str) -> PhaseFolder:
    names = [settings.name for settings in workspace.phases()]
    if phase not in names:
        raise GateError(f"there is no phase {phase!r}; the consortium has {', '.join(names)}")
    return workspace.stored(phase)


def _pki(workspace: Workspace) -> Pki:
    return Pki(workspace.coordinator / "pki")
