"""A whole consortium on one machine: bank folders, Flower's simulation runtime, phase after phase, the summary."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

from fraudfl.config import AnyPhase, FraudflConfig, MonitoringConfig
from fraudfl.data.schema import Contract
from fraudfl.errors import RuntimeFailure
from fraudfl.folder import BankFolder
from fraudfl.planning import make_plan
from pipelines.gates import STATUS
from server.local.banks import create_banks
from server.local.runtime import SimulationRuntime
from server.models.departures import closed, departures, gone
from server.phases.preparing import choose_banks, prepare
from server.store.events import EventReader
from server.store.summary import unfinished_outcome, write_summary
from server.store.workspace import PhaseFolder, Workspace
from server.trust.decisions import outcome_of

JUDGED = frozenset(STATUS.values())
"""Statuses of phases that came to their end."""
LOOK_SECONDS = 0.1
STATUS_SECONDS = 10.0


class View(Protocol):
    """Who watches a run."""

    def tell(self, text: str) -> None:
        """One line about what happens now."""
        ...

    def begin(self, phase: AnyPhase) -> None:
        """A phase begins."""
        ...

    def show(self, event: dict[str, Any]) -> None:
        """Something happened in the phase."""
        ...

    def end(self, outcome: dict[str, Any]) -> None:
        """The phase ended."""
        ...


class Simulation:
    """One run of a consortium in one workspace."""

    def __init__(self, config: FraudflConfig, workspace: Workspace, view: View, base: Path) -> None:
        """Prepare; `base` is the folder that relative data paths start from."""
        self._config = config
        self._workspace = workspace
        self._view = view
        self._base = base
        self._outcomes: list[dict[str, Any]] = []

    def run(self, *, resume: bool, days: int | None = None) -> dict[str, Any]:
        """Run all phases that are not completed yet; stops at the first that does not complete, or that a gate stops.

        Args:
            resume: Go on with the run that the workspace holds.
            days: Play only so many days of each monitoring phase; it can be gone on with.

        Raises:
            FraudflError: when something failed; the summary has been written then.
            KeyboardInterrupt: when the user interrupted; likewise.
        """
        self._workspace.open(self._config, resume=resume)
        try:
            self._prepare()
            todo = self._todo(days)
            if todo and self._open():
                self._view.tell("starting Flower's simulation runtime")
                with SimulationRuntime(self._workspace.path / "runtime") as runtime:
                    for phase in todo:
                        if isinstance(phase, MonitoringConfig):
                            self._workspace.phase(phase.name).set_days(days)
                        self._one_phase(runtime, phase)
                        if not self._open():
                            break
        except BaseException as error:
            self._ended_by(error)
            raise
        return self._write_summary()

    def _phases(self) -> list[AnyPhase]:
        """The phases that are run by themselves; a challenger is run by the monitoring phase that started it."""
        return [phase for phase in self._workspace.phases() if self._workspace.within(phase.name) is None]

    def _write_summary(self) -> dict[str, Any]:
        """The summary of everything so far: challengers stand before the monitoring phase that they belong to."""
        told: list[dict[str, Any]] = []
        for outcome in self._outcomes:
            names = [phase.name for phase in self._workspace.phases()]
            inner = [name for name in names if self._workspace.within(name) == outcome["name"]]
            told += [found for name in inner if (found := self._workspace.phase(name).result()) is not None]
            told.append(outcome)
        return write_summary(self._config, self._workspace, told)

    def _ended_by(self, error: BaseException) -> None:
        """Write the summary of a run that did not come to its end; the phase that was next says why."""
        told = {outcome["name"] for outcome in self._outcomes if outcome["status"] == "completed"}
        phase = next((phase for phase in self._phases() if phase.name not in told), None)
        if phase is None:
            return
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        folder = self._workspace.phase(phase.name)
        banks = len(folder.roster() or self._workspace.bank_ids())
        self._finish((folder.result() or unfinished_outcome(phase, folder, banks)) | {"status": status})

    def _prepare(self) -> None:
        if not self._workspace.bank_ids():
            create_banks(self._config, self._workspace, self._base, self._view.tell)
        for phase in self._workspace.phases():
            # What cannot be planned, or has no banks, is found before anything starts.
            make_plan(self._config, phase, self._contract)
            choose_banks(self._workspace, phase, self._workspace.bank_ids())

    @property
    def _contract(self) -> Contract:
        return BankFolder(self._workspace.banks / self._workspace.bank_ids()[0]).contract

    def _todo(self, days: int | None) -> list[AnyPhase]:
        """Phases that are left; those that train again without a bank that left come first: others may need them."""
        again = {new.phase for one in departures(self._workspace) for new in one.retraining}
        left = [phase for phase in self._phases() if not self._already(phase, days)]
        return sorted(left, key=lambda phase: phase.name not in again)

    def _already(self, phase: AnyPhase, days: int | None) -> bool:
        outcome, reason = self._workspace.phase(phase.name).result(), closed(self._workspace, phase.name)
        if reason:
            self._outcomes.extend([] if outcome is None else [outcome])
            self._view.tell(reason)
            return True
        if outcome is None or outcome["status"] not in JUDGED:
            return False
        if (outcome.get("monitoring") or {}).get("left") and days != self._workspace.phase(phase.name).days():
            # It was played for some days only, and now for others.
            return False
        self._outcomes.append(outcome_of(self._workspace, phase.name))
        self._view.tell(f"phase {phase.name} came to its end before: {outcome['status']}")
        return True

    def _open(self) -> bool:
        """Whether no gate stops the consortium; a phase whose place another takes stops nothing."""
        stopped = [outcome["name"] for outcome in self._outcomes if outcome["status"] != "completed"]
        return all(closed(self._workspace, name) for name in stopped)

    def _one_phase(self, runtime: SimulationRuntime, phase: AnyPhase) -> None:
        folder = prepare(self._workspace, phase, self._contract, self._workspace.bank_ids())
        # Whoever left since the phase began is not asked, as nobody could ask a real bank that is off the roster.
        folder.set_roster(sorted(set(folder.roster() or ()) - set(gone(self._workspace))))
        folder.clear_result()
        events = EventReader(folder.events)
        self._view.begin(phase)
        run_id = runtime.start_run(
            len(folder.roster() or ()), {"workspace": str(self._workspace.path), "phase": phase.name}
        )
        self._finish(self._watch(runtime, run_id, folder, events))

    def _finish(self, outcome: dict[str, Any]) -> None:
        self._outcomes.append(outcome)
        self._write_summary()
        self._view.end(outcome)

    def _watch(
        self, runtime: SimulationRuntime, run_id: int, folder: PhaseFolder, events: EventReader
    ) -> dict[str, Any]:
        """Show events until the phase has ended; Flower's own word is asked now and then, in case a process died."""
        ask_flower = time.monotonic() + STATUS_SECONDS
        while True:
            for event in events.new():
                self._view.show(event)
                ask_flower = time.monotonic() + STATUS_SECONDS
                if event["event"] == "failed":
                    raise RuntimeFailure(event["reason"])
                if event["event"] == "completed":
                    outcome = folder.result()
                    assert outcome is not None  # written before the event
                    return outcome
            if not runtime.alive:
                raise RuntimeFailure(f"Flower's SuperLink ended by itself:\n{runtime.log_tail()}")
            if time.monotonic() > ask_flower:
                status, details = runtime.run_status(run_id)
                if status.startswith("finished") and not folder.result():
                    raise RuntimeFailure(f"Flower ended the run: {status} {details}\n{runtime.log_tail()}")
                ask_flower = time.monotonic() + STATUS_SECONDS
            time.sleep(LOOK_SECONDS)
