"""Monitoring over banks in memory: what is summed, what noise and a lost window mean, and what rules lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_fleet import DISTRIBUTED, PRIVATE, SECURE, Consortium, KilledError

from bank_nodes.gate.windows import refuse_early
from fraudfl.errors import BundleError, NotNow, QuorumError, ReleaseRefused
from fraudfl.features.encoder import fit_encoder
from fraudfl.features.sketch import sketch_table
from fraudfl.folder import BankFolder, bank_paths
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.models.bundle import Bundle
from fraudfl.models.mlp import initial_vector
from fraudfl.monitoring.life import Challenge, Contested, Serving
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.rules import Alert
from fraudfl.plan import Plan
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.protocols import Reply, Request
from pipelines.clocks import RealClock
from pipelines.monitoring import run_monitoring

WINDOWS, QUIET, DAYS = 4, 3, 10
FIRST = date(2025, 1, 5)
THRESHOLD = -1.0
MONITORING = {
    "kind": "monitoring",
    "first": FIRST.isoformat(),
    "window_days": DAYS,
    "windows": WINDOWS,
    "quiet": QUIET,
    "labels_after_days": 5,
    "score_bins": 64,
}
PRIVACY = {"mode": "local", "epsilon": 4.0, "units": 5000, "delta": 1e-6}
ANY_RATE = {"name": "any", "measure": "alerts_of_budget", "at_least": 0, "bound": "point"}
ANY_FIGURE = {"name": "judged", "measure": "auprc", "at_most": 1, "bound": "point"}


def model(one: Consortium, seed: int) -> Bundle:
    """Some model over the banks' own features; which one matters to no test."""
    plan = one.plan
    folders = [BankFolder(path) for path in bank_paths(one.folders)]
    sketches = [sketch_table(folder.features(plan.features), folder.table()["label"].to_numpy(), plan.encoder)
                for folder in folders]  # fmt: skip
    total = sketches[0]
    for sketch in sketches[1:]:
        total = total + sketch
    encoder = fit_encoder(plan.encoder, total)
    weights = initial_vector(plan.model, encoder.width, prior=0.1, seed=seed)
    noise = np.random.default_rng(seed).normal(0, 0.3, weights.shape)
    return Bundle(
        encoder=encoder,
        model=plan.model,
        weights=(weights + noise).astype(np.float32),
        thresholds={"budget": THRESHOLD},
    )


@dataclass
class Models:
    """Implements `Life` with models at hand; which challengers win is said beforehand."""

    bundles: list[Bundle]
    reigns: list[int] = field(default_factory=lambda: [1])
    wins: list[bool] = field(default_factory=list)
    challenges: list[Challenge] = field(default_factory=list)

    def serving(self, model: str) -> Serving:
        version = self.reigns[-1] if model == "champion" else int(model)
        return Serving(version=version, bundle=self.bundles[version - 1])

    def challenge(self, challenge: Challenge) -> Contested:
        self.challenges.append(challenge)
        promoted = self.wins.pop(0)
        if promoted:
            self.reigns.append(2)
        return Contested(phase=f"watch-retrain-{challenge.number}", version=2, promoted=promoted, reason="said so")

    def rollback(self, reason: str) -> Serving:
        if len(self.reigns) < 2:
            raise BundleError("there is no way back")
        self.reigns.pop()
        return self.serving("champion")


@dataclass
class Listening:
    """A sink that remembers, and dies while it sends for the first time when it is told to."""

    heard: list[str] = field(default_factory=list)
    dies: bool = False

    def send(self, alert: Alert) -> None:
        if self.dies:
            self.dies = False
            raise KilledError
        self.heard.append(alert.rule)


def watched(one: Consortium, life: Models, **more: Any) -> dict[str, Any]:
    return run_monitoring(one.phase(), one.config.phases[0], life, **more)


def observed(one: Consortium) -> list[Observed]:
    facts = one.checkpoints.latest().facts["notes"]["observed"]
    assert one.plan.watch is not None
    return [Observed.from_facts(facts[key], one.plan.watch.size, one.plan.score_bins) for key in sorted(facts)]


@pytest.fixture(scope="module")
def plain(shared: Callable[..., Consortium]) -> tuple[Consortium, dict[str, Any], Models]:
    one = shared("plain", **MONITORING)
    life = Models([model(one, 1), model(one, 2)])
    return one, watched(one, life), life


