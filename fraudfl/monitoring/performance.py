"""How good the model is once labels are known, from summed score histograms: figures, calibration, alert rate.

Intervals are a parametric bootstrap over bins: counts are drawn again around what was found, with Poisson variance
times an inflation (frauds come in groups: one stolen card's, one mule account's), and with noise of known variance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from fraudfl.config import Frozen
from fraudfl.metrics.figures import FIGURES
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.monitoring.coarse import Counts, Floats, ordered_groups
from fraudfl.privacy.denoise import plausible_counts


class PerformanceConfig(Frozen):
    """What is computed of a window's scores.

    Attributes:
        threshold: Logit at or above which a transaction is an alert.
        budget: Alert budget, a share of all transactions.
        replicates: Draws behind each interval.
        level: Coverage of intervals.
        calibration_groups: Groups of the reliability table, each with about as many expected frauds.
        seed: Seed of the draws.
    """

    threshold: float = 0.0
    budget: float = Field(default=0.005, gt=0, lt=1)
    replicates: int = Field(default=200, ge=20, le=10_000)
    level: float = Field(default=0.95, gt=0.5, lt=1)
    calibration_groups: int = Field(default=10, ge=2, le=50)
    seed: int = 0


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scored:
    """A window's scores with the labels that have become known since.

    Attributes:
        histogram: The sum over banks; where it carries noise, what `plausible_counts` made of each class.
        noise_variance: Variance of the Gaussian noise that was in each count; 0 where there was none.
    """

    histogram: ScoreHistogram
    noise_variance: float = 0.0


@dataclass(frozen=True)
class Performance:
    """How well a model told frauds from the rest.

    Attributes:
        rows, frauds: Transactions and frauds counted.
        figures: AUPRC, AUROC, balanced accuracy and recall at budget, by name; those that are defined.
        drops: How far each is below the reference's, by name, where there is a reference: above 0 is worse. Its low
            end is what is lost for sure.
    """

    rows: int
    frauds: int
    figures: dict[str, Estimate]
    drops: dict[str, Estimate] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Reliability:
    """One group of scores: what the model expected there and what came."""

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


@dataclass(frozen=True)
class AlertRate:
    """How many alerts the threshold makes.

    Attributes:
        rate: Share of transactions at or above the threshold.
        budget: The share that analysts can look at.
    """

    rate: Estimate
    budget: float

    @property
    def of_budget(self) -> Estimate:
        """The rate in budgets: 2 is twice what analysts can look at."""
        return Estimate(self.rate.value / self.budget, self.rate.low / self.budget, self.rate.high / self.budget)

    def to_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return {**asdict(self), "of_budget": asdict(self.of_budget)}


def performance(
    current: Scored, config: PerformanceConfig, *, reference: Scored | None = None, inflation: float = 1.0
) -> Performance:
    """Figures of a window with intervals, and how far they fell from the reference's.

    Args:
        current: The window's scores and labels.
        config: Threshold, budget, draws.
        reference: Scores and labels of the time in which the model was found good enough.
        inflation: Variance of fraud counts against Poisson's; see `performance_inflation`.
    """
    now = _figures(current.histogram, config)
    drawn = [_figures(again, config) for again in _draws(current, config, inflation, config.seed)]
    figures = {name: _estimate(now[name], [d[name] for d in drawn if name in d], config.level) for name in now}
    drops: dict[str, Estimate] = {}
    if reference is not None:
        before = _figures(reference.histogram, config)
        earlier = [_figures(again, config) for again in _draws(reference, config, inflation, config.seed + 1)]
        for name in now.keys() & before.keys():
            lost = [a[name] - b[name] for a, b in zip(earlier, drawn, strict=True) if name in a and name in b]
            drops[name] = _estimate(before[name] - now[name], lost, config.level)
    histogram = current.histogram
    return Performance(histogram.total, int(histogram.positive.sum()), figures, drops)


def performance_inflation(quiet: Sequence[Scored], config: PerformanceConfig) -> float:
    """How much more AUPRC differs between quiet windows than independent frauds would make it differ; at least 1.

    With fewer than three windows nothing can be said, and it is 1.
    """
    values = [_figures(scored.histogram, config).get("auprc") for scored in quiet]
    known = [value for value in values if value is not None]
    if len(known) < 3:
        return 1.0
    expected = []
    for scored in quiet:
        drawn = [_figures(again, config) for again in _draws(scored, config, 1.0, config.seed)]
        expected.append(float(np.var([figures["auprc"] for figures in drawn if "auprc" in figures])))
    return max(1.0, float(np.var(known, ddof=1)) / max(float(np.mean(expected)), 1e-12))


def calibration(scored: Scored, config: PerformanceConfig, *, inflation: float = 1.0) -> Calibration | None:
    """Compare what scores promised with what came, from bins alone; None without a transaction.

    A bin's probability is that of its middle logit, an outer bin's that of its edge.
    """
    histogram = scored.histogram
    if not histogram.total:
        return None
    probability = _bin_probabilities(histogram.bins)
    rows = (histogram.positive + histogram.negative).astype(np.float64)
    expected = probability * rows
    groups = ordered_groups(np.ceil(expected * 1e6), config.calibration_groups, 1.0, last_apart=False)
    held, promised, came = groups.sum(rows), groups.sum(expected), groups.sum(histogram.positive)
    table = tuple(
        Reliability(int(n), float(e / n), float(o / n)) for n, e, o in zip(held, promised, came, strict=True) if n > 0
    )
    ece = sum(row.rows * abs(row.predicted - row.observed) for row in table) / histogram.total
    errors = histogram.positive * (1 - probability) ** 2 + histogram.negative * probability**2
    ratios = [_ratio(again, probability) for again in _draws(scored, config, inflation, config.seed)]
    ratio = _estimate(_ratio(histogram, probability), ratios, config.level)
    return Calibration(float(ece), float(errors.sum()) / histogram.total, ratio, table)


def alert_rate(
    scores: Counts, bins: ScoreBins, config: PerformanceConfig, *, inflation: float = 1.0, noise_variance: float = 0.0
) -> AlertRate | None:
    """Share of scores at or above the threshold, before any label is known; None without a transaction.

    Args:
        scores: Rows per score bin, shape (bins.size,).
        bins: The public bins.
        config: Threshold, budget and level.
        inflation: Variance of the counts against that of independent rows.
        noise_variance: Variance of the Gaussian noise in each count.
    """
    total = float(scores.sum())
    if total <= 0:
        return None
    reached = np.cumsum(scores[::-1].astype(np.float64))[::-1][1:]
    alerts = float(np.clip(np.interp(config.threshold, bins.edges, reached, left=total, right=0.0), 0.0, total))
    rate, above = alerts / total, int(np.count_nonzero(bins.edges >= config.threshold))
    variance = inflation * max(rate * (1 - rate), 1 / total) / total + noise_variance * above / total**2
    spread = float(stats.norm.ppf((1 + config.level) / 2)) * math.sqrt(variance)
    return AlertRate(Estimate(rate, max(0.0, rate - spread), min(1.0, rate + spread)), config.budget)


def _figures(histogram: ScoreHistogram, config: PerformanceConfig) -> dict[str, float]:
    """The figures that are defined."""
    found = histogram.figures(threshold=config.threshold, budget=config.budget).to_dict()
    return {name: value for name in FIGURES if (value := found[name]) is not None}


def _draws(scored: Scored, config: PerformanceConfig, inflation: float, seed: int) -> Iterator[ScoreHistogram]:
    """Histograms such as might have been counted in place of this one."""
    rng = np.random.default_rng(seed)
    histogram = scored.histogram
    for _ in range(config.replicates):
        yield ScoreHistogram(
            histogram.bins,
            _drawn(rng, histogram.positive, inflation, scored.noise_variance),
            _drawn(rng, histogram.negative, 1.0, scored.noise_variance),
        )


def _drawn(rng: np.random.Generator, counts: Counts, inflation: float, noise_variance: float) -> NDArray[np.int64]:
    # Groups of `inflation` rows each, of which a Poisson number comes: the mean stays, the variance grows by it.
    again = inflation * rng.poisson(counts / inflation)
    if noise_variance:
        return plausible_counts(again + rng.normal(0.0, math.sqrt(noise_variance), counts.size))
    rounded: NDArray[np.int64] = np.rint(again).astype(np.int64)
    return rounded


def _estimate(value: float, drawn: Sequence[float], level: float) -> Estimate:
    if not drawn:
        return Estimate(value, value, value)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _ratio(histogram: ScoreHistogram, probability: Floats) -> float:
    promised = float((probability * (histogram.positive + histogram.negative)).sum())
    return float(histogram.positive.sum()) / max(promised, 1e-12)


def _bin_probabilities(bins: ScoreBins) -> Floats:
    edges = bins.edges
    logits = np.concatenate(([edges[0]], (edges[:-1] + edges[1:]) / 2, [edges[-1]]))
    probabilities: Floats = 1 / (1 + np.exp(-logits))
    return probabilities
