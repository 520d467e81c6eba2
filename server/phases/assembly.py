"""Puts a phase's parts together around a fleet, runs it, and leaves its outcome as a file."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from typing import Any

from fraudfl.config import AnyPhase, AssessmentConfig, MonitoringConfig, PhaseConfig
from fraudfl.errors import BundleError, DataError, FraudflError
from fraudfl.monitoring.sinks import sinks_of
from fraudfl.plan import Plan
from fraudfl.protocols import Fleet
from fraudfl.trust.keys import PrivateKey, load_key
from pipelines.assessment import run_assessment
from pipelines.gates import gated
from pipelines.monitoring import run_monitoring
from pipelines.phase import outcome_so_far, run_phase
from pipelines.world import Phase, State, Terms, World
from server.models.champion import Champion, Word
from server.models.registry import MlflowRegistry, tracking_of
from server.phases.assessing import plans_ahead
from server.phases.going_on import before_of
from server.phases.life import ConsortiumLife
from server.phases.preparing import start_of
from server.rounds.aggregation import aggregator_of
from server.rounds.pooled import LocalBanks
from server.store.checkpoint import FileCheckpoints
from server.store.events import EventLog
from server.store.workspace import PhaseFolder, Workspace, write_json
from server.trust.pki import Pki
from server.trust.receipts import Receipts, receipts_file

log = logging.getLogger(__name__)


class PhaseRun:
    """One run of one phase of a workspace, new or gone on with."""

    def __init__(self, workspace: Workspace, folder: PhaseFolder, *, simulated: bool) -> None:
        """Read the plan; `simulated` says that the banks' folders are on this machine."""
        self._workspace = workspace
        self._folder = folder
        self._events = EventLog(folder.events)
        self.plan = Plan.from_json((folder.path / "plan.json").read_bytes())
        self._config = workspace.config()
        self._settings = workspace.settings(folder.path.name)
        self._pooled = None
        if simulated:
            banks = LocalBanks(workspace.banks, self.plan, folder.instance(), folder.path)
            self._pooled = banks.only(folder.roster() or ())

    def run(self, gather: Callable[[], Fleet], banks: int) -> None:
        """Run to the end; raises what stopped it, after writing it down.

        Args:
            gather: Finds the fleet.
            banks: How many are expected.
        """
        try:
            self._run(gather, banks)
        except FraudflError as error:
            self._events.event("failed", reason=str(error), kind=type(error).__name__)
            raise
        except Exception as error:
            log.exception("the phase failed")
            self._events.event("failed", reason=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
            raise

    def _run(self, gather: Callable[[], Fleet], banks: int) -> None:
        pki = self._workspace.coordinator / "pki"
        keys = Pki(pki) if pki.exists() else None
        operator = None if keys is None else self._operator(keys)
        start = start_of(self._workspace, self._folder)
        registry = MlflowRegistry(
            tracking_of(self._config, self._workspace),
            self._workspace.path / "mlartifacts",
            self.plan,
            self._folder.path,
            operator=operator,
            start=None if start is None else start[0],
        )
        logging.getLogger("flwr").setLevel(logging.WARNING)
        self._events.event("gathering", banks=banks)
        world = World(
            fleet=gather(),
            aggregator=aggregator_of(self.plan),
            checkpoints=FileCheckpoints(self._folder.checkpoints),
            registry=registry,
            progress=self._events,
            notary=None if operator is None else Receipts(receipts_file(self._workspace), operator),
            roster=lambda: None if keys is None else keys.roster(),
            pooled=self._pooled,
            folder=self._folder.path,
        )
        phase = Phase(
            world=world,
            plan=self.plan,
            terms=terms_of(self._settings, self._folder.instance()),
            state=State(seen=self._seen_before()),
            start=None if start is None else start[1],
            before=before_of(self._folder),
        )
        try:
            outcome = self._carry_out(phase)
        except Exception:
            self._folder.set_result(self._with_spend(outcome_so_far(phase)))
            registry.fail()
            raise
        judged = gated(self._with_spend(outcome), self._settings.gates)
        if outcome["model_version"] is None:
            registry.finish(judged)
        for gate in judged["gates"]:
            self._events.event("gate", gate=gate["name"], outcome=gate["outcome"], reason=gate["reason"])
        self._folder.set_result(judged)
        self._promote(judged)
        self._events.event("completed", version=outcome["model_version"])

    def _carry_out(self, phase: Phase) -> dict[str, Any]:
        if isinstance(self._settings, PhaseConfig):
            return run_phase(phase, self._settings.baselines)
        if isinstance(self._settings, MonitoringConfig):
            return self._monitor(phase, self._settings)
        return self._assess(phase, self._settings)

    def _assess(self, phase: Phase, settings: AssessmentConfig) -> dict[str, Any]:
        roster = phase.world.roster()
        banks = phase.world.fleet.banks() if roster is None else [member.bank for member in roster.members]
        lanes = os.cpu_count() if self._pooled is not None else None
        return run_assessment(
            phase,
            settings,
            lambda schema: plans_ahead(self._workspace, settings.name, self.plan.contract, banks, schema),
            lanes=lanes,
        )

    def _monitor(self, phase: Phase, settings: MonitoringConfig) -> dict[str, Any]:
        life = ConsortiumLife(self._workspace, settings, self.plan.contract, self._nested, lambda: phase.world.fleet)
        life.check()
        sinks = sinks_of(settings.alerts, self._workspace.path)
        return run_monitoring(phase, settings, life, sinks=sinks, days=self._folder.days())

    def _nested(self, folder: PhaseFolder, fleet: Fleet) -> None:
        """Run another phase over the same fleet, within this one's time."""
        run = PhaseRun(self._workspace, folder, simulated=self._pooled is not None)
        run.run(lambda: fleet, len(folder.roster() or ()))

    def _promote(self, outcome: dict[str, Any]) -> None:
        """Make the phase's model champion, where the phase says so, its gates let it pass and it is the better one."""
        settings = self._settings
        if not isinstance(settings, PhaseConfig) or settings.promote != "if-better" or outcome["status"] != "completed":
            return
        word = Word(by=f"phase {settings.name}", reason="promote: if-better")
        try:
            verdict = Champion(self._workspace).promote(outcome["model_version"], word)
        except (BundleError, DataError) as error:
            # It is champion already, because the phase came here before; or the two cannot be compared.
            self._events.event("promotion", done=False, reason=str(error))
            return
        self._events.event("promotion", done=verdict.decision is not None, reason=verdict.reason)

    def _operator(self, keys: Pki) -> PrivateKey | None:
        """Who signs for what came and what was made; nobody, where the operator keeps that key elsewhere."""
        if keys.operator_key.exists():
            return load_key(keys.operator_key)
        self._events.event("unsigned", reason=f"{keys.operator_key} is not here: no receipts, and bundles unsigned")
        return None

    def _seen_before(self) -> dict[str, tuple[int, str]]:
        """What earlier phases have seen of each bank's ledger."""
        seen: dict[str, tuple[int, str]] = {}
        for settings in self._workspace.phases():
            checkpoint = FileCheckpoints(self._workspace.phase(settings.name).checkpoints).latest()
            if checkpoint is not None:
                for bank, last in State.from_checkpoint(checkpoint)[0].seen.items():
                    seen[bank] = max(last, seen.get(bank, (0, "")))
        return seen

    def _with_spend(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """The outcome with what was spent of ε, also when it failed: what left has left.

        In simulation the banks' ledgers say it. At banks the ledgers stay there: what is known here is what each
        bank's gate lets through at most.
        """
        if self._pooled is None:
            begun = outcome["rounds"] or (outcome["banks"] and not self.plan.trains)
            most = self.plan.privacy.epsilon if self.plan.private and begun else None
            return outcome | {"privacy": outcome["privacy"] | {"epsilon_max": most}}
        spent = self._pooled.epsilon_spent()
        write_json(self._folder.path / "privacy.json", {"delta": outcome["privacy"]["delta"], "epsilon": spent})
        return outcome | {"privacy": outcome["privacy"] | {"epsilon_max": max(spent.values(), default=None)}}


def terms_of(settings: AnyPhase, instance: str) -> Terms:
    """The coordinator's own terms of a phase."""
    return Terms(
        instance=instance,
        quorum=settings.quorum,
        deadline=settings.deadline_seconds,
        patience=settings.patience_seconds,
        fold_late=isinstance(settings, PhaseConfig) and settings.stragglers == "fold",
        cohort=settings.cohort,
    )