def rows_of(one: Consortium, window: int) -> list[tuple[BankFolder, np.ndarray]]:
    """Each bank's rows of a window, found another way than the banks find them."""
    first = np.datetime64(FIRST + timedelta(days=DAYS * (window - 1)))
    found = []
    for path in bank_paths(one.folders):
        days = BankFolder(path).table()["time"].to_numpy().astype("datetime64[D]")
        found.append((BankFolder(path), np.isin(days, first + np.arange(DAYS))))
    return found


def test_sums_are_what_the_banks_rows_come_to(plain):
    one, outcome, life = plain
    bundle, plan = life.bundles[0], one.plan
    assert outcome["status"] == "completed"
    assert len(observed(one)) == WINDOWS
    for found in observed(one):
        scores = np.zeros(plan.score_bins.size, np.int64)
        judged = np.zeros(2 * plan.score_bins.size, np.int64)
        known_by = np.datetime64(FIRST + timedelta(days=DAYS * found.window + 5))
        for folder, rows in rows_of(one, found.window):
            table = folder.table().filter(rows)
            logits = bundle.score(folder.features(plan.features).filter(rows))
            labels = table["label"].to_numpy().astype(np.int8)
            known = table["label_time"].to_numpy() <= known_by
            counted = ScoreHistogram.from_logits(logits, labels, plan.score_bins)
            scores += counted.positive + counted.negative
            judged += ScoreHistogram.from_logits(logits[known], labels[known], plan.score_bins).to_vector()
        np.testing.assert_array_equal(found.scores, scores)
        np.testing.assert_array_equal(found.outcome, judged)
        # Some labels come later than the plan waits, and are in no outcome.
        assert 0 < found.outcome.sum() < found.scores.sum()
        columns = len(plan.watch.features.numeric) + len(plan.watch.features.categorical)
        assert found.features.sum() == columns * scores.sum()


def test_the_model_goes_to_each_bank_once(plain):
    one, _, _ = plain
    whole = [request for request in one.fleet.asked if "model" in request.payloads]
    assert len(whole) == len(one.fleet.banks())
    assert {request.round for request in whole} == {1}


def test_windows_are_acknowledged_once_both_their_replies_are_on_the_disk(plain):
    one, outcome, _ = plain
    assert outcome["rounds"] == WINDOWS
    by_window = {(request.kind, request.round): request.acknowledged for request in one.fleet.asked}
    assert [by_window["watch", 3], by_window["outcome", 3], by_window["watch", 4]] == [2, 2, 3]


def test_under_secure_aggregation_the_same_sums_are_opened(plain, shared):
    one, _, life = plain
    sealed = shared("sealed", **MONITORING | {"secure_aggregation": SECURE["secure_aggregation"]})
    watched(sealed, Models(life.bundles), days=2 * DAYS + 5)
    for open_, summed in zip(observed(one)[:2], observed(sealed), strict=True):
        for name in ("features", "scores", "outcome"):
            np.testing.assert_array_equal(getattr(open_, name), getattr(summed, name))


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_under_noise_windows_say_how_much_and_all_of_them_cost_the_plan_s_epsilon(plain, shared, mode):
    one, _, life = plain
    sealed = {} if mode == "local" else {"secure_aggregation": SECURE["secure_aggregation"]}
    private = shared(mode, **MONITORING | sealed | {"privacy": _privacy(mode)})
    watched(private, Models(life.bundles))
    plan, banks = private.plan, len(private.fleet.banks())
    for exact, noisy in zip(observed(one), observed(private), strict=True):
        for kind, name, variance in (("watch", "features", noisy.noise), ("outcome", "outcome", noisy.outcome_noise)):
            assert variance == pytest.approx(banks * plan.mechanism(kind).share_deviation ** 2)
            off = (getattr(noisy, name) - getattr(exact, name)).std()
            assert off == pytest.approx(variance**0.5, rel=0.25)
    spent = [epsilon([mechanism_from_dict(facts) for facts in private.ledger(bank).mechanisms(plan.hash)], plan.delta)
             for bank in private.fleet.banks()]  # fmt: skip
    assert max(spent) <= 4.0 * (1 + 1e-6)
    assert min(spent) == pytest.approx(4.0, rel=0.02)


