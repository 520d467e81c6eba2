"""The plan: what a phase will do at a bank, complete and immutable, with its hash."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any, Self

from pydantic import ValidationError, model_validator

from fraudfl.config import (
    CodecConfig,
    FeaturesConfig,
    FraudflConfig,
    Frozen,
    ModelConfig,
    PhaseConfig,
    PrivacyConfig,
    SecureAggregationConfig,
    SplitConfig,
    StrategyConfig,
    TrainingConfig,
)
from fraudfl.data.schema import Contract
from fraudfl.errors import PlanError, PrivacyError
from fraudfl.features.declaration import declare, declare_categorical
from fraudfl.features.sketch import EncoderSpec
from fraudfl.metrics.histogram import ScoreBins
from fraudfl.privacy.accounting import calibrate_jointly
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum, Mechanism

PLAN_VERSION = 2
WINDOWS = "what windows carry into other rows"
"""How plans name the influence of one unit's transactions on the features of others' rows, which no ε covers."""
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
    """What one phase will do at a bank; its canonical JSON's SHA-256 is the plan hash."""

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
    split: SplitConfig
    privacy: PrivacyConfig
    noise_multiplier: float | None
    encoder_noise: float | None
    evaluation_noise: float | None
    secure_aggregation: SecureAggregationConfig | None
    strategy: StrategyConfig
    codec: CodecConfig
    score_bins: ScoreBins
    evaluate_every: int
    alert_budget: float
    alone: bool
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
    def private(self) -> bool:
        """Whether training is differentially private."""
        return self.privacy.mode != "none"

    @property
    def unit_rows(self) -> int:
        """Most transactions of one unit that a release depends on."""
        return self.account_rows or 1

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
        return _training(self, self.noise_multiplier, self.privacy.steps_per_round)

    def mechanism(self, kind: str) -> Mechanism | None:
        """What one release of a kind costs, or None where nothing is promised for it."""
        if kind == "train":
            return self.round_mechanism
        if kind == "sketch" and self.encoder_noise is not None:
            return _sketching(self, self.encoder_noise)
        if kind == "evaluate" and self.evaluation_noise is not None:
            return _evaluating(self, self.evaluation_noise)
        return None

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


def make_plan(config: FraudflConfig, phase: PhaseConfig, contract: Contract) -> Plan:
    """Fill in everything that a phase leaves to defaults, noise included.

    Raises:
        PlanError: when accounts are the unit of privacy, and the data has none.
        PrivacyError: when no noise keeps the phase within its ε.
    """
    if phase.privacy.mode != "none" and phase.privacy.unit == "account" and "account" not in contract.columns:
        raise PlanError(
            f"phase {phase.name}: privacy.unit is `account`, but the data has no column `account` (it has "
            f"{', '.join(contract.columns)}); set `unit: transaction`, or map a column to `account`"
        )
    training = phase.training or config.training
    if phase.strategy.name == "fedprox" and training.proximal_mu == 0:
        training = training.model_copy(update={"proximal_mu": 0.01})
    draft = Plan.model_construct(
        consortium=config.consortium.name,
        phase=phase.name,
        kind=phase.kind,
        seed=config.consortium.seed,
        rounds=phase.rounds,
        attempts=phase.attempts,
        contract=contract,
        features=config.features,
        encoder=_encoder_spec(config, contract),
        model=config.model,
        training=training,
        split=config.split,
        privacy=phase.privacy,
        noise_multiplier=None,
        encoder_noise=None,
        evaluation_noise=None,
        secure_aggregation=phase.secure_aggregation,
        strategy=phase.strategy,
        codec=phase.codec,
        score_bins=ScoreBins(count=phase.score_bins),
        evaluate_every=phase.evaluate_every,
        alert_budget=phase.alert_budget,
        alone="alone" in phase.baselines,
        max_update_norm=phase.max_update_norm,
    )
    draft = draft.model_copy(update=_noise(draft))
    return Plan(**dict(draft) | {"releases": releases_of(draft)})


def _encoder_spec(config: FraudflConfig, contract: Contract) -> EncoderSpec:
    listed = config.encoder.categories
    columns = declare_categorical(config.features, contract)
    return EncoderSpec(
        numeric=tuple(feature.name for feature in declare(config.features, contract)),
        categorical={name: listed.get(name, ()) for name in columns},
        bins_per_decade=config.encoder.bins_per_decade,
        smallest=config.encoder.smallest,
        largest=config.encoder.largest,
        scaling=config.encoder.scaling,
        min_category_count=config.encoder.min_category_count,
    )


