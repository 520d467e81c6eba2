"""The coordinator's Flower ServerApp: puts a phase's parts together and runs it."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fraudfl.errors import FraudflError
from fraudfl.plan import Plan
from pipelines.phase import outcome_so_far, run_phase
from pipelines.world import Phase, Terms, World
from server.aggregation import build_aggregator
from server.checkpoint import FileCheckpoints
from server.events import EventLog
from server.flower_fleet import FlowerFleet
from server.pooled import LocalBanks
from server.registry import MlflowRegistry
from server.workspace import PhaseFolder, Workspace, write_json

app = ServerApp()
log = logging.getLogger(__name__)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the phase that the run's configuration names; its outcome is a file, never an exit code."""
    workspace = Workspace(Path(str(context.run_config["workspace"])))
    folder = workspace.phase(str(context.run_config["phase"]))
    events = EventLog(folder.events)
    try:
        _run(grid, workspace, folder, events)
    except FraudflError as error:
        events.event("failed", reason=str(error), kind=type(error).__name__)
        raise
    except Exception as error:
        log.exception("the phase failed")
        events.event("failed", reason=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        raise


def _run(grid: Grid, workspace: Workspace, folder: PhaseFolder, events: EventLog) -> None:
    config = workspace.config()
    settings = next(phase for phase in config.phases if phase.name == folder.path.name)
    plan = Plan.from_json((folder.path / "plan.json").read_bytes())
    pooled = LocalBanks(workspace.banks, plan, folder.instance(), folder.path)
    tracking = config.mlflow.tracking_uri or f"sqlite:///{workspace.path / 'mlflow.db'}"
    registry = MlflowRegistry(tracking, workspace.path / "mlartifacts", plan, folder.path)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    events.event("gathering", banks=len(workspace.bank_ids()))
    world = World(
        fleet=FlowerFleet.discover(grid, len(workspace.bank_ids())),
        aggregator=build_aggregator(plan.strategy),
        checkpoints=FileCheckpoints(folder.checkpoints),
        registry=registry,
        progress=events,
        pooled=pooled,
        folder=folder.path,
    )
    terms = Terms(instance=folder.instance(), quorum=settings.quorum, deadline=settings.deadline_seconds)
    phase = Phase(world=world, plan=plan, terms=terms)
    try:
        outcome = run_phase(phase, settings.baselines)
    except Exception:
        folder.set_result(_with_spend(outcome_so_far(phase), pooled, folder))
        registry.fail()
        raise
    folder.set_result(_with_spend(outcome, pooled, folder))
    events.event("completed", version=outcome["model_version"])


def _with_spend(outcome: dict[str, Any], pooled: LocalBanks, folder: PhaseFolder) -> dict[str, Any]:
    """The outcome with what the banks' ledgers say of the phase, also when it failed: what left has left."""
    spent = pooled.epsilon_spent()
    write_json(folder.path / "privacy.json", {"delta": outcome["privacy"]["delta"], "epsilon": spent})
    return outcome | {"privacy": outcome["privacy"] | {"epsilon_max": max(spent.values(), default=None)}}
