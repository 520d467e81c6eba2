"""Score histograms: counts of frauds and others over public bins of the logit, which banks can sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from fraudfl.config import Frozen
from fraudfl.errors import WireError
from fraudfl.metrics.figures import Figures, Labels, Logits, check_labels

Counts = npt.NDArray[np.int64]
Curve = npt.NDArray[np.float64]

_STRATA = 16
"""Points per bin at which precision is taken; more changes no figure by 1e-5."""


class ScoreBins(Frozen):
    """Public bins of the logit: `count` equal ones from `low` to `high`, and one on each side for what lies beyond.

    A bin holds the logits from its lower edge, inclusive, to its upper edge. The default range is that of
    probabilities from 1e-7 to 1 - 1e-7.
    """

    low: float = -16.0
    high: float = 16.0
    count: int = Field(default=1024, ge=2, le=1_000_000)

    @model_validator(mode="after")
    def _edges_are_in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"`low` is {self.low:g}; it must be below `high`, {self.high:g}")
        return self

    @property
    def edges(self) -> Curve:
        """Edges, float64 of shape (count + 1,), ascending: the possible thresholds."""
        return np.linspace(self.low, self.high, self.count + 1)

    @property
    def size(self) -> int:
        """Bins of one class, the two outer ones included; a histogram's vector has twice as many entries."""
        return self.count + 2


