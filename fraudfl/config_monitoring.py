"""What a monitoring phase watches, when it alerts, and what it may do of itself: a challenger, or the way back."""

from __future__ import annotations

from datetime import date
from typing import Literal, Self

from pydantic import Field, model_validator

from fraudfl.config_privacy import PrivacyConfig, SecureAggregationConfig
from fraudfl.config_training import StrategyConfig, TrainingConfig
from fraudfl.frozen import Frozen, Name
from fraudfl.metrics.figures import FigureName
from fraudfl.monitoring.settings import AlertRule, AlertsConfig, ComparisonConfig


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


def challenger_name(monitoring: str, number: int) -> str:
    """What the phase that trains a monitoring phase's challenger is called."""
    return f"{monitoring}-retrain-{number}"


def is_challenger(name: str, monitoring: str) -> bool:
    """Whether a phase of that name was started by a monitoring phase."""
    before, _, number = name.rpartition("-")
    return number.isdecimal() and name == challenger_name(monitoring, int(number)) and bool(before)


class WatchingConfig(Frozen):
    """What monitoring has beyond what every phase has.

    Attributes:
        first: First day to watch; by default the one after the split's test days.
        window_days: Length of a window.
        windows: How many there are, the quiet ones among them.
        quiet: The first windows, which later ones are compared with. With fewer than three nothing is known of how much
            quiet windows differ. None of their rows may have trained the model.
        labels_after_days: So long after a window's end its labels are taken to be known.
        bins_per_decade: Resolution of what is watched of the features; see `WatchSpec`.
        model: What is watched: `champion`, or a phase's name.
        rules: When an alert is raised, and what is done then.
        alerts: Where alerts go besides the log.
        comparison: How windows are compared.
        retrain: How a challenger is trained, for rules with `action: retrain`.
    """

    first: date | None = None
    window_days: int = Field(default=30, ge=1, le=366)
    windows: int = Field(default=16, ge=1, le=1200)
    quiet: int = Field(default=4, ge=3, le=120)
    labels_after_days: float = Field(default=30, ge=0, le=3660)
    bins_per_decade: int = Field(default=5, ge=4, le=50)
    model: Name = "champion"
    rules: tuple[AlertRule, ...] = ()
    alerts: AlertsConfig = AlertsConfig()
    comparison: ComparisonConfig = ComparisonConfig()
    retrain: RetrainConfig | None = None

    @model_validator(mode="after")
    def _something_is_compared(self) -> Self:
        if self.quiet >= self.windows:
            raise ValueError(
                f"the first {self.quiet} of {self.windows} windows are the quiet ones, so that none is left to compare "
                "with them; set `windows` higher"
            )
        return self

    @model_validator(mode="after")
    def _rules_are_distinct(self) -> Self:
        names = [rule.name for rule in self.rules]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two rules are named {doubled[0]!r}; an alert is known by its rule's name")
        return self

    @model_validator(mode="after")
    def _actions_can_be_taken(self) -> Self:
        for rule in self.rules:
            if rule.action != "none" and self.model != "champion":
                raise ValueError(
                    f"rule {rule.name!r} asks to {rule.action}, which changes the champion, and {self.model!r} is "
                    "watched; set `model: champion`"
                )
            if rule.action == "retrain" and self.retrain is None:
                raise ValueError(
                    f"rule {rule.name!r} asks to retrain; add a `retrain:` section, `{{}}` for its defaults"
                )
        return self
