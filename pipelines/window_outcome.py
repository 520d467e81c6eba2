"""What is said of monitored windows: in the outcome, for gates, and in a few figures for whoever watches."""

from __future__ import annotations

from typing import Any

from fraudfl.monitoring.history import History
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.report import WindowReport
from pipelines.watch_notes import Notes

SIGNIFICANT = 0.01
"""Largest adjusted p-value of a change that is told; rules have their own."""


def sections(history: History, notes: Notes) -> dict[str, Any]:
    """What the outcome says of a monitoring phase beside what every phase says.

    Returns:
        `monitoring`, and for gates `drift` where a window was compared: the largest change of the newest one that is no
        chance.
    """
    monitoring = {
        "windows": [
            {"number": one.window, "model": one.model, "banks": len(one.counted_by)} | history.report(one).to_dict()
            for one in history.observed
        ],
        "planned": history.spec.windows,
        "left": history.spec.windows - len(notes.judged),
        "quiet": history.spec.quiet,
        "alerts": [{name: value for name, value in facts.items() if name != "sent"} for facts in notes.alerts],
        "actions": notes.actions,
        "missed": notes.missed,
        "version": notes.version,
    }
    compared = [report for report in history.reports() if report.drifts]
    if not compared:
        return {"monitoring": monitoring}
    found = [drift.psi for drift in compared[-1].drifts if drift.p_adjusted <= SIGNIFICANT]
    drift = {"psi_max": max(found, default=0.0), "window": compared[-1].window}
    return {"monitoring": monitoring, "drift": drift}


def in_short(report: WindowReport, observed: Observed) -> dict[str, Any]:
    """A window in a few figures."""
    facts: dict[str, Any] = {"days": report.window, "model": observed.model, "rows": report.rows}
    if report.drifts:
        worst = max(report.drifts, key=lambda drift: drift.psi)
        facts |= {"psi": worst.psi, "of": worst.name, "p": worst.p_adjusted}
        facts["drifted"] = [drift.name for drift in report.drifts if drift.p_adjusted <= SIGNIFICANT]
    if report.alert_rate is not None:
        facts["alert_rate"] = report.alert_rate.rate.value
    if report.performance is not None:
        facts |= {name: estimate.value for name, estimate in report.performance.figures.items()}
        facts["frauds"] = report.performance.frauds
        if report.performance.missed_ratio is not None:
            facts["missed_ratio"] = report.performance.missed_ratio.value
    return facts
