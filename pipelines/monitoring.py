"""Monitoring: window after window is watched, judged once labels are known, and acted on where a rule says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np

from fraudfl.config import MonitoringConfig
from fraudfl.errors import BundleError, QuorumError
from fraudfl.monitoring.agenda import Due, next_due
from fraudfl.monitoring.history import History
from fraudfl.monitoring.life import Challenge, Clock, Contested, Life, Serving
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.rules import Alert
from fraudfl.monitoring.settings import ScoringConfig
from fraudfl.monitoring.sinks import AlertSink, deliver
from pipelines.clocks import RealClock, SimulatedClock
from pipelines.phase import continued, meet, outcome_so_far
from pipelines.watch_notes import Notes, Waiting
from pipelines.window_counts import WindowCounts
from pipelines.window_outcome import in_short, sections
from pipelines.world import Phase


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
        self._counts = WindowCounts(phase, cache(lambda version: life.serving(str(version)).bundle))

    def run(self, days: int | None = None) -> dict[str, Any]:
        """Take step after step, up to a day; returns the outcome."""
        until = None if days is None else self._spec.first + timedelta(days=days)
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
            started = time.monotonic()
            self._step(due)
            self._phase.state.seconds += time.monotonic() - started
        if not self._history.observed and self._notes.missed:
            raise QuorumError(f"no window was answered by enough banks; the last: {self._notes.missed[-1]['reason']}")
        return outcome_so_far(self._phase) | {"status": "completed"} | sections(self._history, self._notes)

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
        observed = self._or_missed(due, lambda: self._counts.watch(due.window, self._notes.version))
        self._notes.watched.add(due.window)
        if observed is None:
            # What was not watched is not judged either.
            self._notes.judged.add(due.window)
            return
        self._put(observed)

    def _judge(self, due: Due) -> None:
        """Ask how the model that was in use did, now that labels are known."""
        observed = self._history.window(due.window)
        assert observed is not None  # what was not watched is not due
        judged = self._or_missed(due, lambda: self._counts.judge(observed))
        self._notes.judged.add(due.window)
        if judged is not None:
            self._put(judged)

    def _or_missed(self, due: Due, ask: Callable[[], Observed]) -> Observed | None:
        """What the banks answer; None where too few did, which does not end the watching of later windows."""
        try:
            return ask()
        except QuorumError as error:
            self._notes.missed.append({"window": due.window, "step": due.step, "reason": str(error)})
            self._phase.world.progress.event("missed", window=due.window, step=due.step, reason=str(error))
            return None

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

    def _put(self, observed: Observed) -> None:
        self._history.put(observed)
        self._notes.observed[observed.window] = observed.to_facts()
        facts = in_short(self._history.report(observed), observed)
        moved = self._phase.state.newly_moved()
        self._phase.world.progress.event("window", number=observed.window, windows=self._spec.windows, **facts, **moved)
        figures = {name: float(value) for name, value in facts.items() if isinstance(value, int | float)}
        self._phase.world.registry.log_round(observed.window, figures)

    def _save(self) -> None:
        state = self._phase.state
        # Windows up to here are asked about no more.
        done = self._notes.watched & self._notes.judged
        state.round = next((number - 1 for number in range(1, self._spec.windows + 2) if number not in done), 0)
        state.notes = self._notes.to_facts()
        self._phase.save()


def _clock_of(phase: Phase) -> Clock:
    if phase.world.pooled is None:
        return RealClock(phase.world.fleet)
    assert phase.plan.watch is not None
    return SimulatedClock(phase.plan.watch.first)
