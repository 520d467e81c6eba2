"""Monitoring: window after window is watched, judged once labels are known, and acted on where a rule says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudfl.config import MonitoringConfig
from fraudfl.errors import BundleError, QuorumError
from fraudfl.models.mlp import build_model, layout
from fraudfl.monitoring.agenda import Due, next_due
from fraudfl.monitoring.history import History
from fraudfl.monitoring.life import Challenge, Clock, Contested, Life, Serving
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.report import WindowReport
from fraudfl.monitoring.rules import Alert
from fraudfl.monitoring.settings import ScoringConfig
from fraudfl.monitoring.sinks import AlertSink, deliver
from fraudfl.protocols import Kind, Scalar
from fraudfl.transfer.codec import encode
from fraudfl.transfer.model import vector_digest
from pipelines.asking import Enclosed
from pipelines.clocks import RealClock, SimulatedClock
from pipelines.counts import sum_counts
from pipelines.phase import continued, meet, outcome_so_far
from pipelines.summing import Summed
from pipelines.watch_notes import Notes, Waiting
from pipelines.world import Phase

THRESHOLD = "budget"
"""Which of a model's thresholds makes its alerts."""


def run_monitoring(
    phase: Phase,
    settings: MonitoringConfig,
    life: Life,
    *,
    clock: Clock | None = None,
    sinks: tuple[AlertSink, ...] = (),
    days: int | None = None,
) -> dict[str, Any]:
    """Watch a model in use until the plan's windows are over; returns the outcome for `summary.json`.

    Args:
        phase: The phase, new or gone on with.
        settings: Its section of the configuration.
        life: The consortium's models.
        clock: By default simulated where the banks' folders are on this machine, and the calendar elsewhere.
        sinks: Where alerts go.
        days: Stop before the first step that is due later than so many days after the first window began.

    Raises:
        QuorumError: when too few banks take the plan, or no window at all was answered by enough of them.
    """
    return Monitoring(phase, settings, life, clock or _clock_of(phase), sinks).run(days)


