"""Monitoring phases of the YAML: what is watched, and what does not go together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fraudfl.config import FraudflConfig, MonitoringConfig
from fraudfl.config_monitoring import challenger_name, is_challenger
from fraudfl.data.simulate import GENERATED_CONTRACT
from fraudfl.errors import PlanError
from fraudfl.planning import make_plan

RETRAIN = {"name": "new", "measure": "missed_ratio", "at_least": 1.5, "action": "retrain"}
ROLLBACK = {"name": "worse", "measure": "auprc_drop", "at_least": 0.2, "action": "rollback"}


def monitoring(**facts: Any) -> MonitoringConfig:
    return MonitoringConfig.model_validate({"name": "watch", "kind": "monitoring"} | facts)


def config_of(phase: MonitoringConfig, **split: Any) -> FraudflConfig:
    usual = {"by": "time", "origin": "2025-01-01", "train_days": [0, 50], "test_days": [60, 80]}
    facts: dict[str, Any] = {"consortium": {"name": "c"}, "split": split or usual}
    return FraudflConfig.model_validate(facts | {"phases": [phase.model_dump()]})


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"windows": 4, "quiet": 4}, "the first 4 of 4 windows are the quiet ones"),
        ({"quiet": 2}, "greater than or equal to 3"),
        ({"rules": [ROLLBACK, ROLLBACK]}, "two rules are named 'worse'"),
        ({"rules": [RETRAIN]}, "rule 'new' asks to retrain; add a `retrain:` section"),
        ({"rules": [ROLLBACK], "model": "pilot"}, "changes the champion, and 'pilot' is watched"),
        ({"retrain": {"start": "challenger"}}, "'fresh' or 'champion'"),
    ],
)
def test_what_does_not_go_together_is_refused(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        monitoring(**facts)


def test_rules_of_a_watched_champion_may_change_it() -> None:
    found = monitoring(rules=[RETRAIN, ROLLBACK], retrain={})
    assert found.retrain is not None
    assert (found.retrain.wait_days, found.retrain.tries, found.retrain.start) == (30, 3, "fresh")


def test_the_first_window_begins_after_the_test_days_unless_a_day_is_given() -> None:
    plan = make_plan(config_of(monitoring()), monitoring(), GENERATED_CONTRACT)
    assert plan.watch is not None
    assert plan.watch.days_of(1)[0].isoformat() == "2025-03-23"
    assert (plan.watch.quiet, plan.watch.windows, plan.rounds) == (4, 16, 16)
    assert plan.watch.features.bins_per_decade == 5
    given = monitoring(first="2025-06-01")
    assert make_plan(config_of(given), given, GENERATED_CONTRACT).watch.first.isoformat() == "2025-06-01"  # type: ignore[union-attr]


def test_a_split_that_is_given_says_no_day_to_begin_on() -> None:
    with pytest.raises(PlanError, match="set `first`"):
        make_plan(config_of(monitoring(), by="given"), monitoring(), GENERATED_CONTRACT)


def test_all_windows_are_released_by_name_and_paid_for_beforehand() -> None:
    privacy = {"mode": "local", "epsilon": 2.0, "units": 1000}
    phase = monitoring(privacy=privacy, windows=6)
    plan = make_plan(config_of(phase), phase, GENERATED_CONTRACT)
    assert {"watch", "outcome"} <= set(plan.releases)
    assert [plan.paid_releases(kind) for kind in ("watch", "outcome")] == [6, 6]
    more = monitoring(privacy=privacy, windows=24)
    costly = make_plan(config_of(more), more, GENERATED_CONTRACT)
    assert costly.watch_noise > 1.5 * plan.watch_noise  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "belongs"),
    [("watch-retrain-1", True), ("watch-retrain-12", True), ("watch-retrain-x", False), ("watch", False),
     ("watch-retrain-01", False), ("other-retrain-1", False)],
)  # fmt: skip
def test_a_challenger_is_known_by_its_name(name: str, belongs: bool) -> None:
    assert is_challenger(name, "watch") == belongs
    assert challenger_name("watch", 12) == "watch-retrain-12"
