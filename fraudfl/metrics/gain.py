"""The consortium's gain: federated against alone on the same rows, drawn in pairs, and how evenly banks share in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import DataError
from fraudfl.metrics.bootstrap import Bootstrap, Interval, Ranking, Weights, draws, percentiles
from fraudfl.metrics.figures import FIGURES, FigureName, Figures, check_scores
from fraudfl.protocols import Scored


@dataclass(frozen=True)
class Judged:
    """One way to train, as banks would use it.

    Attributes:
        test: Its scores of all banks' test rows.
        thresholds: Bank to the logit from which on it raises an alert.
    """

    test: Scored
    thresholds: Mapping[str, float]

    def alerts(self) -> NDArray[np.bool_]:
        """Which rows are at or above their bank's own threshold, shape (rows,)."""
        over = np.empty(self.test.logits.shape, dtype=np.bool_)
        for bank, rows in self.test.banks.items():
            over[rows] = self.test.logits[rows] >= np.float32(self.thresholds[bank])
        return over


@dataclass(frozen=True)
class Drawn:
    """One way's figures in each replicate.

    Attributes:
        figures: One for each replicate.
        level: Coverage of the intervals made from them.
    """

    figures: tuple[Figures, ...]
    level: float

    def intervals(self) -> dict[FigureName, Interval | None]:
        """An interval for each figure; None where no replicate defines it."""
        return {name: percentiles([getattr(one, name) for one in self.figures], self.level) for name in FIGURES}

    def less(self, other: Drawn) -> dict[FigureName, Interval | None]:
        """An interval for each figure minus the other way's, which was drawn together with this one.

        A replicate took the same accounts for both, so that what is hard for both cancels.
        """
        pairs = list(zip(self.figures, other.figures, strict=True))
        return {
            name: percentiles([_minus(getattr(one, name), getattr(two, name)) for one, two in pairs], self.level)
            for name in FIGURES
        }


def draw_together(ways: Mapping[str, Judged], settings: Bootstrap) -> dict[str, Drawn]:
    """Draw replicates of all ways to train at once, each with the same accounts for every way.

    Args:
        ways: On the same rows in the same order.
        settings: Replicates, seed, level and budget; the thresholds are those of `Judged`.

    Raises:
        DataError: when the rows are not the same.
    """
    tests = [judged.test for judged in ways.values()]
    for test in tests[1:]:
        _same_rows(tests[0], test)
    judges = {name: _Judge(judged, settings.budget) for name, judged in ways.items()}
    drawn: dict[str, list[Figures]] = {name: [] for name in ways}
    for weights in draws(tests[0].labels.size, tests[0].clusters, settings) if tests else ():
        for name, judge in judges.items():
            drawn[name].append(judge.figures(weights))
    return {name: Drawn(tuple(found), settings.level) for name, found in drawn.items()}


def fairness(
    test: Scored, figures: Iterable[FigureName], settings: Bootstrap
) -> dict[FigureName, tuple[float, Interval | None]]:
    """The worst bank's figure as a share of the banks' mean, and its interval, by figure; for simulation.

    Each bank is judged on its own rows, at its own alert budget. The worst of many noisy figures lies below the true
    worst, so the interval reaches further down than up.

    Args:
        test: One model's scores of all banks' test rows.
        figures: Of `auprc` and `recall_at_budget`.
        settings: Replicates, seed, level and budget.

    Returns:
        Nothing for a figure that is defined at no bank, or 0 at all.
    """
    names = tuple(figures)
    banks = {bank: rows for bank, rows in test.banks.items() if test.labels[rows].any()}
    rankings = {bank: Ranking(test.logits[rows], test.labels[rows]) for bank, rows in banks.items()}

    def ratios(weights: Weights) -> list[float | None]:
        own = [
            ranking.figures(weights[banks[bank]], threshold=0.0, budget=settings.budget)
            for bank, ranking in rankings.items()
        ]
        return [_worst_to_mean([getattr(found, name) for found in own]) for name in names]

    values = ratios(np.ones(test.labels.size))
    if all(value is None for value in values):
        return {}
    drawn = [ratios(weights) for weights in draws(test.labels.size, test.clusters, settings)]
    return {
        name: (value, percentiles([found[place] for found in drawn], settings.level))
        for place, (name, value) in enumerate(zip(names, values, strict=True))
        if value is not None
    }


def _worst_to_mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    mean = float(np.mean(defined)) if defined else 0.0
    return min(defined) / mean if mean > 0 else None


class _Judge:
    """One way to train: its scores sorted, and what its banks' thresholds make of them."""

    def __init__(self, judged: Judged, budget: float) -> None:
        self._ranked = Ranking(judged.test.logits, judged.test.labels)
        self._budget = budget
        truth, alerts = check_scores(judged.test.logits, judged.test.labels), judged.alerts()
        self._frauds, self._hits = np.flatnonzero(truth), np.flatnonzero(truth & alerts)
        self._false = np.flatnonzero(~truth & alerts)

    def figures(self, weights: Weights) -> Figures:
        """Figures of the scores; balanced accuracy at each bank's own threshold."""
        by_score = self._ranked.figures(weights, threshold=0.0, budget=self._budget)
        if by_score.balanced_accuracy is None:
            return by_score
        positives = float(weights[self._frauds].sum())
        negatives = float(weights.sum()) - positives
        hit, spared = weights[self._hits].sum() / positives, 1 - weights[self._false].sum() / negatives
        return replace(by_score, balanced_accuracy=float(hit + spared) / 2)


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _same_rows(first: Scored, second: Scored) -> None:
    same = np.array_equal(first.labels, second.labels) and np.array_equal(first.clusters, second.clusters)
    if not same or dict(first.banks) != dict(second.banks):
        raise DataError("both models must be judged on the same rows in the same order, or their figures are no pair")