class Monitoring:
    """One monitoring phase under way."""

    def __init__(
        self, phase: Phase, settings: MonitoringConfig, life: Life, clock: Clock, sinks: tuple[AlertSink, ...]
    ) -> None:
        """Put the parts together; nothing is asked yet."""
        assert phase.plan.watch is not None  # a monitoring plan's
        self._phase, self._settings, self._life = phase, settings, life
        self._clock, self._sinks = clock, sinks
        self._spec, self._bins = phase.plan.watch, phase.plan.score_bins
        scoring = ScoringConfig(budget=phase.plan.alert_budget)
        self._history = History(self._spec, self._bins, scoring, settings.comparison)
        self._notes = Notes()
        self._bundle = cache(life.serving)

    def run(self, days: int | None = None) -> dict[str, Any]:
        """Take step after step, up to a day; returns the outcome."""
        until = None if days is None else self._spec.first + timedelta(days=days)
        started = time.monotonic()
        if continued(self._phase):
            self._notes = Notes.from_facts(self._phase.state.notes)
            for facts in self._notes.observed.values():
                self._history.put(Observed.from_facts(facts, self._spec.size, self._bins))
            for facts in self._notes.promoted.values():
                self._set_standard(Contested(**(facts | {"counts": tuple(facts["counts"])})))
            self._follow()
            self._settle(self._notes.day)
        else:
            meet(self._phase)
            self._use(self._life.serving(self._settings.model))
            self._save()
        while (due := self._next()) is not None and (until is None or due.day <= until):
            self._clock.wait_until(due.day)
            self._step(due)
        if not self._history.observed and self._notes.missed:
            raise QuorumError(f"no window was answered by enough banks; the last: {self._notes.missed[-1]['reason']}")
        outcome = outcome_so_far(self._phase) | {"status": "completed", "monitoring": self._section()}
        return outcome | {"seconds": self._phase.state.seconds + time.monotonic() - started}

    def _next(self) -> Due | None:
        retrain = None if self._notes.waiting is None else self._notes.waiting.due
        return next_due(self._spec, self._notes.watched, self._notes.judged, retrain)

    def _step(self, due: Due) -> None:
        self._phase.world.progress.event("due", step=due.step, window=due.window, day=due.day.isoformat())
        self._follow()
        {"watch": self._watch, "outcome": self._judge, "retrain": self._retrain}[due.step](due)
        self._notes.day = due.day
        self._save()
        self._settle(due.day)

    def _follow(self) -> None:
        """Watch whoever is champion now: the operator may have promoted another, or gone back, by hand."""
        if self._settings.model == "champion":
            serving = self._life.serving("champion")
            if serving.version != self._notes.version:
                self._use(serving)

    def _watch(self, due: Due) -> None:
        """Ask what the window's features and scores look like."""
        version = self._notes.version
        summed = self._asked("watch", due, version)
        self._notes.watched.add(due.window)
        if summed is None:
            # What was not watched is not judged either.
            self._notes.judged.add(due.window)
            return
        observed = Observed(
            window=due.window,
            name=self._spec.name_of(due.window),
            model=version,
            threshold=self._threshold(version),
            features=_whole(summed.vectors["features"]),
            scores=_whole(summed.vectors["scores"]),
            banks=len(summed.banks),
            noise=self._noise("watch", summed),
        )
        self._put(observed)

    def _judge(self, due: Due) -> None:
        """Ask how the model that was in use did, now that labels are known."""
        observed = self._history.window(due.window)
        assert observed is not None  # what was not watched is not due
        summed = self._asked("outcome", due, observed.model)
        self._notes.judged.add(due.window)
        if summed is not None:
            counts = _whole(summed.vectors["scores"])
            self._put(observed.judged(counts, summed.banks, self._noise("outcome", summed)))

    def _retrain(self, due: Due) -> None:
        """Train a challenger, and let it meet the champion on the newest window whose labels are known."""
        waiting = self._notes.waiting
        assert waiting is not None  # it is due
        assert self._settings.retrain is not None  # nothing else makes one wait
        judged = [one for one in self._history.observed if one.outcome is not None and one.window > waiting.window]
        if not judged:
            # The next is compared on a newer window, or not at all.
            more = len(self._notes.judged) < self._spec.windows
            self._notes.waiting = waiting.later(self._spec.window_days) if more else None
            return
        newest, number = judged[-1], self._notes.challengers + 1
        first, last = self._spec.days_of(newest.window)
        figure = self._settings.retrain.bar.figure
        contested = self._life.challenge(
            Challenge(
                number=number,
                first=first,
                last=last,
                banks=tuple(sorted(self._phase.world.fleet.banks())),
                champion=newest,
                inflation=self._history.inflation(newest, figure),
            )
        )
        self._notes.challengers = number
        self._decided(due, waiting.again(due.day, self._settings.retrain.again_after_days, newest.window), contested)

    def _decided(self, due: Due, again: Waiting, contested: Contested) -> None:
        """Go on with who won; where that is the champion, perhaps with another try."""
        assert self._settings.retrain is not None
        facts: dict[str, Any] = {"action": "retrain", "day": due.day.isoformat(), "alert": again.alert}
        facts |= {name: getattr(contested, name) for name in ("phase", "version", "promoted", "reason")}
        self._notes.actions.append(facts)
        self._phase.world.progress.event("challenged", **facts)
        tries_left = again.tried < self._settings.retrain.tries
        self._notes.waiting = again if tries_left and not contested.promoted else None
        if contested.promoted and contested.version is not None:
            self._notes.promoted[contested.version] = asdict(contested)
            self._set_standard(contested)
            self._use(self._life.serving("champion"))

    def _set_standard(self, contested: Contested) -> None:
        scored = contested.scored(self._bins)
        if contested.version is not None and scored is not None:
            self._history.standards[contested.version] = scored

    def _settle(self, day: date) -> None:
        """Raise alerts that are new, and do what they ask for."""
        known = self._notes.raised
        for alert in self._history.raised(self._settings.rules):
            if alert.key not in known:
                self._notes.alerts.append({**alert.to_dict(), "day": day.isoformat(), "sent": False})
                self._phase.world.progress.event("alert", day=day.isoformat(), **alert.to_dict())
                self._act(alert, day)
        # On the disk before anything is sent: a run that is killed meanwhile neither forgets an alert nor acts twice.
        self._save()
        self._send()

    def _act(self, alert: Alert, day: date) -> None:
        """Do what a rule asks for; a model that is no longer in use needs nothing done."""
        about = next(one.model for one in self._history.observed if one.name == alert.window)
        if alert.action == "none" or about != self._notes.version:
            return
        if alert.action == "rollback":
            self._roll_back(alert, day)
        elif self._settings.retrain is not None and self._notes.waiting is None:
            due = day + timedelta(days=self._settings.retrain.wait_days)
            self._notes.waiting = Waiting(alert.rule, due)

    def _roll_back(self, alert: Alert, day: date) -> None:
        facts: dict[str, Any] = {"action": "rollback", "day": day.isoformat(), "alert": alert.rule}
        try:
            serving = self._life.rollback(alert.reason)
            self._use(serving)
            facts |= {"version": serving.version, "reason": alert.reason}
        except BundleError as error:
            facts |= {"version": None, "reason": str(error)}
        self._notes.actions.append(facts)
        self._phase.world.progress.event("rolled back", **facts)

    def _send(self) -> None:
        for facts in self._notes.alerts:
            if not facts["sent"]:
                alert = Alert(**{name: value for name, value in facts.items() if name not in ("day", "sent")})
                deliver([alert], self._sinks)
                facts["sent"] = True
        self._save()

    def _use(self, serving: Serving) -> None:
        self._notes.version = serving.version
        self._phase.state.encoder = serving.bundle.encoder.to_bytes()
        self._phase.state.model = np.asarray(serving.bundle.weights, dtype=np.float32)
        self._phase.world.progress.event("in use", version=serving.version)

    def _asked(self, kind: Kind, due: Due, version: int) -> Summed | None:
        """The sum over banks; None where too few answered, which does not end the watching of later windows."""
        try:
            summed = sum_counts(self._phase, kind, due.window, self._model(version))
        except QuorumError as error:
            self._notes.missed.append({"window": due.window, "step": kind, "reason": str(error)})
            self._phase.world.progress.event("missed", window=due.window, step=kind, reason=str(error))
            return None
        self._phase.state.held |= dict.fromkeys(summed.banks, version)
        return summed

    def _model(self, version: int) -> Callable[[str], Enclosed]:
        """The model for a bank: pinned by digest, and whole where the bank does not hold it."""
        bundle = self._bundle(str(version)).bundle
        weights = np.asarray(bundle.weights, dtype=np.float32)
        values: dict[str, Scalar] = {
            "version": version,
            "model": vector_digest(weights),
            "encoder": bundle.encoder.digest,
            "threshold": self._threshold(version),
        }
        shape = layout(build_model(bundle.model, bundle.encoder.width))
        whole = {"encoder": bundle.encoder.to_bytes(), "model": encode(weights, "float32", shape)}
        held = self._phase.state.held
        return lambda bank: Enclosed(values, {} if held.get(bank) == version else whole)

    def _threshold(self, version: int) -> float:
        return float(self._bundle(str(version)).bundle.thresholds[THRESHOLD])

    def _noise(self, kind: Kind, summed: Summed) -> float:
        """Variance of the noise in each count of a sum."""
        mechanism = self._phase.plan.mechanism(kind)
        return 0.0 if mechanism is None else mechanism.share_deviation**2 * len(summed.banks)

    def _put(self, observed: Observed) -> None:
        self._history.put(observed)
        self._notes.observed[observed.window] = observed.to_facts()
        report = self._history.report(observed)
        self._phase.world.progress.event("window", number=observed.window, **_short(report, observed))

    def _save(self) -> None:
        state = self._phase.state
        # Windows up to here are asked about no more.
        done = self._notes.watched & self._notes.judged
        state.round = next((number - 1 for number in range(1, self._spec.windows + 2) if number not in done), 0)
        state.notes = self._notes.to_facts()
        self._phase.save()

    def _section(self) -> dict[str, Any]:
        """What the outcome says of this phase beside what every phase says."""
        notes = self._notes
        return {
            "windows": [
                {"number": one.window, "model": one.model, "banks": one.banks} | self._history.report(one).to_dict()
                for one in self._history.observed
            ],
            "planned": self._spec.windows,
            "left": self._spec.windows - len(notes.judged),
            "quiet": self._spec.quiet,
            "alerts": [{name: value for name, value in facts.items() if name != "sent"} for facts in notes.alerts],
            "actions": notes.actions,
            "missed": notes.missed,
            "version": notes.version,
        }


def _clock_of(phase: Phase) -> Clock:
    if phase.world.pooled is None:
        return RealClock(phase.world.fleet)
    assert phase.plan.watch is not None
    return SimulatedClock(phase.plan.watch.first)


def _whole(vector: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(vector).astype(np.int64)


def _short(report: WindowReport, observed: Observed) -> dict[str, Any]:
    """A window in a few figures, for whoever watches."""
    facts: dict[str, Any] = {"days": report.window, "model": observed.model, "rows": report.rows}
    drifted = [drift for drift in report.drifts if drift.p_adjusted <= 0.01]
    if report.drifts:
        worst = max(report.drifts, key=lambda drift: drift.psi)
        facts |= {
            "drifted": [drift.name for drift in drifted],
            "psi": worst.psi,
            "of": worst.name,
            "p": worst.p_adjusted,
        }
    if report.alert_rate is not None:
        facts["alert_rate"] = report.alert_rate.rate.value
    if report.performance is not None:
        facts |= {name: estimate.value for name, estimate in report.performance.figures.items()}
        facts["frauds"] = report.performance.frauds
        if report.performance.missed_ratio is not None:
            facts["missed_ratio"] = report.performance.missed_ratio.value
    return facts
