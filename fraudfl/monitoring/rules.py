"""Alert rules: which measure, beyond which threshold, for how many windows in a row, and what is to follow.

    measure               of a window's report                                              its sure end
    psi_max               largest PSI among features whose change is no chance              -
    psi_score             PSI of the score, if its change is no chance                      -
    drifted_features      number of features whose change is no chance                      -
    auprc, auroc, balanced_accuracy, recall_at_budget       the figure                      the end nearer to quiet
    auprc_drop, ... _drop how far the figure is below the reference's                       the low end
    ece, brier            calibration error                                                 -
    calibration_shift     frauds seen per fraud that scores promised, against quiet windows the end nearer to quiet
    alerts_of_budget      alerts in budgets                                                 the end nearer to quiet

A change is no chance where its p-value, adjusted for all features, is at most the rule's `significance`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from fraudfl.frozen import Frozen, Name
from fraudfl.metrics.figures import FIGURES
from fraudfl.monitoring.drift import Drift
from fraudfl.monitoring.report import WindowReport
from fraudfl.monitoring.scores import Estimate

Severity = Literal["info", "warning", "critical"]
Action = Literal["none", "retrain", "rollback"]

MEASURES = (
    "psi_max", "psi_score", "drifted_features",
    *FIGURES, *(f"{name}_drop" for name in FIGURES),
    "ece", "brier", "calibration_shift", "alerts_of_budget",
)  # fmt: skip


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
    significance: float = Field(default=0.01, gt=0, le=1)
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


@dataclass(frozen=True)
class Measured:
    """A measure's value in one window, and its interval where it has one."""

    value: float
    low: float
    high: float
    of: str

    @property
    def text(self) -> str:
        """The value for people."""
        span = "" if self.low == self.high else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.value:.4g}{span}{self.of}"


@dataclass(frozen=True)
class Alert:
    """A rule that held long enough.

    Attributes:
        rule: The rule's name.
        window: The window in which it had held for long enough.
        since: The first window of those.
        severity, action: The rule's.
        reason: Why, in plain words with the figures.
    """

    rule: str
    window: str
    since: str
    severity: Severity
    action: Action
    reason: str

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same alert when windows are looked at again."""
        return self.rule, self.window

    def to_dict(self) -> dict[str, str]:
        """All of it, for JSON."""
        return asdict(self)


def alerts(rules: Sequence[AlertRule], reports: Sequence[WindowReport]) -> tuple[Alert, ...]:
    """List every alert in a history; who calls this again after the next window leaves out those already sent, by key.

    A rule that goes on holding raises one alert, and another only after it has ceased to hold.

    Args:
        rules: The rules.
        reports: Reports in order of time.
    """
    return tuple(alert for rule in rules for alert in _of_rule(rule, reports))


def measure(rule: AlertRule, report: WindowReport) -> Measured | None:
    """A rule's measure in one window; None where the report does not have it (yet)."""
    name = rule.measure
    if name in ("psi_max", "psi_score", "drifted_features"):
        return _of_drift(rule, report)
    if name in ("ece", "brier"):
        return _of_calibration(name, report)
    if name == "alerts_of_budget":
        return None if report.alert_rate is None else _with_interval(report.alert_rate.of_budget)
    if report.performance is None:
        return None
    if name == "calibration_shift":
        shift = report.performance.calibration_shift
        return None if shift is None else _with_interval(shift)
    figures = report.performance.drops if name.endswith("_drop") else report.performance.figures
    estimate = figures.get(name.removesuffix("_drop"))
    return None if estimate is None else _with_interval(estimate)


def holds(rule: AlertRule, measured: Measured) -> bool:
    """Whether a rule's condition is met."""
    if rule.at_least is not None:
        return (measured.low if rule.bound == "sure" else measured.value) >= rule.at_least
    assert rule.at_most is not None  # the rule was validated
    return (measured.high if rule.bound == "sure" else measured.value) <= rule.at_most


def _of_rule(rule: AlertRule, reports: Sequence[WindowReport]) -> Iterator[Alert]:
    held: list[str] = []
    for report in reports:
        measured = measure(rule, report)
        if measured is None:
            continue
        held = [*held, report.window] if holds(rule, measured) else []
        if len(held) == rule.windows:
            reason = _reason(rule, measured, held)
            yield Alert(rule.name, report.window, held[0], rule.severity, rule.action, reason)


def _of_drift(rule: AlertRule, report: WindowReport) -> Measured | None:
    score = report.score_drift
    if rule.measure == "psi_score":
        return None if score is None else _psi([score], rule.significance)
    features = [drift for drift in report.drifts if drift is not score]
    if rule.measure == "psi_max":
        return _psi(features, rule.significance) if features else None
    changed = [drift.name for drift in features if drift.p_adjusted <= rule.significance]
    named = f": {', '.join(changed)}" if changed else ""
    return Measured(len(changed), len(changed), len(changed), named)


def _psi(drifts: Sequence[Drift], significance: float) -> Measured:
    """The largest PSI among changes that are no chance; 0 where there is none."""
    changed = [drift for drift in drifts if drift.p_adjusted <= significance]
    if not changed:
        return Measured(0.0, 0.0, 0.0, "")
    worst = max(changed, key=lambda drift: drift.psi)
    return Measured(worst.psi, worst.psi, worst.psi, f" in {worst.name} (p = {worst.p_adjusted:.2g})")


def _of_calibration(name: str, report: WindowReport) -> Measured | None:
    if report.calibration is None:
        return None
    value = report.calibration.ece if name == "ece" else report.calibration.brier
    return Measured(value, value, value, "")


def _with_interval(estimate: Estimate) -> Measured:
    return Measured(estimate.value, estimate.low, estimate.high, "")


def _reason(rule: AlertRule, measured: Measured, held: Sequence[str]) -> str:
    threshold = f"at least {rule.at_least:g}" if rule.at_least is not None else f"at most {rule.at_most:g}"
    lasting = f", for {len(held)} windows since {held[0]}" if len(held) > 1 else ""
    return f"{rule.measure} in {held[-1]} is {measured.text}; rule {rule.name!r} alerts at {threshold}{lasting}"
