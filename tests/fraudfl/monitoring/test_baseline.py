"""A reference of quiet windows: every feature and the score are compared, noise or not, over the same public bins."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fraudfl.errors import DataError
from fraudfl.features.sketch import EncoderSpec, Sketch, sketch_table
from fraudfl.metrics.histogram import ScoreBins
from fraudfl.monitoring.baseline import Baseline, Window
from fraudfl.monitoring.report import report_window
from fraudfl.monitoring.settings import ScoringConfig

SPEC = EncoderSpec(
    numeric=("amount", "gap"), categorical={"channel": ("pos", "online")}, bins_per_decade=12, smallest=0.1, largest=1e5
)
BINS = ScoreBins(low=-8, high=8, count=32)
SIGMA = 6.0


def window(rng, name="w", rows=8000, grown=1.0, noise=0.0, scores_up=0.0):
    """A month of rows; where there is noise, each released count has it."""
    table = pa.table({
        "amount": (grown * np.exp(rng.normal(3, 1, rows))).astype(np.float32),
        "gap": pa.array(rng.exponential(50, rows).astype(np.float32), mask=rng.random(rows) < 0.2),
        "channel": rng.choice(["pos", "online"], rows, p=[0.7, 0.3]),
    })  # fmt: skip
    sketch = sketch_table(table, np.zeros(rows, np.int8), SPEC)
    scores = np.histogram(np.clip(rng.normal(-3 + scores_up, 1, rows), -7.9, 7.9), BINS.edges)[0]
    counts = np.concatenate(([0], scores, [0]))
    if noise:
        sketch = Sketch(SPEC, sketch.flat + np.rint(rng.normal(0, noise, sketch.flat.size)).astype(np.int64))
        counts = counts + np.rint(rng.normal(0, noise, counts.size)).astype(np.int64)
    return Window(name, sketch, counts, BINS, noise**2, noise**2)


def baseline(rng, **shape):
    return Baseline(tuple(window(rng, f"quiet-{i}", **shape) for i in range(5)))


@pytest.mark.parametrize("noise", [0.0, SIGMA])
def test_quiet_windows_rarely_alarm_over_all_features_together(noise):
    rng = np.random.default_rng(0)
    alarmed = [
        any(drift.p_adjusted < 0.05 for drift in baseline(rng, noise=noise).compare(window(rng, noise=noise)))
        for _ in range(120)
    ]
    assert np.mean(alarmed) <= 0.1


@pytest.mark.parametrize("noise", [0.0, SIGMA])
def test_only_what_changed_is_reported(noise):
    rng = np.random.default_rng(1)
    drifts = {d.name: d for d in baseline(rng, noise=noise).compare(window(rng, grown=1.5, noise=noise))}
    assert set(drifts) == {"amount", "gap", "channel", "score"}
    assert drifts["amount"].p_adjusted < 1e-6
    assert drifts["amount"].psi == pytest.approx(np.log(1.5) ** 2, rel=0.25)  # of two normals that far apart
    assert min(drifts[name].p_adjusted for name in ("gap", "channel", "score")) > 0.01


def test_a_score_that_moved_is_a_drift_of_its_own():
    rng = np.random.default_rng(2)
    report = report_window(window(rng, "m1", scores_up=0.5), baseline(rng), ScoringConfig(threshold=-1, budget=0.03))
    assert report.score_drift.psi > 0.15
    assert report.score_drift.p_adjusted < 1e-6
    assert report.alert_rate.of_budget.low > 1
    assert report.reference == ("quiet-0", "quiet-1", "quiet-2", "quiet-3", "quiet-4")
    assert (report.window, report.rows, report.performance) == ("m1", 8000, None)


def test_rows_are_known_about_right_through_noise():
    assert window(np.random.default_rng(3), noise=SIGMA).rows == pytest.approx(8000, abs=150)


def test_without_scores_only_features_are_compared():
    rng = np.random.default_rng(4)
    unscored = Window("m1", window(rng).sketch, score_bins=BINS)
    report = report_window(unscored, baseline(rng), ScoringConfig())
    assert {drift.name for drift in report.drifts} == {"amount", "gap", "channel"}
    assert (report.score_drift, report.alert_rate) == (None, None)


def test_windows_over_other_bins_are_refused():
    rng = np.random.default_rng(5)
    good = window(rng, "good")
    other = Window("other", good.sketch, good.scores, ScoreBins(low=-8, high=9, count=32))
    with pytest.raises(DataError, match="'other' counts over other bins than 'good'"):
        Baseline((good, other))
    with pytest.raises(DataError, match="'other' counts over other bins"):
        Baseline((good,)).compare(other)


def test_a_reference_without_a_window_is_refused():
    with pytest.raises(DataError, match="the reference has no window"):
        Baseline(())
