"""The consortium's YAML as frozen models, validated where each is made."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from fraudfl.config_coordinator import CoordinatorConfig
from fraudfl.config_data import AdapterName as AdapterName
from fraudfl.config_data import ColumnMap as ColumnMap
from fraudfl.config_data import DataConfig as DataConfig
from fraudfl.config_data import Days as Days
from fraudfl.config_data import GeneratorConfig as GeneratorConfig
from fraudfl.config_data import PartitionConfig as PartitionConfig
from fraudfl.config_data import SplitConfig as SplitConfig
from fraudfl.config_data import TableConfig as TableConfig
from fraudfl.config_phases import AnyPhase as AnyPhase
from fraudfl.config_phases import AssessmentConfig as AssessmentConfig
from fraudfl.config_phases import BankSelection as BankSelection
from fraudfl.config_phases import MonitoringConfig as MonitoringConfig
from fraudfl.config_phases import PhaseConfig as PhaseConfig
from fraudfl.config_privacy import PrivacyConfig as PrivacyConfig
from fraudfl.config_privacy import SecureAggregationConfig as SecureAggregationConfig
from fraudfl.config_training import Codec as Codec
from fraudfl.config_training import CodecConfig as CodecConfig
from fraudfl.config_training import CodecName as CodecName
from fraudfl.config_training import EarlyStopConfig as EarlyStopConfig
from fraudfl.config_training import ModelConfig as ModelConfig
from fraudfl.config_training import StrategyConfig as StrategyConfig
from fraudfl.config_training import TrainingConfig as TrainingConfig
from fraudfl.frozen import Frozen as Frozen
from fraudfl.frozen import Name as Name


class ConsortiumConfig(Frozen):
    """Who trains together.

    Attributes:
        name: Name of the consortium and of its registered model.
        seed: Seed of generated data, partitions and training without privacy. It never reaches noise.
    """

    name: Name
    seed: int = Field(default=7, ge=0, lt=2**32)


class FeaturesConfig(Frozen):
    """Behavioural windows, computed inside each bank.

    Attributes:
        windows_days: Window lengths.
        label_delay_days: A fraud rate only uses labels at least this old (or older than their own label time).
        aggregates: Which window aggregates, per account and per counterparty.
        exclude: Features to leave out, by name.
    """

    windows_days: tuple[float, ...] = (1, 7, 30)
    label_delay_days: float = Field(default=7, ge=0)
    aggregates: tuple[Literal["count", "sum", "mean", "since_last", "distance", "fraud_rate"], ...] = (
        "count",
        "sum",
        "mean",
        "since_last",
        "distance",
        "fraud_rate",
    )
    exclude: tuple[str, ...] = ()


class EncoderConfig(Frozen):
    """How features become inputs, from histograms over public bins.

    Attributes:
        scaling: `quantile` maps through the consortium's distribution to a bounded normal score; `robust`
            is (x - median) / IQR on a signed-log scale, clipped; `standard` the same with mean and standard
            deviation; `both` gives `quantile` and `robust` side by side.
        bins_per_decade: Resolution of the public log bins.
        smallest, largest: Magnitudes covered by the bins; beyond them values share the outermost bin.
        min_category_count: Categories rarer than this, after summation, share the unknown bucket.
        categories: Public list of values per categorical column.
    """

    scaling: Literal["quantile", "robust", "standard", "both"] = "quantile"
    bins_per_decade: int = Field(default=48, ge=4, le=500)
    smallest: float = Field(default=1e-3, gt=0)
    largest: float = Field(default=1e9, gt=0)
    min_category_count: int = Field(default=20, ge=1)
    categories: dict[str, tuple[str, ...]] = {}


class MlflowConfig(Frozen):
    """Where runs and models are kept.

    Attributes:
        tracking_uri: An MLflow server's URL; without one, an SQLite file in the workspace.
    """

    tracking_uri: str | None = None


class FraudflConfig(Frozen):
    """One consortium, complete."""

    consortium: ConsortiumConfig
    data: DataConfig = DataConfig()
    banks: PartitionConfig = PartitionConfig()
    features: FeaturesConfig = FeaturesConfig()
    encoder: EncoderConfig = EncoderConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    split: SplitConfig
    mlflow: MlflowConfig = MlflowConfig()
    coordinator: CoordinatorConfig = CoordinatorConfig()
    phases: tuple[AnyPhase, ...] = Field(min_length=1)

    @field_validator("phases")
    @classmethod
    def _waves_are_phases(cls, phases: tuple[AnyPhase, ...]) -> tuple[AnyPhase, ...]:
        return tuple(one for phase in phases for one in _in_waves(phase))

    @model_validator(mode="after")
    def _phases_are_distinct(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phase names must be distinct; found {names}")
        return self

    @model_validator(mode="after")
    def _models_come_from_before(self) -> Self:
        trained: set[str] = set()
        for phase in self.phases:
            if isinstance(phase, PhaseConfig):
                self._check_start(phase, trained)
                trained.add(phase.name)
        return self

    def _check_start(self, phase: PhaseConfig, trained: set[str]) -> None:
        if phase.start is None:
            return
        named = {other.name for other in self.phases}
        if phase.start in named and phase.start not in trained:
            raise ValueError(
                f"phase {phase.name} starts from the model of {phase.start!r}, which does not train before it"
            )
        if phase.start not in named | _ALIASES and not phase.start.isdecimal():
            known = ", ".join(sorted(trained | _ALIASES))
            raise ValueError(f"phase {phase.name} starts from {phase.start!r}; expected {known}, or a version's number")
        if (phase.training or self.training).prior == "released":
            raise ValueError(
                f"phase {phase.name} goes on from a model, so that no label counts are released for `prior`; set "
                "`training.prior` to a number"
            )


_ALIASES = frozenset({"champion", "challenger", "previous"})


def _in_waves(phase: AnyPhase) -> tuple[AnyPhase, ...]:
    if not isinstance(phase, PhaseConfig):
        return (phase,)
    try:
        return phase.in_waves()
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"a wave of phase {phase.name!r} does not fit: {said}") from error
