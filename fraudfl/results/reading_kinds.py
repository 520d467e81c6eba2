"""What an assessment and a monitoring phase left in their outcomes, as values of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fraudfl.results.kinds import Action, Ahead, Alert, Column, Moved, Readiness, WatchedWindow, Watching
from fraudfl.results.measured import Estimate

Facts = Mapping[str, Any]


def readiness(facts: Facts) -> Readiness:
    """What an assessment found, from the `assessment` section of its outcome."""
    windows = facts["windows"]
    return Readiness(
        banks=facts["banks"],
        ready=_ends(facts["ready_banks"]),
        rows=_ends(facts["rows"]),
        train_frauds=_ends(windows["train"]["frauds"]),
        test_frauds=_ends(windows["test"]["frauds"]),
        columns=tuple(
            Column(
                name=one["column"],
                banks=_ends(one["banks"]),
                filled=_ends(one["present"]),
                kept=one["kept"],
                reason=one["reason"],
            )
            for one in facts["columns"]
        ),
        categories={name: tuple(values) for name, values in facts["schema"]["categories"].items()},
        power=facts["power"]["words"],
        ahead=tuple(
            Ahead(
                phase=one["phase"],
                banks=one["banks"],
                rounds=one["rounds"],
                up=one["bytes_up"],
                down=one["bytes_down"],
                seconds=one["seconds"],
                epsilon=one["epsilon"],
            )
            for one in facts["ahead"]
        ),
    )


def watching(facts: Facts) -> Watching:
    """What monitoring saw and did, from the `monitoring` section of its outcome."""
    numbers = {window["window"]: window["number"] for window in facts["windows"]}
    return Watching(
        quiet=facts["quiet"],
        planned=facts["planned"],
        windows=tuple(map(_window, facts["windows"])),
        alerts=tuple(
            Alert(
                rule=one["rule"],
                severity=one["severity"],
                window=numbers[one["window"]],
                day=one["day"],
                reason=one["reason"],
            )
            for one in facts["alerts"]
        ),
        actions=tuple(map(_action, facts["actions"])),
    )


def _window(facts: Facts) -> WatchedWindow:
    performance, rate = facts["performance"] or {}, facts["alert_rate"]
    figures = performance.get("figures", {})
    return WatchedWindow(
        number=facts["number"],
        first=facts["window"].partition("..")[0],
        model=facts["model"],
        rows=max(0, facts["rows"]),
        drifts=tuple(Moved(name=one["name"], psi=one["psi"], p=one["p_adjusted"]) for one in facts["drifts"]),
        alert_rate=None if rate is None else _ends(rate["rate"]),
        auprc=_or_none(figures.get("auprc")),
        recall_at_budget=_or_none(figures.get("recall_at_budget")),
        missed=_or_none(performance.get("missed_ratio")),
    )


def _action(facts: Facts) -> Action:
    retrained = facts["action"] == "retrain"
    return Action(
        action=facts["action"],
        day=facts["day"],
        alert=facts["alert"],
        phase=facts["phase"] if retrained else "",
        version=facts["version"],
        done=facts["promoted"] if retrained else facts["version"] is not None,
        reason=facts["reason"],
    )


def _or_none(facts: Facts | None) -> Estimate | None:
    return None if facts is None else _ends(facts)


def _ends(facts: Facts) -> Estimate:
    """A figure and its ends; where both are the figure itself it has no interval."""
    value, low, high = facts["value"], facts["low"], facts["high"]
    return Estimate(value=value) if low == high else Estimate(value=value, low=low, high=high)
