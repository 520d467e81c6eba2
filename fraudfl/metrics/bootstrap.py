"""Bootstrap intervals over accounts: one account's transactions are drawn, or left out, together.

A replicate is a weight per account, how often it was drawn, so scores are sorted once and each replicate is one
cumulative sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudfl.errors import DataError
from fraudfl.metrics.figures import FIGURES, FigureName, Figures, Labels, Logits, check_scores

Interval = tuple[float, float]
Clusters = npt.NDArray[Any]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        replicates: Number of resamples.
        seed: Seed of the draws.
        level: Coverage; the interval lies between the (1 - level) / 2 quantile and its mirror.
        threshold: Logit at or above which a transaction is an alert, for balanced accuracy.
        budget: Alert budget, a share of all transactions.
    """

    replicates: int = 200
    seed: int = 0
    level: float = 0.95
    threshold: float = 0.0
    budget: float = 0.005


class Ranking:
    """Scores sorted once, for figures under many weightings of the rows."""

    def __init__(self, logits: Logits, labels: Labels) -> None:
        """Sort.

        Raises:
            NonFiniteError: if a logit is not finite.
            DataError: if there are no rows, shapes differ, or a label is not 0 or 1.
        """
        truth = check_scores(logits, labels)
        if not truth.size:
            raise DataError("there are no scores to compute figures from")
        self._order = np.argsort(-logits, kind="stable")
        self._logits = logits[self._order]
        starts = np.flatnonzero(np.diff(self._logits, prepend=self._logits[0] + 1))
        self._ends = np.append(starts[1:], truth.size)
        self._frauds = np.flatnonzero(truth[self._order])
        blocks = np.searchsorted(starts, self._frauds, side="right") - 1
        self._tied, self._block_of = np.unique(blocks, return_inverse=True)
        self._starts = starts

    def figures(self, weights: Weights, *, threshold: float, budget: float) -> Figures:
        """Figures when row i counts `weights[i]` times; as scikit-learn's with `sample_weight`.

        Args:
            weights: float64, >= 0, shape (n,), in the order of the scores given.
            threshold: Logit at or above which a transaction is an alert.
            budget: Alert budget, a share of all weight.
        """
        sorted_weights = weights[self._order]
        reached = np.concatenate(([0.0], np.cumsum(sorted_weights)))
        frauds: Weights = np.bincount(
            self._block_of, weights=sorted_weights[self._frauds], minlength=self._tied.size
        ).astype(np.float64)
        positives, total = float(frauds.sum()), float(reached[-1])
        if positives <= 0:
            return Figures(None, None, None, None)
        found: Weights = np.cumsum(frauds)
        before, after = reached[self._starts[self._tied]], reached[self._ends[self._tied]]
        auprc = float((frauds * found / np.where(after > 0, after, 1)).sum() / positives)
        recall = self._recall_at_budget(reached, found, budget * total) / positives
        negatives = total - positives
        if negatives <= 1e-9 * total:
            return Figures(auprc, None, None, recall)
        above, tied = before - (found - frauds), after - before - frauds
        auroc = 1 - float((frauds * (above + tied / 2)).sum()) / (positives * negatives)
        alerts = int(np.searchsorted(-self._logits, -threshold, side="right"))
        hits = self._found_by(found, alerts)
        false = float(reached[alerts]) - hits
        return Figures(auprc, auroc, (hits / positives + 1 - false / negatives) / 2, recall)

    def _found_by(self, found: Weights, row: int) -> float:
        """Weight of frauds in the tie blocks that end at or before a sorted row."""
        blocks = int(np.searchsorted(self._ends[self._tied], row, side="right"))
        return float(found[blocks - 1]) if blocks else 0.0

    def _recall_at_budget(self, reached: Weights, found: Weights, allowed: float) -> float:
        """Weight of frauds within the first `allowed` weight; in proportion where it ends inside a tie."""
        row = min(int(np.searchsorted(reached, allowed, side="right")) - 1, self._logits.size - 1)
        block = int(np.searchsorted(self._starts, row, side="right")) - 1
        start, end = int(self._starts[block]), int(self._ends[block])
        low, high = self._found_by(found, start), self._found_by(found, end)
        width = float(reached[end] - reached[start])
        share = min(1.0, (allowed - float(reached[start])) / width) if width > 0 else 0.0
        return low + share * (high - low)


def figure_intervals(
    logits: Logits, labels: Labels, clusters: Clusters | None, settings: Bootstrap
) -> dict[FigureName, Interval | None]:
    """An interval for each figure; None where no replicate defines it.

    Args:
        logits: Shape (n,).
        labels: 0 or 1, shape (n,).
        clusters: The account of each row (any type that sorts), shape (n,); rows are drawn singly when None.
        settings: Replicates, seed, level, threshold and budget.

    Source: Efron and Tibshirani 1993, percentile interval; resampling whole clusters as in Field and Welsh 2007.
    """
    ranking = Ranking(logits, labels)
    drawn = [
        ranking.figures(weights, threshold=settings.threshold, budget=settings.budget)
        for weights in draws(labels.size, clusters, settings)
    ]
    return {name: percentiles([getattr(figures, name) for figures in drawn], settings.level) for name in FIGURES}


def auprc_interval(logits: Logits, labels: Labels, clusters: Clusters | None, settings: Bootstrap) -> Interval | None:
    """The interval of average precision; see `figure_intervals`."""
    return figure_intervals(logits, labels, clusters, settings)["auprc"]


def difference_interval(
    logits: tuple[Logits, Logits],
    labels: Labels,
    clusters: Clusters | None,
    settings: Bootstrap,
    figure: FigureName = "auprc",
) -> Interval | None:
    """An interval for the figure of the first model minus that of the second, drawn in pairs on the same rows.

    Args:
        logits: Both models' scores, each of shape (n,).
        labels: 0 or 1, shape (n,).
        clusters: The account of each row; None draws rows.
        settings: As for `figure_intervals`; threshold and budget hold for both models.
        figure: Which figure.

    Returns:
        None where no replicate defines the figure.
    """
    first, second = (Ranking(scores, labels) for scores in logits)
    differences: list[float | None] = []
    for weights in draws(labels.size, clusters, settings):
        a, b = (
            getattr(ranking.figures(weights, threshold=settings.threshold, budget=settings.budget), figure)
            for ranking in (first, second)
        )
        differences.append(None if a is None or b is None else a - b)
    return percentiles(differences, settings.level)


def draws(rows: int, clusters: Clusters | None, settings: Bootstrap) -> Iterator[Weights]:
    """Row weights of each replicate: as many clusters as there are, drawn with replacement."""
    if clusters is not None and clusters.shape != (rows,):
        raise DataError(f"found clusters of shape {clusters.shape} for {rows} rows; expected one per row")
    rng = np.random.default_rng(settings.seed)
    members = None if clusters is None else np.unique(clusters, return_inverse=True)[1]
    count = rows if members is None else int(members.max()) + 1
    for _ in range(settings.replicates):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)
        yield drawn if members is None else drawn[members]


def percentiles(values: list[float | None], level: float) -> Interval | None:
    """The middle `level` of what replicates gave; None where none defined it."""
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
