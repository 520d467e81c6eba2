"""The consortium's models as monitoring sees them: which one is in use, challengers trained as phases of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

from fraudfl.config import BankSelection, MonitoringConfig, PhaseConfig, SplitConfig
from fraudfl.config_monitoring import RetrainConfig, challenger_name
from fraudfl.data.schema import Contract
from fraudfl.errors import (
    BundleError,
    ConfigError,
    DataError,
    PlanError,
    PrivacyError,
    RoundError,
    TrainingError,
    TrustError,
)
from fraudfl.folder import bank_paths
from fraudfl.metrics.histogram import ScoreBins
from fraudfl.models.bundle import Bundle
from fraudfl.monitoring.life import Challenge, Contested, Serving
from fraudfl.plan import Plan
from fraudfl.protocols import Fleet
from pipelines.evaluated import read_evaluation
from server.models.champion import Bar, Champion, Word
from server.models.contest import WindowSums, keep_sums
from server.models.versions import Version
from server.phases.preparing import prepare
from server.store.workspace import PhaseFolder, Workspace, read_json, write_json

RunPhase = Callable[[PhaseFolder, Fleet], None]
_CONTEST = "contest.json"
# What a challenger may fail of, without the watching of the champion ending.
_FAILS = (RoundError, TrainingError, PrivacyError, DataError, BundleError, PlanError)


class ConsortiumLife:
    """The models and phases of one workspace, around one monitoring phase."""

    def __init__(
        self,
        workspace: Workspace,
        settings: MonitoringConfig,
        contract: Contract,
        run: RunPhase,
        fleet: Callable[[], Fleet],
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            workspace: The coordinator's.
            settings: The monitoring phase's.
            contract: What the banks' data holds.
            run: Runs a prepared phase over a fleet, to its end.
            fleet: The fleet of the monitoring phase.
        """
        self._workspace = workspace
        self._settings = settings
        self._contract = contract
        self._run = run
        self._fleet = fleet

    def check(self) -> None:
        """Find out before anything is asked whether a challenger could be set up; raises ConfigError."""
        if self._settings.retrain is not None:
            self._like(self._settings.retrain)

    def serving(self, model: str) -> Serving:
        """The model to watch: an alias, a phase's name, or a version's number."""
        champion = Champion(self._workspace)
        if model in {phase.name for phase in self._workspace.phases()}:
            number = (self._workspace.phase(model).result() or {}).get("model_version")
            if number is None:
                raise BundleError(f"phase {model!r} has registered no model; run it first")
            model = str(number)
        elif model == "champion":
            champion.settle()
        version = champion.version(model)
        return Serving(version=version.number, bundle=Bundle.load(champion.models.bundle_folder(version)))

    def challenge(self, challenge: Challenge) -> Contested:
        """Train a challenger as a phase of its own, and let it meet the champion."""
        retrain = self._settings.retrain
        assert retrain is not None  # nobody asks otherwise
        settings = self.challenger(retrain, challenge)
        folder = self._workspace.phase(settings.name)
        decided = read_json(folder.path / _CONTEST)
        if decided is None:
            decided = asdict(self._contest(settings, retrain, challenge))
            write_json(folder.path / _CONTEST, decided)
        return Contested(**(decided | {"counts": tuple(decided["counts"])}))

    def rollback(self, reason: str) -> Serving:
        """Make the model champion again that was so before."""
        Champion(self._workspace).rollback(Word(by=f"rule of phase {self._settings.name}", reason=_line(reason)))
        return self.serving("champion")

    def challenger(self, retrain: RetrainConfig, challenge: Challenge) -> PhaseConfig:
        """The settings of a challenger phase: those of the phase that it is like, on newer days."""
        like = self._like(retrain)
        own = retrain.model_dump(include={"rounds", "strategy", "training", "privacy", "secure_aggregation"})
        facts = like.model_dump() | {name: value for name, value in own.items() if value is not None}
        facts |= {
            "name": challenger_name(self._settings.name, challenge.number),
            "banks": BankSelection(names=challenge.banks).model_dump(),
            "split": _shifted(like.split or self._workspace.config().split, challenge, retrain).model_dump(),
            "start": None if retrain.start == "fresh" else "champion",
            "promote": "by-hand",
            "baselines": (),
            "gates": (),
            "cohort": self._settings.cohort,
            # Sums of both models can be compared in the same bins only.
            "score_bins": self._settings.score_bins,
            "alert_budget": self._settings.alert_budget,
        }
        return PhaseConfig.model_validate(facts)

    def _contest(self, settings: PhaseConfig, retrain: RetrainConfig, challenge: Challenge) -> Contested:
        try:
            version = self._trained(settings)
        except _FAILS as error:
            return Contested(phase=settings.name, version=None, promoted=False, reason=f"no challenger: {error}")
        promoted, reason = self._met(version, retrain, challenge)
        found = read_evaluation(self._workspace.phase(settings.name).path)
        counts = () if found is None else tuple(found[1].to_vector().tolist())
        noise = 0.0 if found is None else self._noise(settings.name, len(found[0]))
        return Contested(
            phase=settings.name, version=version, promoted=promoted, reason=reason, counts=counts, noise=noise
        )

    def _met(self, version: int, retrain: RetrainConfig, challenge: Challenge) -> tuple[bool, str]:
        """Whether the challenger is champion now, and why."""
        bar = Bar(figure=retrain.bar.figure, at_least=retrain.bar.at_least)
        word = Word(by=f"rule of phase {self._settings.name}", reason=f"challenger {challenge.number} of the phase")
        champion = Champion(self._workspace)
        try:
            if champion.version("champion").number == version:
                # The run was killed after the decision, and before it had written down that it was taken.
                return True, champion.log.read()[-1].reason
            self._keep_sums(champion, challenge, champion.version(version))
            verdict = champion.promote(version, word, bar)
        except (BundleError, DataError, TrustError) as error:
            return False, str(error)
        return verdict.decision is not None, verdict.reason

    def _noise(self, phase: str, banks: int) -> float:
        """Variance of the noise in each count of a phase's evaluation."""
        mechanism = self._plan(phase).mechanism("evaluate")
        return 0.0 if mechanism is None else mechanism.share_deviation**2 * banks

    def _plan(self, phase: str) -> Plan:
        return Plan.from_json((self._workspace.phase(phase).path / "plan.json").read_bytes())

    def _trained(self, settings: PhaseConfig) -> int:
        """The version that the challenger phase registered, after running it or going on with it."""
        self._workspace.add_phase(settings)
        folder = self._workspace.phase(settings.name)
        outcome = folder.result()
        if outcome is None or outcome["status"] != "completed":
            prepare(self._workspace, settings, self._contract, settings.banks.names)
            folder.clear_result()
            self._run(folder, self._fleet())
            outcome = folder.result()
        assert outcome is not None  # written before the run returns
        return int(outcome["model_version"])

    def _keep_sums(self, champion: Champion, challenge: Challenge, challenger: Version) -> None:
        """Where no bank's folder is here, both models are compared by what the banks released of the same window.

        The challenger's own phase evaluated it there; the champion was watched there, and no bank releases more.
        """
        if bank_paths(self._workspace.banks):
            return
        now, watched = champion.version("champion"), challenge.champion
        scored = watched.scored(ScoreBins(count=self._settings.score_bins))
        if watched.model == now.number and scored is not None:
            sums = WindowSums(
                window=(challenge.first, challenge.last),
                banks=watched.judged_by,
                bins=scored.histogram.bins,
                counts=tuple(scored.histogram.to_vector().tolist()),
                inflation=challenge.inflation,
                noise=math.sqrt(scored.noise_variance),
            )
            keep_sums(champion.models, now, sums)
        found = read_evaluation(self._workspace.phase(challenger.phase).path)
        if found is not None:
            plan, (banks, test) = self._plan(challenger.phase), found
            keep_sums(champion.models, challenger, WindowSums.of(plan, banks, test, challenge.inflation))

    def _like(self, retrain: RetrainConfig) -> PhaseConfig:
        earlier: list[PhaseConfig] = []
        for phase in self._workspace.config().phases:
            if phase.name == self._settings.name:
                break
            if isinstance(phase, PhaseConfig):
                earlier.append(phase)
        found = [phase for phase in earlier if retrain.like in (None, phase.name)]
        if not found:
            raise ConfigError(
                f"phase {self._settings.name}: retrain.like is {retrain.like!r}; expected a phase that trains before "
                f"it, one of: {', '.join(phase.name for phase in earlier) or 'none there'}"
            )
        return found[-1]


def _shifted(split: SplitConfig, challenge: Challenge, retrain: RetrainConfig) -> SplitConfig:
    """The split with its test days on the challenge's window, and its training as far before as it was."""
    if split.origin is None or split.train_days is None or split.test_days is None:
        raise ConfigError("retrain: the split is not by time, so that a challenger cannot be trained on newer days")
    first, last = ((day - split.origin).days for day in (challenge.first, challenge.last))
    gap = split.test_days[0] - split.train_days[1]
    length = retrain.train_days or split.train_days[1] - split.train_days[0] + 1
    end = first - gap
    return SplitConfig.model_validate(
        split.model_dump() | {"train_days": (max(0, end - length + 1), end), "test_days": (first, last)}
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