def _privacy(mode: str) -> dict[str, Any]:
    common = (PRIVATE if mode == "local" else DISTRIBUTED)["privacy"]
    return {name: common[name] for name in ("epsilon", "units", "delta")} | {
        "mode": mode, "expected_units": 6000, "spare_attempts": 0,
    }  # fmt: skip


def test_a_window_that_too_few_banks_answer_is_missed_and_the_next_are_not(plain, consortium):
    _, _, life = plain
    one = consortium(**MONITORING | {"attempts": 1})

    def asleep(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        return None if (request.kind, request.round) == ("watch", 2) and bank > "bank-02" else work()

    one.happening = asleep
    section = watched(one, Models(life.bundles))["monitoring"]
    assert [window["number"] for window in section["windows"]] == [1, 3, 4]
    assert [(missed["window"], missed["step"]) for missed in section["missed"]] == [(2, "watch")]
    assert section["left"] == 0


def test_a_phase_in_which_no_window_is_answered_fails(plain, consortium):
    _, _, life = plain
    one = consortium(**MONITORING | {"attempts": 1})
    one.happening = lambda _bank, request, work: work() if request.kind == "join" else None
    with pytest.raises(QuorumError, match="no window was answered by enough banks"):
        watched(one, Models(life.bundles))


def test_an_alert_is_neither_lost_nor_sent_twice_when_the_coordinator_dies_while_sending(plain, consortium):
    _, _, life = plain
    one, sink = consortium(**MONITORING | {"rules": [ANY_RATE]}), Listening(dies=True)
    with pytest.raises(KilledError):
        watched(one, Models(life.bundles), sinks=(sink,), days=2 * DAYS)
    assert sink.heard == []
    section = watched(one, Models(life.bundles), sinks=(sink,), days=2 * DAYS)["monitoring"]
    watched(one, Models(life.bundles), sinks=(sink,), days=2 * DAYS)
    assert sink.heard == ["any"]
    assert [(alert["rule"], alert["day"]) for alert in section["alerts"]] == [("any", "2025-01-15")]


def test_a_rule_rolls_back_and_the_model_before_is_watched_from_then_on(plain, consortium):
    _, _, life = plain
    one = consortium(**MONITORING | {"rules": [ANY_FIGURE | {"action": "rollback"}]})
    models = Models(life.bundles, reigns=[1, 2])
    section = watched(one, models, days=2 * DAYS + 5)["monitoring"]
    action = section["actions"][0]
    assert (action["action"], action["version"], action["day"]) == ("rollback", 1, "2025-01-20")
    assert [window["model"] for window in section["windows"]] == [2, 1]
    # The outcome of a window is that of the model which was in use in it.
    asked = {(request.kind, request.round): request.values["version"] for request in one.fleet.asked if request.round}
    assert asked["outcome", 1] == 2
    assert asked["outcome", 2] == 1


def test_where_nothing_can_be_rolled_back_to_that_is_said_and_the_watching_goes_on(plain, consortium):
    _, _, life = plain
    one = consortium(**MONITORING | {"rules": [ANY_FIGURE | {"action": "rollback"}]})
    section = watched(one, Models(life.bundles), days=2 * DAYS)["monitoring"]
    assert [(action["version"], action["reason"]) for action in section["actions"]] == [(None, "there is no way back")]
    assert [window["number"] for window in section["windows"]] == [1, 2]


def test_challengers_follow_each_other_on_newer_windows_until_one_wins(plain, consortium):
    _, _, life = plain
    retrain = {"wait_days": 12, "again_after_days": 10, "tries": 3}
    one = consortium(**MONITORING | {"rules": [ANY_FIGURE | {"action": "retrain"}], "retrain": retrain})
    models = Models(life.bundles, wins=[False, True])
    section = watched(one, models, days=4 * DAYS)["monitoring"]
    # The first window's labels are known on the 20th of January, and the first challenger comes twelve days later.
    assert [(action["day"], action["promoted"]) for action in section["actions"]] == [
        ("2025-02-01", False),
        ("2025-02-11", True),
    ]
    assert [(challenge.number, challenge.champion.window) for challenge in models.challenges] == [(1, 2), (2, 3)]
    assert models.challenges[0].first == FIRST + timedelta(days=DAYS)
    assert models.challenges[0].banks == one.fleet.banks()
    assert [window["model"] for window in section["windows"]] == [1, 1, 1, 2]


@pytest.mark.parametrize(("tries", "days", "trained"), [(1, 30, 1), (12, None, WINDOWS)])
def test_challengers_end_with_their_tries_and_with_the_windows(plain, consortium, tries, days, trained):
    _, _, life = plain
    retrain = {"wait_days": 0, "again_after_days": 10, "tries": tries}
    one = consortium(**MONITORING | {"rules": [ANY_FIGURE | {"action": "retrain"}], "retrain": retrain})
    section = watched(one, Models(life.bundles, wins=[False] * 12), days=days)["monitoring"]
    assert len(section["actions"]) == trained


def test_whoever_the_operator_makes_champion_by_hand_is_watched(plain, consortium):
    _, _, life = plain
    one, models = consortium(**MONITORING), Models(life.bundles)

    def promoted(_bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        models.reigns[:] = [1, 2] if request.round >= 2 else [1]
        return work()

    one.happening = promoted
    section = watched(one, models, days=3 * DAYS)["monitoring"]
    assert [window["model"] for window in section["windows"]] == [1, 1, 2]


def test_a_phase_is_played_for_some_days_and_later_for_more(plain, consortium):
    one, _, life = plain
    few = consortium(**MONITORING)
    section = watched(few, Models(life.bundles), days=2 * DAYS)["monitoring"]
    assert [window["performance"] is not None for window in section["windows"]] == [True, False]
    assert section["left"] == WINDOWS - 1
    section = watched(few, Models(life.bundles), days=3 * DAYS)["monitoring"]
    assert [window["performance"] is not None for window in section["windows"]] == [True, True, False]
    np.testing.assert_array_equal(observed(few)[1].outcome, observed(one)[1].outcome)


@pytest.fixture
def plan(plain) -> Plan:
    return plain[0].plan


@pytest.mark.parametrize(("kind", "day"), [("watch", date(2025, 1, 15)), ("outcome", date(2025, 1, 20))])
def test_a_bank_answers_for_no_window_before_its_time_by_its_own_clock(plan, kind, day):
    request = _request(plan, kind, 1)
    opens = datetime(day.year, day.month, day.day, tzinfo=UTC)
    with pytest.raises(NotNow) as refused:
        refuse_early(plan, request, opens - timedelta(seconds=1))
    assert datetime.fromisoformat(refused.value.opens_at) == opens
    refuse_early(plan, request, opens)


@pytest.mark.parametrize("number", [0, WINDOWS + 1])
def test_a_bank_knows_no_window_but_the_plan_s(plan, number):
    with pytest.raises(ReleaseRefused, match=f"windows 1 to {WINDOWS}"):
        refuse_early(plan, _request(plan, "watch", number), datetime(2030, 1, 1, tzinfo=UTC))


def _request(plan: Plan, kind: Any, number: int) -> Request:
    facts = {"instance": "x", "attempt": 1, "cohort": "ab" * 32}
    return Request(kind=kind, plan_hash=plan.hash, round=number, **facts)


def test_a_window_of_the_future_is_waited_for_and_nothing_is_charged_meanwhile(plain, consortium):
    _, _, life = plain
    soon = datetime.now(UTC).date() - timedelta(days=1)
    one = consortium(**MONITORING | {"first": soon.isoformat(), "window_days": 1, "attempts": 1})
    section = watched(one, Models(life.bundles), days=1)["monitoring"]
    assert [window["rows"] for window in section["windows"]] == [0]
    late = one.phase()
    late.state.notes = {}

    def impatient(seconds: float) -> None:
        raise KilledError

    one.fleet.pausing = impatient
    with pytest.raises(KilledError):
        watched(one, Models(life.bundles), clock=RealClock(one.fleet))
    assert 0 < one.fleet.paused[-1] <= 3600
    for bank in one.fleet.banks():
        kinds = [entry.kind for entry in one.ledger(bank).entries() if entry.event == "reserved"]
        assert kinds == ["join", "watch"]


def test_the_checkpoint_can_be_read_by_another_process(plain, tmp_path: Path):
    """What is in the notes is JSON, all of it."""
    import json

    one, _, _ = plain
    notes = one.checkpoints.latest().facts["notes"]
    assert json.loads(json.dumps(notes)) == notes
