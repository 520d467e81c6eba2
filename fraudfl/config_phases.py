"""Phases of a consortium's life, as the YAML lists them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fraudfl.config_privacy import PrivacyConfig, SecureAggregationConfig
from fraudfl.config_training import CodecConfig, StrategyConfig, TrainingConfig
from fraudfl.frozen import Frozen, Name
from fraudfl.gates.config import Gates


class PhaseConfig(Frozen):
    """One phase of the consortium's life.

    Attributes:
        quorum: Share of the asked banks that must answer, else the round is tried again.
        attempts: How often one round may be tried.
        deadline_seconds: Longest wait for one round's replies.
        patience_seconds: Longest wait, within one attempt, for banks that are away, closed by their schedule, or have
            not approved the plan yet; nobody is waited for once the quorum is there.
        stragglers: What becomes of an update that comes after its round: `drop`, or `fold` it into the next round in
            place of the bank's own when there is none.
        baselines: What to compare with in the same run; `pooled` and `xgboost` exist in simulation only.
        evaluate_every: Rounds between looks at the validation rows; the first and last round always have one.
        alert_budget: Share of transactions that analysts can look at.
        training: This phase's training, where it differs from the consortium's.
        max_update_norm: L2 norm above which a bank's gate takes an update for a fault and keeps it.
        secure_aggregation: How banks add up what they release; without it the coordinator sees each bank's.
        cohort: Banks asked in one round under secure aggregation, drawn from those available; None asks all.
        score_bins: Bins of a score histogram.
        gates: Conditions on the phase's figures; the consortium goes on only when they are met.
    """

    name: Name
    kind: Literal["pilot", "rollout"] = "pilot"
    rounds: int = Field(default=10, ge=1, le=100_000)
    quorum: float = Field(default=0.7, gt=0, le=1)
    attempts: int = Field(default=3, ge=1, le=100)
    deadline_seconds: float = Field(default=300, gt=0)
    patience_seconds: float = Field(default=3600, ge=0)
    stragglers: Literal["drop", "fold"] = "drop"
    strategy: StrategyConfig = StrategyConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    codec: CodecConfig = CodecConfig()
    training: TrainingConfig | None = None
    baselines: tuple[Literal["alone", "pooled", "xgboost"], ...] = ("alone", "pooled", "xgboost")
    evaluate_every: int = Field(default=1, ge=1)
    alert_budget: float = Field(default=0.005, gt=0, lt=1)
    max_update_norm: float = Field(default=10_000.0, gt=0)
    secure_aggregation: SecureAggregationConfig | None = None
    cohort: int | None = Field(default=None, ge=2)
    score_bins: int = Field(default=1024, ge=16, le=65_536)
    gates: Gates = ()

    @model_validator(mode="after")
    def _private_phases_weigh_by_constants(self) -> Self:
        if self.privacy.mode != "none" and self.strategy.weighting == "examples":
            raise ValueError(
                "with differential privacy banks weigh by a public constant; set strategy.weighting: equal"
            )
        return self

    @model_validator(mode="after")
    def _noise_and_strategy_belong_together(self) -> Self:
        distributed = self.privacy.mode == "distributed"
        if distributed and self.secure_aggregation is None:
            raise ValueError(
                "privacy mode `distributed` needs a `secure_aggregation` section: each bank adds only a share of the "
                "noise, which protects nothing but the sum"
            )
        if distributed != self.strategy.steps_on_sums:
            raise ValueError(
                f"strategy {self.strategy.name!r} does not go with privacy mode {self.privacy.mode!r}; `dpsgd` and "
                "`dpadam` take one step on the sum of mode `distributed`, and nothing else does"
            )
        return self

    @model_validator(mode="after")
    def _gates_can_be_judged(self) -> Self:
        for gate in self.gates:
            missing = sorted(set(gate.baselines) - set(self.baselines))
            if missing:
                raise ValueError(
                    f"gate {gate.name!r} compares with {missing[0]!r}, which is not in `baselines`; add it there"
                )
        return self

    @model_validator(mode="after")
    def _sums_are_enough(self) -> Self:
        secure = self.secure_aggregation
        if secure is None:
            if self.cohort is not None:
                raise ValueError("`cohort` needs a `secure_aggregation` section; without one every bank is asked")
            return self
        if self.strategy.needs_single_updates:
            raise ValueError(
                f"strategy {self.strategy.name!r} looks at each bank's update, which secure aggregation hides; use one "
                "that needs their sum alone, such as fedavg"
            )
        if self.strategy.weighting == "examples":
            raise ValueError("under secure aggregation banks weigh the same; set strategy.weighting: equal")
        if self.codec.up != "float32":
            raise ValueError(
                f"codec.up is {self.codec.up!r}, but masked vectors have an encoding of their own; leave codec.up out"
            )
        if self.stragglers == "fold":
            raise ValueError("a masked update that comes late cannot be used by itself; set stragglers: drop")
        if self.cohort is not None and self.cohort < secure.min_cohort:
            raise ValueError(f"cohort {self.cohort} is smaller than min_cohort {secure.min_cohort}")
        return self
