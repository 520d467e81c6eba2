"""What an operator sets of monitoring: how windows are compared, which alerts are raised, and where they go.

    measure               of a window's report                                              its sure end
    psi_max               largest PSI among features whose change is no chance              -
    psi_score             PSI of the score, if its change is no chance                      -
    drifted_features      number of features whose change is no chance                      -
    auprc, auroc, balanced_accuracy, recall_at_budget       the figure                      the end nearer to quiet
    auprc_drop, ... _drop how far the figure is below the reference's                       the low end
    ece, brier            calibration error                                                 -
    calibration_shift     frauds seen per fraud that scores promised, against quiet windows the end nearer to quiet
    missed_ratio          frauds missed by the budget per row, against quiet windows        the end nearer to quiet
    alerts_of_budget      alerts in budgets                                                 the end nearer to quiet

A change is no chance where its p-value, adjusted for all features, is at most the rule's `significance`.
"""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from fraudfl.frozen import Frozen, Name
from fraudfl.metrics.figures import FIGURES

Severity = Literal["info", "warning", "critical"]
Action = Literal["none", "retrain", "rollback"]
SIGNIFICANCE = 0.01  # of p-values adjusted for all features

MEASURES = (
    "psi_max", "psi_score", "drifted_features",
    *FIGURES, *(f"{name}_drop" for name in FIGURES),
    "ece", "brier", "calibration_shift", "missed_ratio", "alerts_of_budget",
)  # fmt: skip


class ComparisonConfig(Frozen):
    """How windows are compared.

    Attributes:
        groups: Most groups that a numeric feature's or the score's bins are put into.
        least_rows: Reference rows below which a group joins another.
    """

    groups: int = Field(default=10, ge=2, le=50)
    least_rows: int = Field(default=50, ge=5)


class ScoringConfig(Frozen):
    """What is computed of a window's scores.

    Attributes:
        threshold: Logit at or above which a transaction is an alert.
        budget: Alert budget, a share of all transactions.
        replicates: Draws behind each interval.
        level: Coverage of intervals.
        calibration_groups: Groups of the reliability table, each with about as many expected frauds.
        seed: Seed of the draws.
    """

    threshold: float = 0.0
    budget: float = Field(default=0.005, gt=0, lt=1)
    replicates: int = Field(default=200, ge=20, le=10_000)
    level: float = Field(default=0.95, gt=0.5, lt=1)
    calibration_groups: int = Field(default=10, ge=2, le=50)
    seed: int = 0


class AlertRule(Frozen):
    """One rule.

    Attributes:
        name: What alerts of this rule are called.
        measure: What is looked at; see the module's table.
        at_least: The rule holds from this value up.
        at_most: The rule holds from this value down.
        windows: Windows in a row in which it must hold; those without the measure are passed over.
        severity: How bad that is.
        action: What the coordinator does of itself: nothing, start a challenger phase, or go back to the model before.
        significance: Largest adjusted p-value of a change that counts as one.
        bound: `sure`: the end of the measure's interval nearer to quiet must be beyond the threshold, so that chance
            alone raises no alert; `point`: its value.
    """

    name: Name
    measure: str
    at_least: float | None = None
    at_most: float | None = None
    windows: int = Field(default=1, ge=1, le=24)
    severity: Severity = "warning"
    action: Action = "none"
    significance: float = Field(default=SIGNIFICANCE, gt=0, le=1)
    bound: Literal["sure", "point"] = "sure"

    @model_validator(mode="after")
    def _measure_is_known(self) -> Self:
        if self.measure not in MEASURES:
            raise ValueError(f"measure {self.measure!r} is unknown; expected one of {', '.join(MEASURES)}")
        return self

    @model_validator(mode="after")
    def _has_one_threshold(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"rule {self.name!r} needs either `at_least` or `at_most`, and not both")
        return self


class WebhookConfig(Frozen):
    """An operator's web address that alerts are posted to as JSON.

    Attributes:
        url: The address, where it holds no secret.
        url_file: File (mode 0600) with the address, where knowing it is enough to post there.
        timeout_seconds: Longest wait for one answer.
        attempts: How often one alert is tried.
        pause_seconds: Wait after the first failed attempt; each further wait is twice as long.
    """

    url: str | None = None
    url_file: str | None = None
    timeout_seconds: float = Field(default=5, gt=0, le=60)
    attempts: int = Field(default=3, ge=1, le=10)
    pause_seconds: float = Field(default=1, ge=0, le=60)

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("a webhook needs either `url` or `url_file`, and not both")
        if self.url is not None:
            _check_address(self.url)
        return self


class AlertsConfig(Frozen):
    """Where alerts go besides the log.

    Attributes:
        file: File that alerts are appended to, one JSON object a line; none by default.
        webhook: Where they are posted; nowhere by default.
    """

    file: str | None = None
    webhook: WebhookConfig | None = None


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a webhook's address begins with https:// or http:// and names a host")
    if parts.username or parts.password:
        raise ValueError("a webhook's address must hold no user or password; put such an address into `url_file`")
