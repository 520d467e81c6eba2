"""What a phase promises: differential privacy, and secure aggregation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fraudfl.frozen import Frozen


class PrivacyConfig(Frozen):
    """What differential privacy this phase promises.

    Attributes:
        mode: Who adds the noise: nobody, each bank in full (`local`), or each bank a share of it under secure
            aggregation (`distributed`).
        unit: What is protected: one transaction, or one account with all its transactions.
        account_rows: For unit `account`: most transactions of one account that a step, a sketch or a score histogram
            uses.
        epsilon: Budget for the phase, per unit, at each bank; encoder, training and evaluation share it.
        delta: Failure probability; at most 1 / (10 * units).
        units: Public upper bound on the units at any bank.
        expected_units: Public estimate of the units that a sum is taken over: all banks' together in mode
            `distributed`, one bank's in mode `local` (there `units` by default). Sums are divided by it, times the
            sampling rate; it has no part in ε.
        encoder_share: Part of ε that pays for the encoder's sketches; with 0 they are released without privacy.
        evaluation_share: Part of ε that pays for score histograms; with 0 they are released without privacy.
        look_share: Part of ε that pays for all looks that `early_stop` plans.
        clip_norm: L2 bound per unit, from 0.01 to 10,000.
        sampling_rate: Poisson sampling rate q of a step.
        steps_per_round: Planned DP-SGD steps per round.
        rounds_per_bank: With a `cohort`: most rounds of training that one bank takes part in. Noise is calibrated for
            so many instead of for all rounds, and each bank's gate lets out no more.
        spare_attempts: Rounds beyond the planned ones that the budget also pays for: each repeated attempt uses one.
        sum_bound: For mode `distributed`: no entry of a bank's clipped sum counts for more than this many clip norms.
    """

    mode: Literal["none", "local", "distributed"] = "none"
    unit: Literal["transaction", "account"] = "transaction"
    account_rows: int = Field(default=16, ge=1, le=1024)
    epsilon: float | None = Field(default=None, gt=0, le=1000)
    delta: float = Field(default=1e-6, gt=0, lt=1)
    units: int = Field(default=100_000, ge=1)
    expected_units: int | None = Field(default=None, ge=1)
    encoder_share: float = Field(default=0.0, ge=0, lt=1)
    evaluation_share: float = Field(default=0.0, ge=0, lt=1)
    look_share: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float = 1.0
    sampling_rate: float = Field(default=0.05, gt=0, le=1)
    steps_per_round: int = Field(default=1, ge=1)
    rounds_per_bank: int | None = Field(default=None, ge=1)
    spare_attempts: int = Field(default=0, ge=0)
    sum_bound: float = Field(default=256.0, gt=0, le=2**20)

    @field_validator("clip_norm")
    @classmethod
    def _clips_in_float32(cls, value: float) -> float:
        if not 0.01 <= value <= 1e4:
            raise ValueError(
                f"clip_norm is {value:g}; expected 0.01 to 10000: gradients are float32, where far smaller or larger "
                "norms lose their digits, and the bound that noise is scaled to would not hold. Scale "
                "`strategy.server_learning_rate` or `training.learning_rate` instead"
            )
        return value

    @model_validator(mode="after")
    def _budget_is_complete(self) -> Self:
        if self.mode == "none":
            return self
        if self.epsilon is None:
            raise ValueError(f"privacy mode `{self.mode}` needs `epsilon`")
        if self.delta > 1 / (10 * self.units):
            raise ValueError(f"delta {self.delta:g} is above 1/(10*units) = {1 / (10 * self.units):g}; lower delta")
        if self.encoder_share + self.evaluation_share + self.look_share >= 1:
            raise ValueError(
                "`encoder_share`, `evaluation_share` and `look_share` leave nothing of epsilon for training"
            )
        return self

    @model_validator(mode="after")
    def _noise_can_be_shared(self) -> Self:
        if self.mode != "distributed":
            return self
        if self.steps_per_round != 1:
            raise ValueError(
                f"steps_per_round is {self.steps_per_round}: several local steps between two releases have no proof "
                "when banks share the noise, since each bank would walk on with too little of it. Set "
                "`steps_per_round: 1`, or use mode `local`"
            )
        return self


class SecureAggregationConfig(Frozen):
    """How banks add up what they release, so that the coordinator sees sums alone.

    Attributes:
        min_cohort: Fewest banks, m, whose sum may be opened; in mode `distributed` so many share the noise.
        colluding: Most banks, t, that may work together with the coordinator.
        coordinator: `malicious`: banks confirm each other's view of who took part before they reveal anything;
            `honest-but-curious` leaves that exchange out.
        recover: Whether a sum can be opened although banks of its cohort are lost before they upload. Without it there
            is one exchange a round; a round that misses a bank is dropped, and its next attempt is a new release.
    """

    min_cohort: int = Field(default=3, ge=2, le=5000)
    colluding: int = Field(default=0, ge=0)
    coordinator: Literal["malicious", "honest-but-curious"] = "malicious"
    recover: bool = True

    @model_validator(mode="after")
    def _honest_banks_remain(self) -> Self:
        if self.colluding > self.min_cohort - 2:
            raise ValueError(
                f"with min_cohort {self.min_cohort} at most {self.min_cohort - 2} banks may be taken to collude; the "
                "sum of a single honest bank would be that bank's own figures"
            )
        return self
