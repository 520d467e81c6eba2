"""The reference: quiet windows that every later window is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fraudfl.errors import DataError
from fraudfl.features.sketch import LABEL, Sketch
from fraudfl.metrics.histogram import ScoreBins
from fraudfl.monitoring.coarse import Counts, Floats, Groups, category_groups, ordered_groups
from fraudfl.monitoring.control import estimate_inflation
from fraudfl.monitoring.drift import Drift, Inflation, Sample, compare, holm
from fraudfl.monitoring.settings import ComparisonConfig

SCORE = "score"


@dataclass(frozen=True)
class Window:
    """What was released of one window, summed over banks; or one bank's own, at that bank.

    Attributes:
        name: What people call it, such as `2025-05`.
        sketch: Counts of the features.
        scores: Rows per score bin, frauds or not, int64 of shape (score_bins.size,); None before a model scored them.
        score_bins: The public bins of the scores.
        noise_variance: Variance of the Gaussian noise in each count of the sketch; 0 where there is none.
        score_noise_variance: The same of `scores`; twice a class's where both classes' noisy counts were added.
    """

    name: str
    sketch: Sketch
    scores: Counts | None = None
    score_bins: ScoreBins = field(default_factory=ScoreBins)
    noise_variance: float = 0.0
    score_noise_variance: float = 0.0

    @property
    def rows(self) -> int:
        """Transactions counted: every feature counts each once, so their mean is least disturbed by noise."""
        totals = [float(counts.sum()) for _, counts, _ in self.columns()]
        return max(0, round(sum(totals) / max(1, len(totals))))

    def columns(self) -> Iterator[tuple[str, Counts, float]]:
        """Name, counts and noise variance of each feature, and of the score where there is one."""
        for name, counts in self.sketch.counts.items():
            if name != LABEL:
                yield name, counts, self.noise_variance
        if self.scores is not None:
            yield SCORE, self.scores, self.score_noise_variance


@dataclass(frozen=True)
class _Column:
    """One feature of the reference."""

    groups: Groups
    reference: Sample
    inflation: Inflation


@dataclass(frozen=True)
class Baseline:
    """Quiet windows, together the reference.

    Attributes:
        windows: At least one; from three on the tests know how much quiet windows differ, before that they take rows
            for independent and see changes where there are none.
        config: How windows are compared.
    """

    windows: tuple[Window, ...]
    config: ComparisonConfig = field(default_factory=ComparisonConfig)

    def __post_init__(self) -> None:
        """Check that the windows can be added up.

        Raises:
            DataError: if there is none, or they follow different bins.
        """
        if not self.windows:
            raise DataError("monitoring: the reference has no window; expected at least one in which nothing happened")
        for window in self.windows:
            self._require_same_bins(window)

    @cached_property
    def columns(self) -> dict[str, _Column]:
        """Groups, reference and inflation of each feature, and of the score where every window has scores."""
        collected: dict[str, list[Sample]] = {}
        for window in self.windows:
            for name, counts, noise in window.columns():
                collected.setdefault(name, []).append(Sample(counts.astype(np.float64), noise))
        return {
            name: self._column(name, samples)
            for name, samples in collected.items()
            if len(samples) == len(self.windows)
        }

    def compare(self, window: Window) -> tuple[Drift, ...]:
        """Compare a window with the reference, feature by feature, adjusted for their number.

        Raises:
            DataError: if the window follows other bins.
        """
        self._require_same_bins(window)
        drifts = []
        for name, counts, noise in window.columns():
            if name in self.columns:
                column = self.columns[name]
                current = Sample(column.groups.sum(counts), noise)
                drifts.append(compare(name, column.groups, column.reference, current, column.inflation))
        return holm(drifts)

    def _column(self, name: str, samples: Sequence[Sample]) -> _Column:
        total: Floats = np.sum([sample.counts for sample in samples], axis=0)
        noise = float(sum(sample.noise_variance for sample in samples))
        groups = self._groups(name, total, noise)
        quiet = [Sample(groups.sum(sample.counts), sample.noise_variance) for sample in samples]
        return _Column(groups, Sample(groups.sum(total), noise), estimate_inflation(groups, quiet))

    def _groups(self, name: str, reference: Floats, noise: float) -> Groups:
        # A bin whose count may be noise alone is no group of its own.
        least = self.config.least_rows + 4 * noise**0.5
        if name in self.windows[0].sketch.spec.categorical:
            return category_groups(reference, least)
        return ordered_groups(reference, self.config.groups, least, last_apart=name != SCORE)

    def _require_same_bins(self, window: Window) -> None:
        first = self.windows[0]
        if window.sketch.spec != first.sketch.spec or window.score_bins != first.score_bins:
            raise DataError(
                f"monitoring: window {window.name!r} counts over other bins than {first.name!r} does; expected one "
                "plan for both. Start a new reference."
            )
