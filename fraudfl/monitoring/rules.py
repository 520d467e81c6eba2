"""Applies alert rules to windows' reports: which held, since when, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from fraudfl.monitoring.drift import Drift
from fraudfl.monitoring.report import WindowReport
from fraudfl.monitoring.scores import Estimate
from fraudfl.monitoring.settings import Action, AlertRule, Severity


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

    A rule that goes on holding raises one alert, and another only after it has ceased to hold. Where its sure end says
    that it holds, it ceases when its value is back: an interval that is wide for once is no end of the trouble.

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
    if name in ("calibration_shift", "missed_ratio"):
        found = report.performance
        ratio = found.calibration_shift if name == "calibration_shift" else found.missed_ratio
        return None if ratio is None else _with_interval(ratio)
    figures = report.performance.drops if name.endswith("_drop") else report.performance.figures
    estimate = figures.get(name.removesuffix("_drop"))
    return None if estimate is None else _with_interval(estimate)


def holds(rule: AlertRule, measured: Measured, *, still: bool = False) -> bool:
    """Whether a rule's condition is met, or `still` is after it has raised an alert."""
    sure = rule.bound == "sure" and not still
    if rule.at_most is not None:
        return (measured.high if sure else measured.value) <= rule.at_most
    return rule.at_least is not None and (measured.low if sure else measured.value) >= rule.at_least


def _of_rule(rule: AlertRule, reports: Sequence[WindowReport]) -> Iterator[Alert]:
    held: list[str] = []
    for report in reports:
        measured = measure(rule, report)
        if measured is None:
            continue
        still = len(held) >= rule.windows
        held = [*held, report.window] if holds(rule, measured, still=still) else []
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
