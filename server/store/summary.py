"""summary.json: what a run did, rewritten whole after every phase, also on failure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fraudfl.config import AnyPhase, FraudflConfig
from fraudfl.errors import CheckpointError
from fraudfl.plan import Plan
from fraudfl.transfer.savings import TransferSummary
from pipelines.world import State
from server.store.checkpoint import FileCheckpoints
from server.store.workspace import PhaseFolder, Workspace, write_json

_OWN_SECTIONS = frozenset({"assessment", "monitoring", "early_stop", "savings_over_banks", "drift"})
"""What an outcome holds beyond the summary, by kind of phase or where the phase asks for it."""
_FOR_GATES = frozenset({"fairness", "gain_bins", "personalised"})


def write_summary(config: FraudflConfig, workspace: Workspace, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Write and return the summary."""
    phases = [_for_others(outcome) for outcome in outcomes]
    summary = {"consortium": config.consortium.name, "data": config.data.source, "phases": phases}
    write_json(workspace.summary_file, summary)
    return summary


def _for_others(outcome: dict[str, Any]) -> dict[str, Any]:
    """The outcome in the summary's agreed form; what only gates look at stays with the phase."""
    shown = {name: value for name, value in outcome.items() if name not in _OWN_SECTIONS}
    metrics = outcome["metrics"]
    if metrics is None:
        return shown
    return shown | {"metrics": {name: value for name, value in metrics.items() if name not in _FOR_GATES}}


def unfinished_outcome(phase: AnyPhase, folder: PhaseFolder, roster: int) -> dict[str, Any]:
    """The outcome of a phase that ended before it could say anything itself: what its last checkpoint knows."""
    plan_file = folder.path / "plan.json"
    try:
        checkpoint = FileCheckpoints(folder.checkpoints).latest()
    except CheckpointError:
        checkpoint = None
    plan = Plan.from_json(plan_file.read_bytes()) if plan_file.exists() else None
    state = State.from_checkpoint(checkpoint)[0] if checkpoint else State()
    return {
        "name": phase.name,
        "kind": phase.kind,
        "status": "failed",
        "roster": roster,
        "banks": len(state.took_part),
        "rounds": state.round,
        "plan_hash": plan.hash if plan else "",
        "model_version": None,
        "excluded": state.excluded,
        "gates": [],
        "metrics": None,
        "privacy": {
            "mode": phase.privacy.mode,
            "unit": phase.privacy.unit,
            "delta": phase.privacy.delta if phase.privacy.mode != "none" else None,
            "epsilon_max": None,
            "secure_aggregation": phase.secure_aggregation is not None,
            "not_covered": list(plan.not_covered) if plan else [],
        },
        "transfer": asdict(TransferSummary(state.meter.bytes_up, state.meter.bytes_down, 0, 0, 0.0, 0.0, 0.0)),
        "seconds": state.seconds,
    }
