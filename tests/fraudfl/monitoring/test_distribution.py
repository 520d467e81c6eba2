"""Score distributions by window: shares of rows, the right reference, labels that came, and no noise shown as rows."""

from __future__ import annotations

import numpy as np
import pytest

from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.monitoring.distribution import known_labels, quiet_before, reference_bands, score_bands
from fraudfl.monitoring.observed import Observed


def scores_of(logits: np.ndarray, bins: ScoreBins) -> np.ndarray:
    return ScoreHistogram.from_logits(logits, np.zeros(len(logits), np.int8), bins).negative


def window(number: int, model: int = 1, **facts: object) -> Observed:
    scores = np.full(ScoreBins().size, number, dtype=np.int64)
    whole = {"name": str(number), "threshold": 0.0, "features": np.zeros(3, np.int64), "scores": scores} | facts
    return Observed(window=number, model=model, **whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("bins", [ScoreBins(), ScoreBins(count=64), ScoreBins(low=-6, high=6, count=10)])
def test_shares_are_those_of_the_rows(bins: ScoreBins) -> None:
    logits = np.random.default_rng(1).normal(-4, 5, 20_000)
    bands = score_bands(scores_of(logits, bins), bins)
    promised = 1 / (1 + np.exp(-logits))
    assert (bands[0].low, bands[-1].high) == (0, 1)
    for band in bands:
        assert band.share == pytest.approx(np.mean((promised >= band.low) & (promised < band.high)), abs=2e-4)
        assert band.low < 1 / (1 + np.exp(-band.middle)) <= band.high or band is bands[-1]
    assert sum(band.share or 0 for band in bands) == pytest.approx(1)


def test_rows_that_may_be_noise_alone_are_not_told() -> None:
    bins, rng = ScoreBins(count=64), np.random.default_rng(2)
    exact = scores_of(rng.normal(-4, 0.7, 20_000), bins)
    noisy = np.rint(exact + rng.normal(0, 40, exact.size))
    bands = score_bands(noisy, bins, 40.0**2)
    told = {band.low for band in bands if band.rows is not None}
    crowded = {band.low for band in score_bands(exact, bins) if (band.rows or 0) > 1000}
    assert crowded <= told
    assert len(told) < 15


def test_the_reference_is_of_the_same_model() -> None:
    observed = [window(1), window(2), window(3), window(4, model=2), window(5, model=2), window(6, model=2), window(7)]
    assert [one.window for one in quiet_before(observed, 3, 2)] == [1, 2]
    assert quiet_before(observed, 2, 2) == ()
    assert quiet_before(observed, 5, 2) == ()
    assert [one.window for one in quiet_before(observed, 6, 2)] == [4, 5]
    assert [one.window for one in quiet_before(observed, 7, 2)] == [1, 2]


def test_quiet_windows_are_added_up() -> None:
    bins = ScoreBins()
    rows = sum(band.rows or 0 for band in reference_bands((window(1), window(2)), bins))
    assert rows == 3 * bins.size
    assert reference_bands((), bins) == ()


def test_labels_are_known_as_far_as_their_rows_were_answered() -> None:
    bins = ScoreBins()
    outcome = np.zeros(2 * bins.size, np.int64)
    outcome[: bins.size // 2] = 2
    whole = window(2, outcome=outcome, judged_by=("a",), counted_by=("a",))
    assert known_labels(whole) == pytest.approx(0.5, abs=1e-3)
    assert known_labels(window(2)) is None
    assert known_labels(window(2, outcome=outcome, judged_by=("a",), counted_by=("a", "b"))) is None
    assert known_labels(window(2, outcome=outcome, judged_by=("a",), counted_by=("b",))) is None
