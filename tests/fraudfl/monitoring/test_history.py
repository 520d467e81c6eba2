"""A monitored history: what each window is compared with, and when a rule's trouble is a new one."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest

from fraudfl.errors import CheckpointError, DataError
from fraudfl.features.sketch import EncoderSpec
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.monitoring.agenda import Due, next_due
from fraudfl.monitoring.history import History
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.settings import AlertRule, ScoringConfig
from fraudfl.monitoring.spec import WatchSpec, coarse

FEATURES = EncoderSpec(numeric=("amount",), bins_per_decade=4, smallest=1.0, largest=1e4)
SPEC = WatchSpec(first=date(2025, 1, 1), windows=12, quiet=4, features=FEATURES)
BINS = ScoreBins(count=32)
MOVED = AlertRule(name="moved", measure="psi_max", at_least=0.1)
MISSED = AlertRule(name="missed", measure="missed_ratio", at_least=1.5, action="retrain")


def window(number: int, model: int = 1, *, moved: float = 0.0, missed: float = 0.2, judged: bool = True) -> Observed:
    """One window of 4,000 rows: amounts around 10^(2 + moved), and 400 frauds of which a share scores like the rest."""
    rng = np.random.default_rng(number)
    amounts = np.zeros(SPEC.size, dtype=np.int64)
    place = np.clip(np.rint(rng.normal(16 + 2 + 4 * (2 + moved), 2, 4000)).astype(int), 2, SPEC.size - 2)
    np.add.at(amounts, place, 1)
    labels = np.arange(4000) < 400
    hidden = np.arange(4000) < round(400 * missed)
    logits = np.where(labels & ~hidden, rng.normal(4, 1, 4000), rng.normal(-6, 1, 4000)).astype(np.float32)
    scored = ScoreHistogram.from_logits(logits, labels.astype(np.int8), BINS)
    observed = Observed(
        window=number,
        name=SPEC.name_of(number),
        model=model,
        threshold=2.0,
        features=amounts,
        scores=scored.positive + scored.negative,
    )
    return observed.judged(scored.to_vector(), ["north", "south"], 0.0) if judged else observed


def history(*windows: Observed) -> History:
    made = History(SPEC, BINS, ScoringConfig(budget=0.1, replicates=40))
    for one in windows:
        made.put(one)
    return made


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(SPEC.name_of(number) for number in numbers)


def test_reference_windows_are_compared_with_nothing_and_later_ones_with_them():
    made = history(*(window(number) for number in range(1, 7)))
    reports = made.reports()
    assert [report.reference for report in reports] == [()] * 4 + [names(1, 2, 3, 4)] * 2
    assert [len(report.drifts) for report in reports] == [0] * 4 + [2] * 2
    assert all(report.performance is not None and not report.performance.drops for report in reports[:4])
    assert set(reports[4].performance.drops) == {"auprc", "auroc", "balanced_accuracy", "recall_at_budget"}
    assert made.raised([MOVED, MISSED]) == []


def test_a_drift_and_missed_frauds_are_each_raised_once_while_they_last():
    made = history(
        *(window(number) for number in range(1, 5)),
        *(window(number, moved=0.5, missed=0.7) for number in range(5, 8)),
    )
    assert [(alert.rule, alert.window) for alert in made.raised([MOVED, MISSED])] == [
        ("moved", SPEC.name_of(5)),
        ("missed", SPEC.name_of(5)),
    ]


def test_a_new_model_is_held_against_the_old_reference_until_it_has_its_own():
    old, new = [window(number) for number in range(1, 6)], [window(number, model=2) for number in range(6, 12)]
    reports = history(*old, *new).reports()
    assert [report.reference for report in reports[5:]] == [names(1, 2, 3, 4)] * 4 + [names(6, 7, 8, 9)] * 2
    first, last = reports[5], reports[-1]
    # Scores of two models do not mean the same, and missed frauds do.
    assert first.score_drift is None
    assert first.performance.calibration_shift is None
    assert first.performance.missed_ratio is not None
    assert "balanced_accuracy" not in first.performance.drops
    assert last.score_drift is not None
    assert last.performance.calibration_shift is not None


def test_a_model_that_comes_back_has_its_own_reference_again():
    windows = [window(number) for number in range(1, 6)] + [window(number, model=2) for number in range(6, 11)]
    back = history(*windows, window(11, model=1)).reports()[-1]
    assert back.reference == names(1, 2, 3, 4)
    assert back.score_drift is not None


def test_a_new_model_that_misses_as_many_is_a_new_trouble_and_the_same_drift_is_not():
    quiet = [window(number) for number in range(1, 5)]
    made = history(*quiet, window(5, moved=0.5, missed=0.7), window(6, moved=0.5, missed=0.7, model=2))
    assert [(alert.rule, alert.window) for alert in made.raised([MOVED, MISSED])] == [
        ("moved", SPEC.name_of(5)),
        ("missed", SPEC.name_of(5)),
        ("missed", SPEC.name_of(6)),
    ]


def test_labels_that_come_later_complete_a_report_that_was_made_before():
    made = history(*(window(number) for number in range(1, 5)), window(5, judged=False))
    assert made.report(made.observed[-1]).performance is None
    made.put(window(5))
    assert made.report(made.observed[-1]).performance is not None
    assert len(made.observed) == 5


def test_how_much_quiet_windows_differ_is_known_from_three_judged_ones_on():
    unjudged = history(*(window(number, judged=number > 2) for number in range(1, 6)))
    assert unjudged.inflation(unjudged.observed[-1], "auprc") == 1.0
    assert not unjudged.reports()[-1].performance.drops
    judged = history(*(window(number, missed=0.1 * number) for number in range(1, 6)))
    assert judged.inflation(judged.observed[-1], "auprc") > 1.5


@pytest.mark.parametrize("judged", [True, False])
def test_counts_survive_a_checkpoint(judged):
    before = window(3, judged=judged)
    after = Observed.from_facts(json.loads(json.dumps(before.to_facts())), SPEC.size, BINS)
    assert (after.window, after.name, after.judged_by) == (before.window, before.name, before.judged_by)
    for name in ("features", "scores", "outcome"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_counts_of_another_plan_are_no_checkpoint_of_this_one():
    with pytest.raises(CheckpointError, match="start the phase anew"):
        Observed.from_facts(window(1).to_facts(), SPEC.size + 1, BINS)


def test_noise_below_zero_is_taken_out_before_figures_are_made():
    noisy = window(1)
    counts = noisy.outcome - 3
    scored = noisy.judged(counts, ["north"], 9.0).scored(BINS)
    assert scored.noise_variance == 9.0
    assert scored.histogram.to_vector().min() == 0
    assert scored.histogram.total == pytest.approx(
        max(0, counts[: BINS.size].sum()) + counts[BINS.size :].sum(), abs=40
    )


def test_windows_end_and_labels_are_known_on_days_that_the_plan_fixes():
    assert SPEC.days_of(2) == (date(2025, 1, 31), date(2025, 3, 1))
    assert (SPEC.ends(2), SPEC.labels_known(2)) == (date(2025, 3, 2), date(2025, 4, 1))
    with pytest.raises(DataError, match="window 13 is none of this plan's"):
        SPEC.days_of(13)


def test_coarse_bins_are_fewer_and_never_more_than_there_were():
    fine = EncoderSpec(numeric=("amount",), bins_per_decade=48)
    assert coarse(fine, 5).bins_per_decade == 5
    assert coarse(coarse(fine, 4), 6).bins_per_decade == 4


def test_a_window_is_watched_before_older_labels_are_asked_for_and_models_change_last():
    day = SPEC.ends(2)
    assert SPEC.labels_known(1) == day
    done: tuple[set[int], set[int]] = ({1}, set())
    assert next_due(SPEC, *done, retrain=day) == Due(day, "watch", 2)
    assert next_due(SPEC, {1, 2}, set(), retrain=day) == Due(day, "outcome", 1)
    assert next_due(SPEC, {1, 2}, {1}, retrain=day) == Due(day, "retrain")


def test_the_agenda_takes_every_window_twice_and_then_ends():
    watched: set[int] = set()
    judged: set[int] = set()
    steps = []
    while (due := next_due(SPEC, watched, judged)) is not None:
        (watched if due.step == "watch" else judged).add(due.window)
        steps.append(due)
    assert len(steps) == 24
    assert [due.day for due in steps] == sorted(due.day for due in steps)
    assert all(steps.index(Due(SPEC.ends(n), "watch", n)) < steps.index(Due(SPEC.labels_known(n), "outcome", n))
               for n in range(1, 13))  # fmt: skip


def test_a_model_that_won_a_contest_is_held_against_what_it_promised_there():
    """Fraud has become harder: what counts is whether the new model does worse than when it was chosen."""
    quiet = [window(number, missed=0.05) for number in range(1, 5)]
    made = history(*quiet, window(5, missed=0.4), window(6, model=2, missed=0.4), window(7, model=2, missed=0.9))
    made.standards[2] = window(5, missed=0.4).scored(BINS)
    reports = made.reports()
    assert reports[4].performance.missed_ratio.low > 1.5
    assert reports[5].performance.missed_ratio.value == pytest.approx(1.0, abs=0.3)
    assert reports[5].performance.calibration_shift is not None
    assert "balanced_accuracy" in reports[5].performance.drops
    assert [(alert.rule, alert.window) for alert in made.raised([MISSED])] == [
        ("missed", SPEC.name_of(5)),
        ("missed", SPEC.name_of(7)),
    ]


def test_one_promised_window_is_as_uncertain_as_one_of_the_model_before():
    jumpy = history(*(window(number, missed=0.1 * number) for number in range(1, 5)), window(5, model=2))
    calm = history(*(window(number, missed=0.2) for number in range(1, 5)), window(5, model=2))
    for made in (jumpy, calm):
        made.standards[2] = window(5).scored(BINS)
    widths = [made.reports()[-1].performance.drops["auprc"] for made in (jumpy, calm)]
    assert widths[0].high - widths[0].low > 2 * (widths[1].high - widths[1].low)
