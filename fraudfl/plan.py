"""The plan: what a phase will do at a bank, complete and immutable, with its hash."""

from __future__ import annotations

import hashlib
import json
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
    SplitConfig,
    StrategyConfig,
    TrainingConfig,
)
from fraudfl.data.schema import Contract
from fraudfl.errors import PlanError
from fraudfl.features.declaration import declare, declare_categorical
from fraudfl.features.sketch import EncoderSpec
from fraudfl.metrics.histogram import ScoreBins
from fraudfl.privacy.mechanisms import DpSgd

PLAN_VERSION = 1


class ReleaseRule(Frozen):
    """One kind of thing that the plan lets out of a bank.

    Attributes:
        content: What it is.
        covered: Whether the phase's ε pays for it.
    """

    content: str
    covered: bool


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
        wanted = _releases(
            private=self.private,
            prior_released=self.training.prior == "released",
            counts=self.strategy.weighting == "examples",
            alone=self.alone,
        )
        if self.releases != wanted:
            raise ValueError("`releases` is not the list of what this plan releases")
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
    def round_mechanism(self) -> DpSgd | None:
        """What one round's update costs, or None where nothing is promised."""
        if self.noise_multiplier is None:
            return None
        return _mechanism(self.privacy, self.noise_multiplier, self.privacy.steps_per_round)

    @property
    def training_epsilon(self) -> float | None:
        """The part of ε that pays for training."""
        return None if self.privacy.epsilon is None else self.privacy.epsilon * self.privacy.training_share

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
    """Fill in everything that a phase leaves to defaults, noise included."""
    private = phase.privacy.mode != "none"
    training = phase.training or config.training
    if phase.strategy.name == "fedprox" and training.proximal_mu == 0:
        training = training.model_copy(update={"proximal_mu": 0.01})
    return Plan(
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
        noise_multiplier=_noise_multiplier(phase) if private else None,
        strategy=phase.strategy,
        codec=phase.codec,
        score_bins=ScoreBins(count=1024),
        evaluate_every=phase.evaluate_every,
        alert_budget=phase.alert_budget,
        alone="alone" in phase.baselines,
        max_update_norm=phase.max_update_norm,
        releases=_releases(
            private=private,
            prior_released=training.prior == "released",
            counts=phase.strategy.weighting == "examples",
            alone="alone" in phase.baselines,
        ),
    )


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


def _mechanism(privacy: PrivacyConfig, noise_multiplier: float, steps: int) -> DpSgd:
    return DpSgd(
        sampling_rate=privacy.sampling_rate,
        noise_multiplier=noise_multiplier,
        clip_norm=privacy.clip_norm,
        steps=steps,
        expected_batch=privacy.sampling_rate * privacy.units,
        unit=privacy.unit,
    )


def _noise_multiplier(phase: PhaseConfig) -> float:
    privacy = phase.privacy
    assert privacy.epsilon is not None  # PrivacyConfig refuses a private mode without it
    steps = (phase.rounds + privacy.spare_attempts) * privacy.steps_per_round
    budget = privacy.epsilon * privacy.training_share
    return _mechanism(privacy, 1.0, steps).calibrate(budget, privacy.delta).noise_multiplier


def _releases(*, private: bool, prior_released: bool, counts: bool, alone: bool) -> dict[str, tuple[ReleaseRule, ...]]:
    rules: dict[str, list[ReleaseRule]] = {
        "join": [],
        "sketch": [ReleaseRule(content="encoder sketches", covered=False)],
        "train": [ReleaseRule(content="model updates", covered=private)],
        "evaluate": [ReleaseRule(content="score histograms", covered=False)],
    }
    if prior_released:
        rules["sketch"].append(ReleaseRule(content="label counts", covered=False))
    if not private:
        in_the_open = ["training loss", "score histograms", *(["example counts"] if counts else [])]
        rules["train"] += [ReleaseRule(content=content, covered=False) for content in in_the_open]
    if alone:
        rules["alone"] = [ReleaseRule(content="score histograms of the model trained alone", covered=False)]
    return {kind: tuple(entries) for kind, entries in rules.items()}
