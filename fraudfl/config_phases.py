"""Phases of a consortium's life, as the YAML lists them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from fraudfl.assessment.demands import Demands, HopeConfig
from fraudfl.config_data import SplitConfig
from fraudfl.config_monitoring import WatchingConfig
from fraudfl.config_privacy import PrivacyConfig, SecureAggregationConfig
from fraudfl.config_training import CodecConfig, EarlyStopConfig, StrategyConfig, TrainingConfig
from fraudfl.errors import ConfigError
from fraudfl.frozen import Frozen, Name
from fraudfl.gates.config import Gates


class BankSelection(Frozen):
    """Which banks take part in a phase; all by default.

    Attributes:
        names: These.
        count: So many of them, drawn by the consortium's seed.
        share: Such a share of them, rounded up, drawn likewise. A larger number or share has all banks of a smaller.
        without: Never these.
    """

    names: tuple[str, ...] = ()
    count: int | None = Field(default=None, ge=1)
    share: float | None = Field(default=None, gt=0, le=1)
    without: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum((bool(self.names), self.count is not None, self.share is not None)) > 1:
            raise ValueError("give one of `names`, `count` and `share`")
        return self

    def choose(self, banks: Sequence[str], seed: int) -> tuple[str, ...]:
        """The banks that take part, sorted.

        Raises:
            ConfigError: when a bank is named that there is not, or fewer are there than asked for.
        """
        there = sorted(set(banks) - set(self.without))
        unknown = sorted(set(self.names) - set(banks))
        if unknown:
            raise ConfigError(f"banks.names lists {', '.join(unknown)}; the consortium has {', '.join(sorted(banks))}")
        if self.names:
            return tuple(sorted(set(self.names) & set(there)))
        wanted = len(there) if self.count is None else self.count
        if self.share is not None:
            wanted = -int(-self.share * len(there) // 1)
        if wanted > len(there) or not there:
            raise ConfigError(f"banks.count is {wanted}; {len(there)} banks are there to take part")
        order = random.Random(f"{seed}/banks").sample(sorted(banks), len(set(banks)))
        return tuple(sorted([bank for bank in order if bank in there][:wanted]))


class CommonPhase(Frozen):
    """What every kind of phase has.

    Attributes:
        banks: Which banks take part.
        split: This phase's split, where it differs from the consortium's.
        quorum: Share of the asked banks that must answer, else the round is tried again.
        attempts: How often one round may be tried.
        deadline_seconds: Longest wait for one round's replies.
        patience_seconds: Longest wait, within one attempt, for banks that are away, closed by their schedule, or have
            not approved the plan yet; nobody is waited for once the quorum is there.
        secure_aggregation: How banks add up what they release; without it the coordinator sees each bank's.
        cohort: Banks asked in one round of training, in turns; None asks all. What is counted once is counted at all.
        score_bins: Bins of a score histogram.
        alert_budget: Share of transactions that analysts can look at.
        gates: Conditions on the phase's figures; the consortium goes on only when they are met.
    """

    name: Name
    banks: BankSelection = BankSelection()
    split: SplitConfig | None = None
    quorum: float = Field(default=0.7, gt=0, le=1)
    attempts: int = Field(default=3, ge=1, le=100)
    deadline_seconds: float = Field(default=300, gt=0)
    patience_seconds: float = Field(default=3600, ge=0)
    privacy: PrivacyConfig = PrivacyConfig()
    secure_aggregation: SecureAggregationConfig | None = None
    cohort: int | None = Field(default=None, ge=2)
    score_bins: int = Field(default=1024, ge=16, le=65_536)
    alert_budget: float = Field(default=0.005, gt=0, lt=1)
    gates: Gates = ()

    @model_validator(mode="after")
    def _shared_noise_is_summed(self) -> Self:
        if self.privacy.mode == "distributed" and self.secure_aggregation is None:
            raise ValueError(
                "privacy mode `distributed` needs a `secure_aggregation` section: each bank adds only a share of the "
                "noise, which protects nothing but the sum"
            )
        return self

    @model_validator(mode="after")
    def _cohorts_can_be_summed(self) -> Self:
        secure = self.secure_aggregation
        if secure is not None and self.cohort is not None and self.cohort < secure.min_cohort:
            raise ValueError(f"cohort {self.cohort} is smaller than min_cohort {secure.min_cohort}")
        return self

    @model_validator(mode="after")
    def _rounds_are_shared_out(self) -> Self:
        if self.privacy.rounds_per_bank is not None and self.cohort is None:
            raise ValueError(
                "`privacy.rounds_per_bank` bounds how often a bank is asked, and without `cohort` every round asks "
                "all; set `cohort`, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _sums_have_enough_banks(self) -> Self:
        secure, named = self.secure_aggregation, self.banks.count or len(self.banks.names)
        if secure is not None and named and named < secure.min_cohort:
            raise ValueError(f"{named} banks take part, and min_cohort is {secure.min_cohort}; no sum could be opened")
        return self


class WaveConfig(Frozen):
    """One wave of a rollout: what it does otherwise than the phase it is part of.

    Attributes:
        name: What the wave is called; its phase is named `<phase>-<name>`.
        banks: Who takes part in it.
    """

    name: Name
    banks: BankSelection = BankSelection()
    rounds: int | None = Field(default=None, ge=1, le=100_000)
    privacy: PrivacyConfig | None = None
    baselines: tuple[Literal["alone", "pooled", "xgboost"], ...] | None = None
    gates: Gates | None = None


class PhaseConfig(CommonPhase):
    """A phase that trains: pilot or rollout.

    Attributes:
        start: The model that training goes on from: `champion`, `challenger`, `previous`, a phase's name or a
            version's number. Without one training starts anew, with an encoder of its own.
        promote: `if-better` makes the phase's model champion when its gates let it pass and it beats the champion.
        waves: The phase in several steps, each a phase of its own with its own plan and gates; each after the first
            goes on from the model of the one before.
        stragglers: What becomes of an update that comes after its round: `drop`, or `fold` it into the next round in
            place of the bank's own when there is none.
        baselines: What to compare with in the same run; `pooled` and `xgboost` exist in simulation only. Both together
            also train XGBoost on all rows.
        evaluate_every: Rounds between looks at the validation rows; the first and last round always have one.
        early_stop: When training ends before its planned rounds; looks are then a question of their own, after every
            `evaluate_every` rounds and the last, and the phase's model is the best one seen.
        training: This phase's training, where it differs from the consortium's.
        max_update_norm: L2 norm above which a bank's gate takes an update for a fault and keeps it.
    """

    kind: Literal["pilot", "rollout"] = "pilot"
    rounds: int = Field(default=10, ge=1, le=100_000)
    start: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,126}(@[0-9]{1,9})?$")
    promote: Literal["by-hand", "if-better"] = "by-hand"
    waves: tuple[WaveConfig, ...] = ()
    stragglers: Literal["drop", "fold"] = "drop"
    strategy: StrategyConfig = StrategyConfig()
    codec: CodecConfig = CodecConfig()
    training: TrainingConfig | None = None
    baselines: tuple[Literal["alone", "pooled", "xgboost"], ...] = ("alone", "pooled", "xgboost")
    evaluate_every: int = Field(default=1, ge=1)
    early_stop: EarlyStopConfig | None = None
    max_update_norm: float = Field(default=10_000.0, gt=0)

    def refuse_too_few(self, banks: int) -> None:
        """Raises ConfigError where so many banks cannot fill every round's cohort."""
        most = self.privacy.rounds_per_bank
        if most is None or self.cohort is None:
            return
        needed = -(-self.rounds * min(self.cohort, banks) // banks)
        if most < needed:
            raise ConfigError(
                f"phase {self.name}: {self.rounds} rounds that each ask {min(self.cohort, banks)} of {banks} banks "
                f"take {needed} rounds of a bank, and `privacy.rounds_per_bank` is {most}; set it to {needed} or "
                "more (a few more, so that others can stand in for banks that are away), or plan fewer rounds"
            )

    @field_validator("start", mode="before")
    @classmethod
    def _version_as_text(cls, start: object) -> object:
        return str(start) if isinstance(start, int) and not isinstance(start, bool) else start

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
        if distributed != self.strategy.steps_on_sums:
            raise ValueError(
                f"strategy {self.strategy.name!r} does not go with privacy mode {self.privacy.mode!r}; `dpsgd` and "
                "`dpadam` take one step on the sum of mode `distributed`, and nothing else does"
            )
        if distributed and self.privacy.expected_units is None:
            raise ValueError(
                "mode `distributed` needs `privacy.expected_units`: a public estimate of all banks' units together"
            )
        return self

    @model_validator(mode="after")
    def _looks_can_be_afforded(self) -> Self:
        share = self.privacy.look_share
        if self.early_stop is None:
            if share > 0:
                raise ValueError("`privacy.look_share` pays for the looks of `early_stop`, which is not set")
            return self
        if self.privacy.mode != "none" and share == 0:
            raise ValueError(
                "`early_stop` looks at the validation rows again and again, and under differential privacy ε pays for "
                "each look; set `privacy.look_share` (0.1 is usual), or leave `early_stop` out"
            )
        if self.strategy.averaging > 0:
            raise ValueError(
                "`early_stop` keeps a model of one round, and `strategy.averaging` makes one of all rounds at the end; "
                "set one of them only"
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
        if self.secure_aggregation is None:
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
        return self

    @model_validator(mode="after")
    def _waves_are_distinct(self) -> Self:
        names = [wave.name for wave in self.waves]
        if len(set(names)) != len(names):
            raise ValueError(f"waves' names must be distinct; found {', '.join(names)}")
        return self

    def in_waves(self) -> tuple[PhaseConfig, ...]:
        """The phase itself, or one phase for each of its waves.

        Raises:
            ValueError: when what a wave says does not go with the rest of the phase.
        """
        if not self.waves:
            return (self,)
        whole = self.model_dump(exclude={"waves"})
        phases = [PhaseConfig.model_validate(whole | _of_wave(self.name, wave)) for wave in self.waves]
        later = [
            PhaseConfig.model_validate(phase.model_dump() | {"start": before.name})
            for before, phase in pairwise(phases)
        ]
        return (phases[0], *later)


def _of_wave(phase: str, wave: WaveConfig) -> dict[str, Any]:
    own = wave.model_dump(exclude={"name"}, exclude_none=True)
    return own | {"name": f"{phase}-{wave.name}"}


class AssessmentConfig(CommonPhase, Demands):
    """A phase in which banks say what data they have, and nothing is trained.

    Attributes:
        hope: What the pilot is hoped to show; the power check asks whether it could be seen.
    """

    kind: Literal["assessment"]
    hope: HopeConfig = HopeConfig()


class MonitoringConfig(CommonPhase, WatchingConfig):
    """A phase in which a model in use is watched, window after window."""

    kind: Literal["monitoring"]


def _kind_of(phase: Any) -> str:
    kind = phase.get("kind", "pilot") if isinstance(phase, dict) else getattr(phase, "kind", "pilot")
    return kind if kind in ("assessment", "monitoring") else "training"


AnyPhase = Annotated[
    Annotated[PhaseConfig, Tag("training")]
    | Annotated[AssessmentConfig, Tag("assessment")]
    | Annotated[MonitoringConfig, Tag("monitoring")],
    Discriminator(_kind_of),
]
"""Any phase, told apart by its `kind`; one that trains may leave it out."""
TAGS = frozenset({"training", "assessment", "monitoring"})
"""How validation names the kinds of phase in the place of an error."""
