"""One window's report: everything that was measured of it, for rules, for files and for people."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fraudfl.monitoring.alert_rate import AlertRate, alert_rate
from fraudfl.monitoring.baseline import SCORE, Baseline, Window
from fraudfl.monitoring.calibration import Calibration, calibration
from fraudfl.monitoring.drift import Drift
from fraudfl.monitoring.performance import Performance, QuietScores, performance
from fraudfl.monitoring.scores import Scored
from fraudfl.monitoring.settings import ScoringConfig


@dataclass(frozen=True)
class WindowReport:
    """What is known of one window; labels, and with them performance, come later than the rest.

    Attributes:
        window: Its name.
        reference: Names of the quiet windows that it was compared with.
        rows: Transactions in it, as far as noise lets one know.
        drifts: One per feature, and `score`.
        alert_rate: Alerts against budget; None before a model scored the window.
        performance, calibration: None until labels are known.
    """

    window: str
    reference: tuple[str, ...]
    rows: int
    drifts: tuple[Drift, ...]
    alert_rate: AlertRate | None = None
    performance: Performance | None = None
    calibration: Calibration | None = None

    @property
    def score_drift(self) -> Drift | None:
        """The score's own drift, where there were scores."""
        return next((drift for drift in self.drifts if drift.name == SCORE), None)

    def to_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return {
            "window": self.window,
            "reference": list(self.reference),
            "rows": self.rows,
            "drifts": [drift.to_dict() for drift in self.drifts],
            "alert_rate": self.alert_rate and self.alert_rate.to_dict(),
            "performance": self.performance and self.performance.to_dict(),
            "calibration": self.calibration and self.calibration.to_dict(),
        }


def report_window(window: Window, baseline: Baseline, config: ScoringConfig) -> WindowReport:
    """Report what can be known when a window ends: drift of features and score, and the alert rate.

    Raises:
        DataError: if the window counts over other bins than the reference.
    """
    names = tuple(quiet.name for quiet in baseline.windows)
    report = WindowReport(window.name, names, window.rows, baseline.compare(window))
    inflation = report.score_drift.inflation if report.score_drift else 1.0
    return replace(report, alert_rate=alert_rate(window, config, inflation))


def with_labels(report: WindowReport, scored: Scored, quiet: QuietScores) -> WindowReport:
    """Add what labels tell, once they are known.

    Args:
        report: The window's report so far.
        scored: The same window's scores with labels.
        quiet: The same of windows in which the model was found good enough, and which did not train it.

    Raises:
        DataError: if histograms follow different bins.
    """
    return replace(report, performance=performance(scored, quiet), calibration=calibration(scored, quiet.config))
