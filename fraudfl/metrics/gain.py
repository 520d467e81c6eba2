"""The consortium's gain: federated against alone on the same rows, drawn in pairs, and how evenly banks share in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import DataError
from fraudfl.metrics.bootstrap import Bootstrap, Interval, Ranking, Weights, draws, percentiles
from fraudfl.metrics.figures import FIGURES, FigureName, Figures
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

    def margins(self) -> NDArray[np.float32]:
        """Logits over each bank's own threshold, float32 of shape (rows,); balanced accuracy looks at their sign."""
        over = self.test.logits.copy()
        for bank, rows in self.test.banks.items():
            over[rows] -= np.float32(self.thresholds[bank])
        return over


def gain_intervals(first: Judged, second: Judged, settings: Bootstrap) -> dict[FigureName, Interval | None]:
    """An interval for each figure of `first` minus that of `second`; None where no replicate defines it.

    Both are drawn together: a replicate takes the same accounts for both, so that what is hard for both cancels.

    Args:
        first, second: Both ways, on the same rows in the same order.
        settings: Replicates, seed, level and budget; the thresholds are those of `Judged`.

    Raises:
        DataError: when the rows are not the same.
    """
    _same_rows(first.test, second.test)
    contenders = [_Paired(judged, settings.budget) for judged in (first, second)]
    differences = []
    for weights in draws(first.test.labels.size, first.test.clusters, settings):
        one, other = (contender.figures(weights).to_dict() for contender in contenders)
        differences.append({name: _minus(one[name], other[name]) for name in FIGURES})
    return {name: percentiles([found[name] for found in differences], settings.level) for name in FIGURES}


def fairness(test: Scored, figure: FigureName, settings: Bootstrap) -> tuple[float, Interval | None] | None:
    """The worst bank's figure as a share of the banks' mean, and its interval; for simulation.

    Each bank is judged on its own rows, at its own alert budget. The worst of many noisy figures lies below the true
    worst, so the interval reaches further down than up.

    Args:
        test: One model's scores of all banks' test rows.
        figure: `auprc` or `recall_at_budget`.
        settings: Replicates, seed, level and budget.

    Returns:
        None where no bank's figure is defined, or all are 0.
    """
    banks = {bank: rows for bank, rows in test.banks.items() if test.labels[rows].any()}
    rankings = {bank: Ranking(test.logits[rows], test.labels[rows]) for bank, rows in banks.items()}

    def ratio(weights: Weights) -> float | None:
        own = [
            getattr(ranking.figures(weights[banks[bank]], threshold=0.0, budget=settings.budget), figure)
            for bank, ranking in rankings.items()
        ]
        defined = [value for value in own if value is not None]
        mean = float(np.mean(defined)) if defined else 0.0
        return min(defined) / mean if mean > 0 else None

    value = ratio(np.ones(test.labels.size))
    if value is None:
        return None
    drawn = [ratio(weights) for weights in draws(test.labels.size, test.clusters, settings)]
    return value, percentiles(drawn, settings.level)


class _Paired:
    """One way to train, sorted by its scores and by its margins."""

    def __init__(self, judged: Judged, budget: float) -> None:
        self._ranked = Ranking(judged.test.logits, judged.test.labels)
        self._decided = Ranking(judged.margins(), judged.test.labels)
        self._budget = budget

    def figures(self, weights: Weights) -> Figures:
        """Figures of the scores; balanced accuracy of the margins."""
        by_score = self._ranked.figures(weights, threshold=0.0, budget=self._budget)
        by_margin = self._decided.figures(weights, threshold=0.0, budget=self._budget)
        return replace(by_score, balanced_accuracy=by_margin.balanced_accuracy)


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _same_rows(first: Scored, second: Scored) -> None:
    same = np.array_equal(first.labels, second.labels) and np.array_equal(first.clusters, second.clusters)
    if not same or dict(first.banks) != dict(second.banks):
        raise DataError("both models must be judged on the same rows in the same order, or their figures are no pair")
