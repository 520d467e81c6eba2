"""The plan: what a phase will do at a bank, complete and immutable, with its hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Self

from pydantic import ValidationError, model_validator

from fraudfl import costs
from fraudfl.assessment.spec import ProfileSpec
from fraudfl.config import (
    Codec,
    EarlyStopConfig,
    FeaturesConfig,
    Frozen,
    ModelConfig,
    PrivacyConfig,
    SecureAggregationConfig,
    SplitConfig,
    StrategyConfig,
    TrainingConfig,
)
from fraudfl.data.schema import Contract
from fraudfl.errors import PlanError, PrivacyError
from fraudfl.features.declaration import declare
from fraudfl.features.sketch import EncoderSpec
from fraudfl.metrics.histogram import ScoreBins
from fraudfl.monitoring.spec import WatchSpec
from fraudfl.privacy.mechanisms import DpSgd, Mechanism

ALONE = "score histograms of the model trained alone"
LOOKS = "score histograms of models in training"
PLAN_VERSION = 3
WINDOWS = "what windows carry into other rows"
"""How plans name the influence of one unit's transactions on the features of others' rows, which no ε covers."""
TRAINING = ("pilot", "rollout")
"""Kinds of phase that train."""
DISCRETE_PART = 0.1
"""Part of δ set aside, where sums are added up in whole numbers, for what that changes in the noise."""


class ReleaseRule(Frozen):
    """One kind of thing that the plan lets out of a bank.

    Attributes:
        content: What it is.
        covered: Whether the phase's ε pays for it.
        summed: Whether the coordinator gets it inside a sum over banks only.
    """

    content: str
    covered: bool
    summed: bool = False


class Plan(Frozen):
    """What one phase will do at a bank; its canonical JSON's SHA-256 is the plan hash.

    Attributes:
        rounds: Rounds of training, or windows of monitoring; 0 where there are neither.
        given_start: Training goes on from a model and an encoder that the coordinator sends, pinned by digest.
        alone: Banks also train by themselves, and say in which bin of gain they are.
        profile: What an assessment counts; None in other phases.
        watch: What monitoring counts of which windows; None in other phases.
    """

    version: int = PLAN_VERSION
    consortium: str
    phase: str
    kind: str
    seed: int
    rounds: int
    attempts: int
    contract: Contract
    features: FeaturesConfig
    encoder: EncoderSpec
    model: ModelConfig
    training: TrainingConfig
    given_start: bool
    split: SplitConfig
    privacy: PrivacyConfig
    noise_multiplier: float | None
    encoder_noise: float | None
    evaluation_noise: float | None
    look_noise: float | None
    profile_noise: float | None
    watch_noise: float | None
    secure_aggregation: SecureAggregationConfig | None
    strategy: StrategyConfig
    codec: Codec
    score_bins: ScoreBins
    evaluate_every: int
    early_stop: EarlyStopConfig | None
    alert_budget: float
    alone: bool
    profile: ProfileSpec | None
    watch: WatchSpec | None
    max_update_norm: float
    releases: dict[str, tuple[ReleaseRule, ...]]

    @model_validator(mode="after")
    def _lists_all_that_leaves(self) -> Self:
        """A bank approves what the list says, so that the list must follow from what the plan does."""
        if self.releases != releases_of(self):
            raise ValueError("`releases` is not the list of what this plan releases")
        return self

    @model_validator(mode="after")
    def _accounts_are_there(self) -> Self:
        if self.account_rows is not None and "account" not in self.contract.columns:
            raise ValueError("the unit of privacy is an account, and the contract has no column `account`")
        return self

    @model_validator(mode="after")
    def _noise_makes_mechanisms(self) -> Self:
        try:
            for kind in self.releases:
                self.mechanism(kind)
        except PrivacyError as error:
            raise ValueError(str(error)) from error
        return self

    def canonical_json(self) -> bytes:
        """The plan's one spelling: sorted keys, no spaces, UTF-8."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        return hashlib.sha256(self.canonical_json()).hexdigest()

    @property
    def looks(self) -> tuple[int, ...]:
        """Rounds after which the model is looked at, to see whether training should end; none without `early_stop`."""
        if self.early_stop is None:
            return ()
        return tuple(sorted({*range(self.evaluate_every, self.rounds, self.evaluate_every), self.rounds}))

    @property
    def look_bins(self) -> ScoreBins:
        """Public bins of a look's score histograms."""
        return self.score_bins if self.early_stop is None else ScoreBins(count=self.early_stop.bins)

    @property
    def private(self) -> bool:
        """Whether training is differentially private."""
        return self.privacy.mode != "none"

    @property
    def unit_rows(self) -> int:
        """Most transactions of one unit that a release depends on."""
        return self.account_rows or 1

    @property
    def trains(self) -> bool:
        """Whether the phase trains a model."""
        return self.kind in TRAINING

    @property
    def account_rows(self) -> int | None:
        """The bound on one account's transactions, where privacy is per account."""
        return self.privacy.account_rows if self.private and self.privacy.unit == "account" else None

    @property
    def min_cohort(self) -> int:
        """Fewest banks whose figures are added up before the coordinator sees them."""
        return 1 if self.secure_aggregation is None else self.secure_aggregation.min_cohort

    @property
    def parties(self) -> int:
        """Banks that share the noise of a sum; 1 where each adds it in full."""
        return self.min_cohort if self.privacy.mode == "distributed" else 1

    @property
    def delta(self) -> float:
        """What the mechanisms' δ may come to: the phase's δ without the part set aside for whole numbers."""
        set_aside = DISCRETE_PART if self.privacy.mode == "distributed" else 0.0
        return self.privacy.delta * (1 - set_aside)

    @property
    def round_mechanism(self) -> DpSgd | None:
        """What one round's update costs, or None where nothing is promised."""
        if self.noise_multiplier is None:
            return None
        return costs.training(self, self.noise_multiplier, self.privacy.steps_per_round)

    def mechanism(self, kind: str) -> Mechanism | None:
        """What one release of a kind costs, or None where nothing is promised for it."""
        if kind == "train":
            return self.round_mechanism
        noise = self.noise_of(kind)
        return None if noise is None else costs.counting(self, kind, noise)

    def noise_of(self, kind: str) -> float | None:
        """Noise multiplier of counts of a kind, or None where they carry no noise."""
        return {
            "sketch": self.encoder_noise,
            "evaluate": self.evaluation_noise,
            "gain": self.evaluation_noise,
            "look": self.look_noise,
            "profile": self.profile_noise,
            "watch": self.watch_noise,
            "outcome": self.watch_noise,
        }.get(kind)

    @property
    def rounds_per_bank(self) -> int:
        """Most rounds that one bank takes part in, repeated attempts aside."""
        return min(self.rounds, self.privacy.rounds_per_bank or self.rounds)

    def paid_releases(self, kind: str) -> int:
        """How many releases of a kind the plan's noise is calibrated for at one bank, spare attempts included."""
        spare = self.privacy.spare_attempts
        if kind == "train":
            return self.rounds_per_bank + spare
        if kind in ("watch", "outcome"):
            return self.rounds + spare
        if kind == "look":
            return len(self.looks) + spare
        return 2 if spare else 1

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What leaves without privacy, by name; empty in mode `none`, where nothing is promised."""
        if not self.private:
            return ()
        return tuple(sorted({rule.content for rules in self.releases.values() for rule in rules if not rule.covered}))

    @classmethod
    def from_json(cls, data: bytes) -> Plan:
        """Read a plan back; raises PlanError when it is not one this version knows."""
        try:
            facts: dict[str, Any] = json.loads(data)
            if facts.get("version") != PLAN_VERSION:
                raise PlanError(
                    f"plan version {facts.get('version')!r}; this software knows {PLAN_VERSION}. Update it."
                )
            plan = cls.model_validate_json(data)
        except (ValueError, AttributeError, ValidationError) as error:
            raise PlanError(f"the plan cannot be read: {error}") from error
        return plan


def releases_of(plan: Plan) -> dict[str, tuple[ReleaseRule, ...]]:
    """Everything that a plan lets out, by kind of request."""
    secure = plan.secure_aggregation
    rules: dict[str, list[ReleaseRule]] = {"join": [], **_of_phase(plan)}
    if secure is not None:
        # Keys and signatures do not depend on data: there is nothing to list.
        rules |= {"peers": []} | ({"confirm": [], "reveal": []} if secure.recover else {})
    return {kind: tuple(entries) for kind, entries in rules.items()}


def _of_phase(plan: Plan) -> dict[str, list[ReleaseRule]]:
    if plan.kind == "assessment":
        return {"profile": [_rule(plan, "profile", "counts of an assessment")], "readiness": []}
    if plan.kind == "monitoring":
        watched = [_rule(plan, "watch", "feature and score histograms"), *_carried(plan)]
        return {"watch": watched, "outcome": [_rule(plan, "outcome", "score histograms")]}
    rules = {"train": _of_training(plan), "evaluate": [_rule(plan, "evaluate", "score histograms")]}
    if plan.early_stop is not None:
        rules["look"] = [_rule(plan, "look", LOOKS)]
    if not plan.given_start:
        counts = [_rule(plan, "sketch", "label counts")] if plan.training.prior == "released" else []
        rules["sketch"] = [_rule(plan, "sketch", "encoder sketches"), *counts]
    if plan.alone:
        # Training alone follows the bank's rows without any bound, and so do its scores.
        rules["alone"] = [ReleaseRule(content=ALONE, covered=False, summed=plan.secure_aggregation is not None)]
        rules["gain"] = [_rule(plan, "gain", "the bin of the bank's gain")]
    return rules


def _of_training(plan: Plan) -> list[ReleaseRule]:
    secure = plan.secure_aggregation
    updates = ReleaseRule(content="model updates", covered=plan.private, summed=secure is not None)
    if plan.private or secure is not None:
        return [updates, *_carried(plan)]
    counts = ["example counts"] if plan.strategy.weighting == "examples" else []
    looked = ["score histograms"] if plan.early_stop is None else []
    return [updates, *(_rule(plan, "train", name) for name in ("training loss", *looked, *counts))]


def _carried(plan: Plan) -> list[ReleaseRule]:
    """Clipping and counting bound what one row adds, and not what it changes in the features of rows after it."""
    if not plan.private or not _carries(plan):
        return []
    return [ReleaseRule(content=WINDOWS, covered=False, summed=plan.secure_aggregation is not None)]


def _rule(plan: Plan, kind: str, content: str) -> ReleaseRule:
    return ReleaseRule(
        content=content, covered=plan.noise_of(kind) is not None, summed=plan.secure_aggregation is not None
    )


def _carries(plan: Plan) -> bool:
    """Whether one unit's transactions reach into the features of rows that are not its own."""
    if plan.contract.kind == "features":
        return False
    entities = {feature.entity for feature in declare(plan.features, plan.contract)} - {"row"}
    return bool(entities - {"account", "pair"}) if plan.privacy.unit == "account" else bool(entities)
