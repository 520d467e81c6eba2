"""The model, how a bank trains it, how weights travel, and how updates become the next model."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fraudfl.frozen import Frozen


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


CodecName = Literal["float32", "float16", "int8", "topk"]
DownName = Literal["float32", "float16", "int8"]


class Codec(Frozen):
    """How weights travel, as a plan fixes it.

    Attributes:
        up: Updates from the banks.
        down: The model to the banks: as a delta to what they already hold, or whole where they take turns.
        keep: Share of entries that `topk` keeps.
    """

    up: CodecName = "float32"
    down: DownName = "float32"
    keep: float = Field(default=0.1, gt=0, le=1)


class CodecConfig(Frozen):
    """How weights travel: a codec each way, or a budget of bytes that it is chosen for when the plan is made.

    Attributes:
        up: Updates from the banks; `auto` takes the finest that the budget allows.
        down: The model to the banks, as a delta to what they already hold, or whole where they take turns; `auto`
            likewise.
        keep: Share of entries that `topk` keeps; `auto` finds its own.
        max_bytes_per_round: Most bytes that one bank's question of a round of training and its reply may take, as they
            are serialised. What is sent now and then comes beside it: plan, encoder and keys once, score histograms
            where a round has a look, the model whole to a bank that missed a round, and what opens a masked sum.
    """

    up: CodecName | Literal["auto"] = "float32"
    down: DownName | Literal["auto"] = "float32"
    keep: float = Field(default=0.1, gt=0, le=1)
    max_bytes_per_round: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _auto_has_a_budget(self) -> Self:
        if "auto" in (self.up, self.down) and self.max_bytes_per_round is None:
            raise ValueError("codec `auto` fits a budget of bytes; set `max_bytes_per_round`")
        return self


class EarlyStopConfig(Frozen):
    """When training ends before its planned rounds: when looks at the validation rows show no more gain.

    Attributes:
        patience: So many looks must surely have gained nothing.
        least_gain: What counts as a gain in AUPRC.
        bins: Bins of a look's score histograms; fewer let less noise into a private look.
    """

    patience: int = Field(default=3, ge=1, le=1000)
    least_gain: float = Field(default=0.002, ge=0, lt=1)
    bins: int = Field(default=128, ge=16, le=65_536)


class StrategyConfig(Frozen):
    """How updates become the next model: one of Flower's strategies, or one step of DP-SGD or DP-Adam on a noisy sum.

    Attributes:
        name: `dpsgd` and `dpadam` belong to privacy mode `distributed`, and only to it.
        weighting: `equal`, or `examples` (refused under differential privacy: counts depend on data).
        largest_weight: With weighting `examples`: the largest share of the weights that one bank may have; larger
            banks count as if they had so many examples fewer.
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
    largest_weight: float | None = Field(default=None, gt=0, lt=1)
    server_learning_rate: float = Field(default=0.02, gt=0)
    server_momentum: float = Field(default=0.5, gt=0, lt=1)
    trim: float = Field(default=0.1, gt=0, lt=0.5)
    byzantine: int = Field(default=1, ge=0)
    averaging: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _weights_can_be_capped(self) -> Self:
        if self.largest_weight is not None and self.weighting != "examples":
            raise ValueError(
                "`largest_weight` caps what `weighting: examples` gives; with equal weights leave it out: no bank "
                "counts for more than another"
            )
        if self.largest_weight is not None and self.needs_single_updates:
            raise ValueError(f"strategy {self.name!r} reads no weights; leave `largest_weight` out")
        return self

    @property
    def steps_on_sums(self) -> bool:
        """Whether one step follows one noisy sum."""
        return self.name in ("dpsgd", "dpadam")

    @property
    def needs_single_updates(self) -> bool:
        """Whether it looks at each bank's update by itself."""
        return self.name in ("fedtrimmedavg", "fedmedian", "krum")