@dataclass(frozen=True)
class ScoreHistogram:
    """How many frauds and how many others scored in each bin.

    Attributes:
        bins: The public bins.
        positive: Frauds, int64 of shape (bins.size,), by ascending logit.
        negative: Others, likewise.
    """

    bins: ScoreBins
    positive: Counts
    negative: Counts

    @classmethod
    def empty(cls, bins: ScoreBins) -> Self:
        """A histogram of nothing: where a sum starts."""
        return cls(bins, np.zeros(bins.size, dtype=np.int64), np.zeros(bins.size, dtype=np.int64))

    @classmethod
    def from_logits(cls, logits: Logits, labels: Labels, bins: ScoreBins) -> Self:
        """Count scores, each row in one bin whatever its score.

        Where the score is not finite an error would tell whoever chose the weights that some row makes them overflow.

        Args:
            logits: Shape (n,). Infinity is counted in the top bin; minus infinity, and not-a-number, in the lowest.
            labels: 0 or 1, shape (n,).
            bins: The plan's bins.

        Raises:
            DataError: if shapes differ or a label is not 0 or 1.
        """
        truth = check_labels(logits, labels)
        places = np.searchsorted(bins.edges, np.where(np.isnan(logits), -np.inf, logits), side="right")
        return cls(
            bins,
            np.bincount(places[truth], minlength=bins.size).astype(np.int64),
            np.bincount(places[~truth], minlength=bins.size).astype(np.int64),
        )

    @classmethod
    def from_vector(cls, vector: Counts, bins: ScoreBins) -> Self:
        """Read what `to_vector` wrote.

        Raises:
            WireError: if the vector does not fit the bins, or has a negative count.
        """
        if vector.shape != (2 * bins.size,) or not np.issubdtype(vector.dtype, np.integer):
            raise WireError(
                f"score histogram is {vector.dtype} of shape {vector.shape}; expected int64 of shape ({2 * bins.size},)"
            )
        if int(vector.min()) < 0:
            raise WireError(f"score histogram has a count of {int(vector.min())}; expected none below 0")
        counts = vector.astype(np.int64)
        return cls(bins, counts[: bins.size], counts[bins.size :])

    def to_vector(self) -> Counts:
        """Frauds, then others: int64 of shape (2 * bins.size,)."""
        return np.concatenate((self.positive, self.negative))

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        """The histogram of both banks' scores together.

        Raises:
            WireError: if the bins differ.
        """
        if self.bins != other.bins:
            raise WireError(f"cannot add score histograms over different bins: {self.bins!r} and {other.bins!r}")
        return ScoreHistogram(self.bins, self.positive + other.positive, self.negative + other.negative)

    @property
    def total(self) -> int:
        """Transactions counted."""
        return int(self.positive.sum() + self.negative.sum())

    def figures(self, *, threshold: float = 0.0, budget: float = 0.005) -> Figures:
        """All figures, within 0.002 of the exact ones where ties do not straddle (see `auprc`)."""
        return Figures(self.auprc(), self.auroc(), self.balanced_accuracy(threshold), self.recall_at_budget(budget))

    def auprc(self) -> float | None:
        """Average precision; None without a fraud.

        Inside a bin the order of scores is unknown; each fraud there gets the precision it has when the bin's frauds
        and others alternate evenly. Where a bin is truly one tie, scikit-learn gives them all the precision at its end.
        """
        frauds = self.positive[::-1].astype(np.float64)
        others = self.negative[::-1].astype(np.float64)
        here = frauds > 0
        if not here.any():
            return None
        before_frauds, before_others = (np.cumsum(frauds) - frauds)[here], (np.cumsum(others) - others)[here]
        frauds, others = frauds[here], others[here]
        # The i-th of p frauds stands behind i * n / (p + 1) of the bin's n others; i runs from 1/2 to p + 1/2.
        rank = 0.5 + frauds[:, None] * (np.arange(_STRATA) + 0.5) / _STRATA
        found = before_frauds[:, None] + rank
        false = before_others[:, None] + others[:, None] * rank / (frauds[:, None] + 1)
        precision = (found / (found + false)).mean(axis=1)
        return float((precision * frauds).sum() / frauds.sum())

    def auroc(self) -> float | None:
        """Chance that a fraud scores above another transaction, half for the same bin; None without both classes."""
        if not self.positive.any() or not self.negative.any():
            return None
        below = np.cumsum(self.negative) - self.negative / 2
        return float((self.positive * below).sum() / (float(self.positive.sum()) * float(self.negative.sum())))

    def balanced_accuracy(self, threshold: float) -> float | None:
        """Balanced accuracy, interpolated where the threshold is no edge; None without both classes."""
        if not self.positive.any() or not self.negative.any():
            return None
        recall = self._at_or_above(self.positive, threshold) / float(self.positive.sum())
        false_alarms = self._at_or_above(self.negative, threshold) / float(self.negative.sum())
        return float((recall + 1 - false_alarms) / 2)

    def recall_at_budget(self, budget: float) -> float | None:
        """Share of frauds among the highest-scored `budget` of all transactions; None without a fraud."""
        if not self.positive.any():
            return None
        alerts = np.concatenate(([0], np.cumsum((self.positive + self.negative)[::-1])))
        found = np.concatenate(([0], np.cumsum(self.positive[::-1])))
        return float(np.interp(budget * self.total, alerts, found) / float(self.positive.sum()))

    def precision_recall_curve(self) -> tuple[Curve, Curve, Curve]:
        """Precision, recall and threshold at each edge with an alert at or above it, by falling threshold."""
        found, false = self._alerts()
        some = found + false > 0
        precision = found[some] / (found + false)[some]
        recall = found[some] / max(1.0, float(self.positive.sum()))
        return precision[::-1], recall[::-1], self.bins.edges[some][::-1]

    def best_threshold(self, objective: Literal["balanced_accuracy", "f1"]) -> float | None:
        """The edge with the best figure, the middle one of equals; None without both classes."""
        if not self.positive.any() or not self.negative.any():
            return None
        found, false = self._alerts()
        frauds, others = float(self.positive.sum()), float(self.negative.sum())
        quality = (
            found / frauds - false / others if objective == "balanced_accuracy" else found / (found + false + frauds)
        )
        best = np.flatnonzero(quality >= quality.max() - 1e-12)
        return float(self.bins.edges[best[best.size // 2]])

    def threshold_at_budget(self, budget: float) -> float | None:
        """The lowest edge that at most `budget` of all transactions reach; None when even the highest has more."""
        found, false = self._alerts()
        fits = np.flatnonzero(found + false <= budget * self.total)
        return float(self.bins.edges[fits[0]]) if fits.size and self.total else None

    def _alerts(self) -> tuple[Curve, Curve]:
        """Frauds and others at or above each edge, float64 of shape (count + 1,)."""
        found = np.cumsum(self.positive[::-1])[::-1][1:]
        false = np.cumsum(self.negative[::-1])[::-1][1:]
        return found.astype(np.float64), false.astype(np.float64)

    def _at_or_above(self, counts: Counts, threshold: float) -> float:
        """How many reach a threshold; beyond the outer edges all of the outer bin does, or none."""
        reached = np.cumsum(counts[::-1])[::-1].astype(np.float64)
        if threshold < self.bins.low:
            return float(reached[0])
        if threshold > self.bins.high:
            return 0.0
        return float(np.interp(threshold, self.bins.edges, reached[1:]))
