"""One window's report: everything that was measured of it, for rules, for files and for people."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fraudfl.errors import DataError
from fraudfl.monitoring.baseline import SCORE, Baseline, Window
from fraudfl.monitoring.drift import Drift
from fraudfl.monitoring.performance import (
    AlertRate,
    Calibration,
    Performance,
    PerformanceConfig,
    Scored,
    alert_rate,
    calibration,
    performance,
    performance_inflation,
)


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


def report_window(window: Window, baseline: Baseline, config: PerformanceConfig) -> WindowReport:
    """Report what can be known when a window ends: drift of features and score, and the alert rate.

    Raises:
        DataError: if the window counts over other bins than the reference.
    """
    drifts = baseline.compare(window)
    score = next((drift for drift in drifts if drift.name == SCORE), None)
    alerts = None
    if window.scores is not None:
        alerts = alert_rate(
            window.scores,
            window.score_bins,
            config,
            inflation=score.inflation if score else 1.0,
            noise_variance=window.score_noise_variance,
        )
    names = tuple(quiet.name for quiet in baseline.windows)
    return WindowReport(window.name, names, window.rows, drifts, alerts)


def with_labels(
    report: WindowReport, scored: Scored, quiet: tuple[Scored, ...], config: PerformanceConfig
) -> WindowReport:
    """Add what labels tell, once they are known.

    Args:
        report: The window's report so far.
        scored: The same window's scores with labels.
        quiet: The same of windows in which the model was found good enough; their sum is what figures are compared
            with. May be empty.
        config: Threshold, budget, draws.

    Raises:
        DataError: if histograms follow different bins.
    """
    if any(other.histogram.bins != scored.histogram.bins for other in quiet):
        raise DataError(
            f"monitoring: window {report.window!r} was scored over other bins than its reference; expected one plan "
            "for both. Start a new reference."
        )
    inflation = performance_inflation(quiet, config)
    figures = performance(scored, config, reference=_sum(quiet), inflation=inflation)
    return replace(report, performance=figures, calibration=calibration(scored, config, inflation=inflation))


def _sum(quiet: tuple[Scored, ...]) -> Scored | None:
    if not quiet:
        return None
    total = quiet[0].histogram
    for other in quiet[1:]:
        total = total + other.histogram
    return Scored(total, sum(scored.noise_variance for scored in quiet))
