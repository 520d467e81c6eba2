"""A monitored history: windows in order of time, the references they are compared with, and what rules make of them.

The first windows are the standing reference. A model that comes later has a reference of its own once it was in use in
as many quiet windows. Until then features are held against the reference of the model before, and its figures against
the standard that it set for itself in the contest it won, with as much variation between windows as the model before
had. A model without such a standard, because somebody promoted it by hand, is held against the figures of the model
before that do not depend on what a model's scores mean (AUPRC, AUROC, recall at budget, missed frauds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeVar, cast

from fraudfl.metrics.histogram import ScoreBins
from fraudfl.monitoring.alert_rate import alert_rate
from fraudfl.monitoring.baseline import Baseline
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.performance import Performance, Promised, QuietScores
from fraudfl.monitoring.report import WindowReport, report_window, with_labels
from fraudfl.monitoring.rules import Alert, alerts
from fraudfl.monitoring.scores import Scored
from fraudfl.monitoring.settings import AlertRule, ComparisonConfig, ScoringConfig
from fraudfl.monitoring.spec import WatchSpec

Made = TypeVar("Made")

OF_DRIFT = ("psi_max", "drifted_features")
"""Measures of features, which are the same whichever model is in use."""
_LEAST_QUIET = 3  # with fewer nothing is known of how much quiet windows differ


@dataclass(frozen=True)
class _Reference:
    """Quiet windows of one model."""

    model: int
    windows: tuple[Observed, ...]


@dataclass
class History:
    """Windows that were observed, and reports of them.

    Attributes:
        spec: The plan's windows and bins.
        bins: The plan's score bins.
        scoring: What is computed of scores; the threshold is each model's own.
        comparison: How windows are compared.
        observed: In order of time.
        standards: Model to how it scored the window of the contest that it won.
    """

    spec: WatchSpec
    bins: ScoreBins
    scoring: ScoringConfig
    comparison: ComparisonConfig = field(default_factory=ComparisonConfig)
    observed: list[Observed] = field(default_factory=list)
    standards: dict[int, Scored] = field(default_factory=dict)
    _made: dict[object, object] = field(default_factory=dict, repr=False)

    def put(self, observed: Observed) -> None:
        """Add a window, or put it in place of the same one without outcome."""
        self.observed = sorted(
            [one for one in self.observed if one.window != observed.window] + [observed], key=lambda one: one.window
        )

    def window(self, number: int) -> Observed | None:
        """One window, where it was observed."""
        return next((one for one in self.observed if one.window == number), None)

    def reports(self) -> list[WindowReport]:
        """A report of every window, in order of time; reference windows are compared with nothing."""
        return [self.report(one) for one in self.observed]

    def report(self, observed: Observed) -> WindowReport:
        """What is known of one window."""
        reference = self._reference(observed)
        quiet = () if reference is None else tuple((one.window, one.outcome is None) for one in reference.windows)
        key = ("report", observed.window, observed.outcome is None, quiet)
        return self._once(key, lambda: self._report(observed, reference))

    def raised(self, rules: Sequence[AlertRule]) -> list[Alert]:
        """Every alert so far, in order of windows.

        A rule about features begins anew when the reference changes, one about a model when the model does.
        """
        found = [alert for rule in rules for run in self._runs(rule) for alert in alerts([rule], run)]
        order = [one.name for one in self.observed]
        return sorted(found, key=lambda alert: order.index(alert.window))

    def inflation(self, observed: Observed, figure: str) -> float:
        """How much more a figure varies between quiet windows than within them; 1 where it is not known."""
        reference = self._reference(observed)
        if reference is None:
            return 1.0
        usual = self._quiet(observed, reference).usual.get(figure)
        return 1.0 if usual is None else usual.inflation

    def _runs(self, rule: AlertRule) -> Iterator[list[WindowReport]]:
        """Stretches of windows within which a rule that goes on holding is one and the same trouble."""
        about_features = rule.measure in OF_DRIFT
        same = (lambda one: self.report(one).reference) if about_features else (lambda one: one.model)
        for _, run in groupby(self.observed, key=same):
            yield [self.report(one) for one in run]

    def _reference(self, observed: Observed) -> _Reference | None:
        """Its own model's quiet windows where they were complete before it, else the last that were; None without."""
        complete = self._complete_before(observed.window)
        own = [one for one in complete if one.model == observed.model]
        found = own or complete
        return found[-1] if found else None

    def _complete_before(self, window: int) -> list[_Reference]:
        """References in the order in which they were completed."""
        seen: dict[int, list[Observed]] = {}
        complete: list[_Reference] = []
        for one in self.observed:
            if one.window >= window:
                break
            mine = seen.setdefault(one.model, [])
            mine.append(one)
            if len(mine) == self.spec.quiet:
                complete.append(_Reference(one.model, tuple(mine)))
        return complete

    def _report(self, observed: Observed, reference: _Reference | None) -> WindowReport:
        config = self.scoring.model_copy(update={"threshold": observed.threshold})
        own = reference is not None and reference.model == observed.model
        counts = observed.counts(self.spec.features, self.bins)
        if reference is None:
            report = WindowReport(observed.name, (), counts.rows, (), alert_rate(counts, config))
        else:
            report = report_window(counts, self._baseline(reference, own), config)
        scored = observed.scored(self.bins)
        if scored is None:
            return report
        quiet = QuietScores((), config) if reference is None else self._quiet(observed, reference)
        standard = None if own else self.standards.get(observed.model)
        if standard is not None:
            quiet = Promised((standard,), config, before=quiet)
        report = with_labels(report, scored, quiet)
        if own or standard is not None or report.performance is None:
            return report
        return replace(report, performance=_of_another_model(report.performance))

    def _baseline(self, reference: _Reference, own: bool) -> Baseline:
        def make() -> Baseline:
            windows = [one.counts(self.spec.features, self.bins, with_scores=own) for one in reference.windows]
            return Baseline(tuple(windows), self.comparison)

        return self._once(("baseline", _ids(reference), own), make)

    def _quiet(self, observed: Observed, reference: _Reference) -> QuietScores:
        """What figures were in the reference; nothing where labels of too few of its windows are known."""
        judged = [one for one in reference.windows if one.outcome is not None]
        key = ("quiet", _ids(reference), len(judged), observed.threshold)

        def make() -> QuietScores:
            scored = [found for one in judged if (found := one.scored(self.bins)) is not None]
            config = self.scoring.model_copy(update={"threshold": observed.threshold})
            return QuietScores(tuple(scored) if len(scored) >= _LEAST_QUIET else (), config)

        return self._once(key, make)

    def _once(self, key: object, make: Callable[[], Made]) -> Made:
        """Bootstraps take their time, and what they were made of does not change."""
        if key not in self._made:
            self._made[key] = make()
        return cast(Made, self._made[key])


def _ids(reference: _Reference) -> tuple[int, ...]:
    return tuple(one.window for one in reference.windows)


def _of_another_model(found: Performance) -> Performance:
    """Without what depends on the meaning of one model's scores."""
    drops = {name: drop for name, drop in found.drops.items() if name != "balanced_accuracy"}
    return replace(found, drops=drops, calibration_shift=None)
