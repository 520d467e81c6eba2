"""Phases of a deployment: one at a time, each in a thread of the coordinator, started and stopped by the operator."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fraudfl.data.dataset import contract_of
from fraudfl.errors import FraudflError
from fraudfl.plan import Plan
from pipelines.gates import STATUS
from server.deployment.link import Link
from server.models.departures import closed
from server.phases.assembly import PhaseRun
from server.phases.preparing import prepare
from server.rounds.flower_fleet import FlowerFleet, Presence
from server.store.summary import unfinished_outcome, write_summary
from server.store.told import Told
from server.store.workspace import PhaseFolder, Workspace, read_json, write_json
from server.trust.decisions import outcome_of


class PhaseError(FraudflError):
    """A phase cannot be started, stopped or gone on with now."""


class PhaseStopped(FraudflError):  # noqa: N818 - an ending that was asked for, not a fault
    """The operator stopped the phase, or the coordinator is ending."""


class Phases:
    """Runs the phases of one workspace over one link."""

    def __init__(
        self, workspace: Workspace, link: Link, nodes: Callable[[], Mapping[str, int]], base: Path = Path()
    ) -> None:
        """Prepare.

        Args:
            nodes: Banks on the roster now, each with Flower's id of its node.
            base: Folder that relative data paths start from.
        """
        self._workspace = workspace
        self._link = link
        self._nodes = nodes
        self._base = base
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._name: str | None = None

    @property
    def running(self) -> str | None:
        """The phase under way."""
        return self._name if self._thread is not None and self._thread.is_alive() else None

    def start(self, name: str, *, resume: bool) -> None:
        """Begin a phase, or go on with one that was begun.

        Raises:
            PhaseError: when it is unknown, completed, under way, or begun and not to be resumed.
        """
        with self._lock:
            if self.running:
                raise PhaseError(f"phase {self.running!r} is under way; stop it first, or wait")
            folder = self._folder(name)
            outcome = folder.result()
            if outcome is not None and outcome["status"] in STATUS.values():
                raise PhaseError(f"phase {name!r} is {outcome['status']}")
            self._refuse_gated(name)
            begun = folder.roster() is not None
            if begun != resume:
                raise PhaseError(
                    f"phase {name!r} was begun before; `fraudfl phase resume {name}` goes on with it"
                    if begun
                    else f"phase {name!r} was not begun yet; `fraudfl phase start {name}` begins it"
                )
            self._prepare(folder)
            self._stopping.clear()
            self._name = name
            self._thread = threading.Thread(target=self._run, args=(folder,), name=f"phase {name}", daemon=True)
            self._thread.start()

    def _refuse_gated(self, name: str) -> None:
        """A gate that stops one phase stops those after it."""
        for earlier in self._names()[: self._names().index(name)]:
            if self._folder(earlier).result() is None or closed(self._workspace, earlier):
                continue
            outcome = outcome_of(self._workspace, earlier)
            if outcome["status"] in ("held", "gated"):
                raise PhaseError(
                    f"phase {earlier!r} is {outcome['status']} by a gate; `fraudfl gates show` says why, and a hold is "
                    "released by `fraudfl gates release`"
                )

    def stop(self, seconds: float = 60.0) -> None:
        """End the phase under way at its last finished round; it can be resumed.

        Raises:
            PhaseError: when none is under way, or it does not end in time.
        """
        thread = self._thread
        if thread is None or not thread.is_alive():
            raise PhaseError("no phase is under way")
        self._stopping.set()
        self._link.notice()
        thread.join(seconds)
        if thread.is_alive():
            raise PhaseError(f"the phase did not end within {seconds:g} s; it will at its next wait")

    def unfinished(self) -> list[str]:
        """Phases that were under way when the coordinator ended."""
        return [name for name in self._names() if self._wanted(name) == "running"]

    def status(self, name: str) -> dict[str, Any]:
        """How a phase stands, from what it wrote: rounds, who was heard, who is waited for and why."""
        folder = self._folder(name)
        told = Told()
        for line in folder.events.read_text().splitlines() if folder.events.exists() else ():
            told.take(json.loads(line))
        outcome = folder.result()
        begun = folder.roster() is not None
        status = "running" if self.running == name else outcome["status"] if outcome else "interrupted"
        connected = self._link.present()
        nodes = self._nodes()
        banks = folder.roster() or sorted(nodes)
        return {
            "name": name,
            "status": status if begun else "not begun",
            "plan_hash": self._plan_hash(folder),
            **told.facts(),
            "connected": {bank: nodes.get(bank) in connected for bank in banks},
        }

    def all(self) -> list[dict[str, Any]]:
        """Every phase's status, in the configuration's order."""
        return [self.status(name) for name in self._names()]

    def _names(self) -> list[str]:
        return [phase.name for phase in self._workspace.phases()]

    def _folder(self, name: str) -> PhaseFolder:
        if name not in self._names():
            raise PhaseError(f"there is no phase {name!r}; the consortium has {', '.join(self._names())}")
        return self._workspace.phase(name)

    def _plan_hash(self, folder: PhaseFolder) -> str:
        path = folder.path / "plan.json"
        return Plan.from_json(path.read_bytes()).hash if path.exists() else ""

    def _prepare(self, folder: PhaseFolder) -> None:
        """Fix the plan and who takes part: a phase that is resumed keeps both."""
        settings = self._workspace.settings(folder.path.name)
        banks = sorted(self._nodes())
        if not banks and folder.roster() is None:
            raise PhaseError("no bank is on the roster; add one with `fraudfl bank add REQUEST`")
        contract = contract_of(self._workspace.config().data, base=self._base)
        try:
            prepare(self._workspace, settings, contract, banks)
        except FraudflError as error:
            raise PhaseError(str(error)) from error

    def _run(self, folder: PhaseFolder) -> None:
        banks = folder.roster() or ()
        folder.clear_result()
        self._want(folder, "running")
        status = "failed"
        try:
            with self._link.run() as grid:
                nodes = self._nodes()
                # A bank that left the roster stays in the cohort, as one that never answers.
                fleet = FlowerFleet(
                    grid,
                    {bank: nodes.get(bank, 0) for bank in banks},
                    presence=Presence(self._link.present, self._wait),
                )
                PhaseRun(self._workspace, folder, simulated=False).run(lambda: fleet, len(banks))
            status = "completed"
        except PhaseStopped:
            status = "interrupted"
        except Exception:
            # Written down by the run; the coordinator goes on.
            status = "failed"
        finally:
            self._finish(folder, status, len(banks))

    def _finish(self, folder: PhaseFolder, status: str, banks: int) -> None:
        config = self._workspace.config()
        settings = self._workspace.settings(folder.path.name)
        outcome = folder.result() or unfinished_outcome(settings, folder, banks)
        if status == "completed":
            # What the gates made of it.
            status = outcome["status"]
        folder.set_result(outcome | {"status": status})
        outcomes = [found for name in self._names() if (found := self._workspace.phase(name).result()) is not None]
        write_summary(config, self._workspace, outcomes)
        self._want(folder, status)

    def _wait(self, seconds: float) -> None:
        if self._stopping.is_set():
            raise PhaseStopped("the phase was stopped; `fraudfl phase resume` goes on after its last finished round")
        self._link.wait(seconds)

    def _want(self, folder: PhaseFolder, status: str) -> None:
        write_json(folder.path / "state.json", {"status": status})

    def _wanted(self, name: str) -> str:
        return str((read_json(self._workspace.phase(name).path / "state.json") or {}).get("status", ""))
