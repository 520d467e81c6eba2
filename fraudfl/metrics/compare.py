"""Two models on the same rows: how much better one is, and what that is worth, from scores or from histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from fraudfl.config import Frozen
from fraudfl.errors import DataError
from fraudfl.metrics.bootstrap import Bootstrap, Clusters, Interval, difference_interval
from fraudfl.metrics.figures import FigureName, Labels, Logits
from fraudfl.metrics.histogram import Counts, ScoreHistogram
from fraudfl.privacy.denoise import plausible_counts

Source = Literal["rows", "histograms"]


class Difference(Frozen):
    """A figure of a challenger minus the champion's, on the same rows.

    Attributes:
        figure: Which figure.
        champion, challenger: Its two values.
        interval: Of challenger minus champion.
        level: The interval's coverage.
        source: `rows` when resampled in pairs, row by row; `histograms` when only sums over banks were known, which
            cannot pair and so give a wider interval.
        rows, frauds: How many transactions, and frauds among them, the figures rest on.
    """

    figure: FigureName
    champion: float
    challenger: float
    interval: Interval
    level: Annotated[float, Field(gt=0, lt=1)]
    source: Source
    rows: Annotated[int, Field(ge=1)]
    frauds: Annotated[int, Field(ge=1)]

    @property
    def value(self) -> float:
        """Challenger minus champion."""
        return self.challenger - self.champion

    def in_words(self) -> str:
        """The figures in one line."""
        low, high = self.interval
        return (
            f"{self.figure} {self.challenger:.3f} against {self.champion:.3f}, {self.value:+.3f} "
            f"({self.level:.0%} interval {low:+.3f} to {high:+.3f}) on {self.rows:,} rows, {self.frauds:,} frauds"
        )


class Comparison(Frozen):
    """A challenger set beside the champion.

    Attributes:
        champion, challenger: Versions of the consortium's model.
        window: First and last day of the rows, after all training of both; None where the data set brings its split.
        banks: How many banks' rows these are.
    """

    champion: Annotated[int, Field(ge=1)]
    challenger: Annotated[int, Field(ge=1)]
    window: tuple[date, date] | None
    banks: Annotated[int, Field(ge=1)]
    difference: Difference


def paired_difference(
    champion: Logits,
    challenger: Logits,
    labels: Labels,
    clusters: Clusters | None,
    settings: Bootstrap,
    figure: FigureName = "auprc",
) -> Difference:
    """Compare two models by their scores of the same rows, drawn in pairs.

    Args:
        champion, challenger: Scores, shape (n,). For balanced accuracy both must be relative to one threshold.
        labels: 0 or 1, shape (n,).
        clusters: The account of each row, shape (n,); None draws rows.
        settings: Replicates, seed, level, threshold and budget.
        figure: Which figure.

    Raises:
        DataError: when the figure is not defined on these rows: without a fraud, or without two classes.
        NonFiniteError: when a score is not finite.
    """
    # scikit-learn, which whoever only reads a comparison does without.
    from fraudfl.metrics.exact import figures

    terms = {"threshold": settings.threshold, "budget": settings.budget}
    values = [getattr(figures(scores, labels, **terms), figure) for scores in (champion, challenger)]
    interval = difference_interval((challenger, champion), labels, clusters, settings, figure) if labels.size else None
    return _difference(figure, values, interval, settings, ("rows", int(labels.size), int(labels.sum())))


def histogram_difference(
    champion: ScoreHistogram,
    challenger: ScoreHistogram,
    settings: Bootstrap,
    figure: FigureName = "auprc",
    *,
    inflation: float,
    noise: float = 0.0,
    late: float = 0.0,
) -> Difference:
    """Compare two models by their summed score histograms over the same rows.

    Both histograms are redrawn within their classes, apart from each other. Two models that mostly agree err together,
    which sums do not show: the interval is then wider than a paired one. Nor do sums show that an account's
    transactions come together, which makes figures vary more than their number says: that must be told.

    Args:
        champion, challenger: Over the same rows.
        settings: As in `paired_difference`; here a threshold holds for both models.
        figure: Which figure.
        inflation: How much more the figure varies because of that, >= 1 (the design effect: variance by accounts over
            variance by rows); 1 only where each account has one row. Rows count for that much less.
        noise: Standard deviation of the Gaussian noise in each count, 0 where there was none.
        late: Largest share of frauds, or of others, that only one of them may hold: their labels came in between.

    Raises:
        DataError: when the figure is not defined on these rows, or the histograms cannot be over the same ones.

    Source: bootstrap of multinomial counts, Efron and Tibshirani 1993, section 8; design effect, Kish 1965.
    """
    _check_same_rows(champion, challenger, late if noise == 0 else math.inf)
    if inflation < 1 or noise < 0:
        raise DataError(f"found noise {noise:g} and inflation {inflation:g}; expected at least 0 and at least 1")
    rng = np.random.default_rng(settings.seed)
    drawn = [_redrawn(one, settings.replicates, noise, inflation, rng) for one in (challenger, champion)]
    differences = [_minus(*(_value(one, figure, settings) for one in pair)) for pair in zip(*drawn, strict=True)]
    defined = [difference for difference in differences if difference is not None]
    ends = (1 - settings.level) / 2, (1 + settings.level) / 2
    low, high = np.quantile(defined, ends) if defined else (None, None)
    interval = None if low is None or high is None else (float(low), float(high))
    values = [_value(one, figure, settings) for one in (champion, challenger)]
    counts = challenger.total, int(challenger.positive.sum())
    return _difference(figure, values, interval, settings, ("histograms", *counts))


def _difference(
    figure: FigureName,
    values: list[float | None],
    interval: Interval | None,
    settings: Bootstrap,
    basis: tuple[Source, int, int],
) -> Difference:
    champion, challenger = values
    source, rows, frauds = basis
    if champion is None or challenger is None or interval is None:
        raise DataError(
            f"`{figure}` is not defined on these {rows:,} rows with {frauds} frauds; choose a longer window"
        )
    return Difference(
        figure=figure,
        champion=champion,
        challenger=challenger,
        interval=interval,
        level=settings.level,
        source=source,
        rows=rows,
        frauds=frauds,
    )


def _check_same_rows(first: ScoreHistogram, second: ScoreHistogram, late: float) -> None:
    if first.bins != second.bins:
        raise DataError(f"the histograms are over different bins: {first.bins!r} and {second.bins!r}")
    counts = [(int(one.positive.sum()), int(one.negative.sum())) for one in (first, second)]
    if any(abs(one - other) > late * max(one, other) for one, other in zip(*counts, strict=True)):
        raise DataError(
            f"the champion scored {counts[0][0]} frauds and {counts[0][1]} others, the challenger {counts[1][0]} and "
            f"{counts[1][1]}; expected the same rows. Ask the same banks for both"
        )


def _redrawn(
    histogram: ScoreHistogram, replicates: int, noise: float, inflation: float, rng: np.random.Generator
) -> Iterator[ScoreHistogram]:
    for _ in range(replicates):
        halves = (_drawn(counts, inflation, noise, rng) for counts in (histogram.positive, histogram.negative))
        yield ScoreHistogram(histogram.bins, *halves)


def _drawn(counts: Counts, inflation: float, noise: float, rng: np.random.Generator) -> Counts:
    total = int(counts.sum())
    if total == 0:
        return counts
    rows = max(1, round(total / inflation))
    drawn: Counts = rng.multinomial(rows, counts / total).astype(np.int64)
    if rows == total and noise == 0:
        return drawn
    # Scaled back up, so that both classes keep their proportion and the noise meets counts of the size it was added to.
    return plausible_counts(drawn * (total / rows) + rng.normal(0.0, noise, drawn.size))


def _value(histogram: ScoreHistogram, figure: FigureName, settings: Bootstrap) -> float | None:
    value: float | None = getattr(histogram.figures(threshold=settings.threshold, budget=settings.budget), figure)
    return value


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
