"""Whether scores mean what they say, from the bins of a score histogram alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.monitoring.coarse import Floats, Groups, ordered_groups
from fraudfl.monitoring.scores import Estimate, Scored, percentile_estimate
from fraudfl.monitoring.settings import ScoringConfig


@dataclass(frozen=True)
class Reliability:
    """One group of scores: the fraud rate that the model expected there, and the one that came."""

    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Calibration:
    """Whether scores mean what they say.

    Attributes:
        ece: Expected calibration error: mean distance of predicted and observed fraud rate, by rows.
        brier: Mean squared distance of predicted probability and label.
        observed_to_expected: Frauds seen per fraud that the scores promised; 1 is calibrated.
        groups: The reliability table, by rising score.
    """

    ece: float
    brier: float
    observed_to_expected: Estimate
    groups: tuple[Reliability, ...]

    def to_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return asdict(self)


def calibration(scored: Scored, config: ScoringConfig) -> Calibration | None:
    """Compare what scores promised with what came; None without a transaction.

    A bin's probability is that of its middle logit, an outer bin's that of its edge.
    """
    histogram = scored.histogram
    if not histogram.total:
        return None
    probability = bin_probabilities(histogram.bins)
    table = _reliability(histogram, probability, config.calibration_groups)
    ece = sum(row.rows * abs(row.predicted - row.observed) for row in table) / histogram.total
    errors = histogram.positive * (1 - probability) ** 2 + histogram.negative * probability**2
    ratios = [frauds_per_promised(again) for again in scored.draws(config)]
    ratio = percentile_estimate(frauds_per_promised(histogram), ratios, config.level)
    return Calibration(float(ece), float(errors.sum()) / histogram.total, ratio, table)


def frauds_per_promised(histogram: ScoreHistogram) -> float:
    """Frauds seen per fraud that the scores promised; 0 without a fraud."""
    promised = float((bin_probabilities(histogram.bins) * (histogram.positive + histogram.negative)).sum())
    return float(histogram.positive.sum()) / promised if promised > 0 else 0.0


def bin_probabilities(bins: ScoreBins) -> Floats:
    """Probability of each bin's middle logit, float64 of shape (bins.size,)."""
    edges = bins.edges
    logits = np.concatenate(([edges[0]], (edges[:-1] + edges[1:]) / 2, [edges[-1]]))
    probabilities: Floats = 1 / (1 + np.exp(-logits))
    return probabilities


def expected_groups(histogram: ScoreHistogram, wanted: int, least: float = 0.0) -> Groups:
    """Neighbouring score bins with about as many expected frauds in each group.

    Groups of as many rows would all but one expect none.

    Args:
        histogram: With at least one transaction.
        wanted: Most groups.
        least: Expected frauds below which a group joins its neighbour.
    """
    expected = bin_probabilities(histogram.bins) * (histogram.positive + histogram.negative)
    scale = 1e9 / expected.sum()  # the groups' quantiles are taken of whole numbers
    return ordered_groups(expected * scale, wanted, max(1.0, least * scale), last_apart=False)


def _reliability(histogram: ScoreHistogram, probability: Floats, wanted: int) -> tuple[Reliability, ...]:
    rows = (histogram.positive + histogram.negative).astype(np.float64)
    groups = expected_groups(histogram, wanted)
    held, promised, came = groups.sum(rows), groups.sum(probability * rows), groups.sum(histogram.positive)
    return tuple(
        Reliability(int(n), float(e / n), float(o / n)) for n, e, o in zip(held, promised, came, strict=True) if n > 0
    )
