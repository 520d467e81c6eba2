"""The coordinator's Flower ServerApp, for simulation: runs the phase that the run's configuration names."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.phases.assembly import PhaseRun
from server.rounds.flower_fleet import FlowerFleet
from server.store.workspace import Workspace

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the phase; its outcome is a file, never an exit code."""
    workspace = Workspace(Path(str(context.run_config["workspace"])))
    folder = workspace.phase(str(context.run_config["phase"]))
    banks = len(folder.roster() or ())
    PhaseRun(workspace, folder, simulated=True).run(lambda: FlowerFleet.discover(grid, banks), banks)
