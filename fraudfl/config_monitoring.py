"""What a monitoring phase may do of itself: train a challenger, and by what it must beat the champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fraudfl.config_privacy import PrivacyConfig, SecureAggregationConfig
from fraudfl.config_training import StrategyConfig, TrainingConfig
from fraudfl.frozen import Frozen, Name
from fraudfl.metrics.figures import FigureName


class BarConfig(Frozen):
    """What a challenger must show.

    Attributes:
        figure: By which figure it is compared with the champion, on the newest window whose labels are known.
        at_least: The lower end of the difference's interval must be above this.
    """

    figure: FigureName = "auprc"
    at_least: float = Field(default=0.0, ge=-1, le=1)


class RetrainConfig(Frozen):
    """The challenger phase that a rule with `action: retrain` starts.

    Attributes:
        wait_days: Days from the alert to the challenger, so that enough labels of the new fraud exist.
        tries: Most challengers for one alert; one that does not win is followed by another.
        again_after_days: Days from one try to the next.
        train_days: Days of the training window; by default as many as the consortium's split has.
        like: The phase whose settings the challenger takes over; by default the last one that trains before.
        start: Train anew, with a new encoder, or go on from the champion.
        rounds, strategy, training, privacy, secure_aggregation: Where the challenger differs from `like`.
        bar: What it must show to become champion.
    """

    wait_days: int = Field(default=30, ge=0, le=366)
    tries: int = Field(default=3, ge=1, le=12)
    again_after_days: int = Field(default=30, ge=1, le=366)
    train_days: int | None = Field(default=None, ge=2, le=3660)
    like: Name | None = None
    start: Literal["fresh", "champion"] = "fresh"
    rounds: int | None = Field(default=None, ge=1, le=100_000)
    strategy: StrategyConfig | None = None
    training: TrainingConfig | None = None
    privacy: PrivacyConfig | None = None
    secure_aggregation: SecureAggregationConfig | None = None
    bar: BarConfig = BarConfig()