def _noise(plan: Plan) -> dict[str, float]:
    """Noise multipliers: encoder and evaluation by their shares of ε, training by what their composition leaves."""
    privacy = plan.privacy
    if privacy.epsilon is None or not plan.private:
        return {}
    noise: dict[str, float] = {}
    fixed: list[Mechanism] = []
    for name, share, describe in (
        ("encoder_noise", privacy.encoder_share, _sketching),
        ("evaluation_noise", privacy.evaluation_share, _evaluating),
    ):
        if share > 0:
            # A phase with spare attempts may also need a second one of these.
            event = replace(describe(plan, 1.0), releases=2 if privacy.spare_attempts else 1)
            fixed.append(event.calibrate(share * privacy.epsilon, plan.delta))
            noise[name] = fixed[-1].noise_multiplier
    steps = (plan.rounds + privacy.spare_attempts) * privacy.steps_per_round
    training = _training(plan, 1.0, steps)
    noise["noise_multiplier"] = calibrate_jointly(fixed, training, privacy.epsilon, plan.delta)
    return noise


def _training(plan: Plan, noise_multiplier: float, steps: int) -> DpSgd:
    privacy = plan.privacy
    return DpSgd(
        sampling_rate=privacy.sampling_rate,
        noise_multiplier=noise_multiplier,
        clip_norm=privacy.clip_norm,
        steps=steps,
        expected_batch=privacy.sampling_rate * (privacy.expected_units or privacy.units),
        unit=privacy.unit,
        parties=plan.parties,
        colluding=_colluding(plan),
    )


def _sketching(plan: Plan, noise_multiplier: float) -> GaussianSum:
    """One transaction counts once in each column's histogram, and among the labels where these are released."""
    columns = len(plan.encoder.numeric) + len(plan.encoder.categorical) + (plan.training.prior == "released")
    return _counting(plan, noise_multiplier, math.sqrt(columns) * plan.unit_rows)


def _evaluating(plan: Plan, noise_multiplier: float) -> GaussianSum:
    """One transaction is in one of the two histograms; an account's may be in both, up to its bound in each."""
    both = 1.0 if plan.privacy.unit == "transaction" else math.sqrt(2)
    return _counting(plan, noise_multiplier, both * plan.unit_rows)


def _counting(plan: Plan, noise_multiplier: float, sensitivity: float) -> GaussianSum:
    return GaussianSum(
        noise_multiplier=noise_multiplier,
        sensitivity=sensitivity,
        unit=plan.privacy.unit,
        parties=plan.parties,
        colluding=_colluding(plan),
    )


def _carries(plan: Plan) -> bool:
    """Whether one unit's transactions reach into the features of rows that are not its own."""
    if plan.contract.kind == "features":
        return False
    entities = {feature.entity for feature in declare(plan.features, plan.contract)} - {"row"}
    return bool(entities - {"account", "pair"}) if plan.privacy.unit == "account" else bool(entities)


def _colluding(plan: Plan) -> int:
    secure = plan.secure_aggregation
    return secure.colluding if secure is not None and plan.privacy.mode == "distributed" else 0


def releases_of(plan: Plan) -> dict[str, tuple[ReleaseRule, ...]]:
    """Everything that a plan lets out, by kind of request."""
    secure = plan.secure_aggregation

    def rule(content: str, covered: bool = False) -> ReleaseRule:
        return ReleaseRule(content=content, covered=covered, summed=secure is not None)

    rules: dict[str, list[ReleaseRule]] = {
        "join": [],
        "sketch": [rule("encoder sketches", plan.encoder_noise is not None)],
        "train": [rule("model updates", plan.private)],
        "evaluate": [rule("score histograms", plan.evaluation_noise is not None)],
    }
    if plan.private and _carries(plan):
        # Clipping bounds what one row adds, and not what it changes in the features of rows after it.
        rules["train"].append(ReleaseRule(content=WINDOWS, covered=False, summed=secure is not None))
    if plan.training.prior == "released":
        rules["sketch"].append(rule("label counts", plan.encoder_noise is not None))
    if not plan.private and secure is None:
        counts = ["example counts"] if plan.strategy.weighting == "examples" else []
        rules["train"] += [rule(content) for content in ("training loss", "score histograms", *counts)]
    if plan.alone:
        rules["alone"] = [rule("score histograms of the model trained alone")]
    if secure is not None:
        # Keys and signatures do not depend on data: there is nothing to list.
        rules |= {"peers": []} | ({"confirm": [], "reveal": []} if secure.recover else {})
    return {kind: tuple(entries) for kind, entries in rules.items()}
