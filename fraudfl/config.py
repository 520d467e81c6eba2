"""The consortium's YAML as frozen models, validated where each is made."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fraudfl.config_changes import ChangesConfig
from fraudfl.config_coordinator import CoordinatorConfig
from fraudfl.config_privacy import PrivacyConfig as PrivacyConfig
from fraudfl.config_privacy import SecureAggregationConfig as SecureAggregationConfig
from fraudfl.frozen import Frozen as Frozen
from fraudfl.frozen import Name as Name
from fraudfl.gates.config import Gates

Days = tuple[int, int]


class ConsortiumConfig(Frozen):
    """Who trains together.

    Attributes:
        name: Name of the consortium and of its registered model.
        seed: Seed of generated data, partitions and training without privacy. It never reaches noise.
    """

    name: Name
    seed: int = Field(default=7, ge=0, lt=2**32)


class GeneratorConfig(Frozen):
    """The embedded default data set: a generated consortium.

    Attributes:
        banks: Number of issuing banks.
        transactions: Transactions over all banks.
        days: Length of the history in days.
        fraud_rate: Share of transactions that are fraud.
        merchants: Merchants shared between banks; by default one per 150 transactions.
        size_skew: 0 makes equal banks; 1 makes sizes fall like 1/rank.
        start: First day.
        changes: Drifts and new kinds of fraud during the history; none by default.
    """

    banks: int = Field(default=10, ge=1, le=5000)
    transactions: int = Field(default=300_000, ge=1000, le=100_000_000)
    days: int = Field(default=120, ge=10, le=3660)
    fraud_rate: float = Field(default=0.01, gt=0, lt=0.5)
    merchants: int | None = Field(default=None, ge=10)
    size_skew: float = Field(default=0.8, ge=0, le=3)
    start: date = date(2025, 1, 1)
    changes: ChangesConfig = ChangesConfig()


class ColumnMap(Frozen):
    """Which source column holds which contract column. `None` means the source has none.

    Attributes:
        numeric: Extra numeric columns, kept under their own names.
        categorical: Extra categorical columns, kept under their own names.
    """

    transaction_id: str | None = "transaction_id"
    time: str | None = "time"
    account: str | None = "account"
    counterparty: str | None = "counterparty"
    amount: str | None = "amount"
    currency: str | None = None
    label: str = "label"
    label_time: str | None = None
    bank: str | None = None
    region: str | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()


class TableConfig(Frozen):
    """A user's own table: where it is and how its columns map to the contract.

    Attributes:
        kind: `transactions` (windows are computed) or `features` (columns are used as they are).
        format: How to read it.
        path: File, folder or glob; for `sql` a SQLAlchemy URL without a password in it.
        query: SQL text, or a table's name, for `sql`.
        password_file: File (mode 0600) with the database password, for `sql`.
        delimiter: CSV field separator.
        decimal: CSV decimal mark.
        time_format: strptime format for text times; ISO 8601 when absent.
        columns: Column mapping.
    """

    kind: Literal["transactions", "features"] = "transactions"
    format: Literal["csv", "parquet", "sql"] = "csv"
    path: str | None = None
    query: str | None = None
    password_file: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    decimal: Literal[".", ","] = "."
    time_format: str | None = None
    columns: ColumnMap = ColumnMap()


AdapterName = Literal["handbook", "fsi5", "ulb", "baf", "ieee-cis", "paysim", "sparkov"]


class DataConfig(Frozen):
    """Where transactions come from.

    Attributes:
        source: `generated`, `table`, or a public data set's adapter by name.
        path: The data set's file or folder; `--data NAME:PATH` sets it too.
    """

    source: Literal["generated", "table", AdapterName] = "generated"
    path: str | None = None
    generator: GeneratorConfig = GeneratorConfig()
    table: TableConfig | None = None

    @model_validator(mode="after")
    def _table_is_described(self) -> Self:
        if (self.source == "table") != (self.table is not None):
            raise ValueError("source `table` needs a `table:` section, and only that source may have one")
        return self


class PartitionConfig(Frozen):
    """How one data set becomes banks.

    Attributes:
        by: `natural` (the set's own bank column), `region` (regions shared out among banks), `account-hash`
            (each account at one bank, shares by `shares` or by `skew`), or `dirichlet` (accounts drawn so that
            each bank's fraud mix and size follow a Dirichlet with `alpha`).
        count: Number of banks; not for `natural`.
        skew: For account-hash: 0 equal shares, 1 shares like 1/rank.
        shares: For account-hash: explicit shares, summing to 1.
        alpha: Dirichlet concentration; smaller means more unequal.
    """

    by: Literal["natural", "region", "account-hash", "dirichlet"] = "natural"
    count: int | None = Field(default=None, ge=1, le=5000)
    skew: float = Field(default=1.0, ge=0, le=3)
    shares: tuple[float, ...] | None = None
    alpha: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _count_fits(self) -> Self:
        if self.by != "natural" and self.count is None and self.shares is None:
            raise ValueError(f"partition by `{self.by}` needs `count`")
        if self.shares is not None:
            if abs(sum(self.shares) - 1) > 1e-6 or min(self.shares) <= 0:
                raise ValueError("`shares` must be positive and sum to 1")
            if self.count not in (None, len(self.shares)):
                raise ValueError(
                    f"`count` is {self.count} and `shares` has {len(self.shares)} entries; leave `count` out"
                )
        return self


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


class ModelConfig(Frozen):
    """The classifier: an MLP, or logistic regression as its smallest case."""

    kind: Literal["mlp", "logistic"] = "mlp"
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = (64, 32)
    activation: Literal["relu", "gelu", "tanh"] = "relu"

    def widths(self, inputs: int) -> tuple[int, ...]:
        """Widths of the layers, inputs first; the last is 1."""
        return (inputs, *(self.hidden if self.kind == "mlp" else ()), 1)

    def size(self, inputs: int) -> int:
        """Number of weights for so many inputs."""
        return sum((before + 1) * after for before, after in pairwise(self.widths(inputs)))


class TrainingConfig(Frozen):
    """One bank's local training in one round.

    Attributes:
        local_epochs: Passes over the bank's training rows per round (without privacy).
        batch_size: Rows per step (without privacy).
        schedule: How the learning rate falls over the phase's planned rounds.
        positive_weight: Weight of a fraud in the loss.
        prior: Fraud rate that sets the output bias; `released` takes it from the sum of banks' label counts.
        proximal_mu: FedProx term; set with strategy `fedprox`.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(default=2e-3, gt=0, le=10_000)
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    local_epochs: int = Field(default=1, ge=1, le=1000)
    batch_size: int = Field(default=1024, ge=1)
    positive_weight: float = Field(default=1.0, gt=0)
    prior: Annotated[float, Field(gt=0, lt=1)] | Literal["released"] = 0.01
    weight_decay: float = Field(default=0.0, ge=0)
    proximal_mu: float = Field(default=0.0, ge=0)


class SplitConfig(Frozen):
    """Out-of-time split with a label delay, or the split that the data set brings.

    Attributes:
        by: `time`, or `given` when the set has its own.
        origin: Public day zero.
        train_days, test_days: First and last day, inclusive, counted from `origin`.
        label_delay_days: When a row carries no label time, its label is known this long after it.
        validation_days: The last days of training, kept for thresholds (by time).
        validation_share: The share kept by hash of the transaction id, where the split is `given`.
    """

    by: Literal["time", "given"] = "time"
    origin: date | None = None
    train_days: Days | None = None
    test_days: Days | None = None
    label_delay_days: float = Field(default=7, ge=0)
    validation_days: int = Field(default=7, ge=0)
    validation_share: float = Field(default=0.1, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _days_are_in_order(self) -> Self:
        if self.by == "given":
            return self
        if self.origin is None or self.train_days is None or self.test_days is None:
            raise ValueError("a split by time needs `origin`, `train_days` and `test_days`")
        (first, last), (test_first, test_last) = self.train_days, self.test_days
        if not (first <= last < test_first <= test_last):
            raise ValueError(f"train_days {first}–{last} must end before test_days {test_first}–{test_last} begin")
        if last - first + 1 <= self.validation_days:
            raise ValueError("`validation_days` leaves no training days")
        if test_first - last - 1 < self.label_delay_days:
            raise ValueError(
                f"test begins {test_first - last - 1} days after training ends, but labels take "
                f"{self.label_delay_days:g} days; leave a gap of at least that"
            )
        return self


CodecName = Literal["float32", "float16", "int8", "topk"]


class CodecConfig(Frozen):
    """How weights travel.

    Attributes:
        up: Updates from the banks.
        down: The model to the banks, as a delta to what they already hold.
        keep: Share of entries that `topk` keeps.
    """

    up: CodecName = "float32"
    down: Literal["float32", "float16", "int8"] = "float32"
    keep: float = Field(default=0.1, gt=0, le=1)


class StrategyConfig(Frozen):
    """How updates become the next model: one of Flower's strategies, or one step of DP-SGD or DP-Adam on a noisy sum.

    Attributes:
        name: `dpsgd` and `dpadam` belong to privacy mode `distributed`, and only to it.
        weighting: `equal`, or `examples` (refused under differential privacy: counts depend on data).
        server_learning_rate: For fedadam, dpsgd and dpadam; the latter two follow `training.schedule`.
        server_momentum: For fedavgm and dpsgd.
        averaging: For dpsgd and dpadam: weight of the past in the running mean of iterates that becomes the phase's
            model; 0 takes the last iterate.
        trim: Share cut on each side by fedtrimmedavg.
        byzantine: Banks that krum assumes to lie.
    """

    name: Literal[
        "fedavg", "fedprox", "fedavgm", "fedadam", "fedtrimmedavg", "fedmedian", "krum", "dpsgd", "dpadam"
    ] = "fedavg"
    weighting: Literal["equal", "examples"] = "examples"
    server_learning_rate: float = Field(default=0.02, gt=0)
    server_momentum: float = Field(default=0.5, gt=0, lt=1)
    trim: float = Field(default=0.1, gt=0, lt=0.5)
    byzantine: int = Field(default=1, ge=0)
    averaging: float = Field(default=0.0, ge=0, lt=1)

    @property
    def steps_on_sums(self) -> bool:
        """Whether one step follows one noisy sum."""
        return self.name in ("dpsgd", "dpadam")

    @property
    def needs_single_updates(self) -> bool:
        """Whether it looks at each bank's update by itself."""
        return self.name in ("fedtrimmedavg", "fedmedian", "krum")


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
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _phases_are_distinct(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phase names must be distinct; found {names}")
        return self
