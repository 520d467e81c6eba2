"""How good the model is once labels are known, and how far that is from what it was in quiet windows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from fraudfl.errors import DataError
from fraudfl.metrics.figures import FIGURES
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.monitoring.calibration import frauds_per_promised
from fraudfl.monitoring.figure_chart import Usual, usual
from fraudfl.monitoring.scores import Estimate, Scored, percentile_estimate
from fraudfl.monitoring.settings import ScoringConfig

_PROMISED, _MISSED = "frauds per promised, log", "missed frauds per row, log"


@dataclass(frozen=True)
class Performance:
    """How well a model told frauds from the rest.

    Attributes:
        rows, frauds: Transactions and frauds counted.
        figures: AUPRC, AUROC, balanced accuracy and recall at budget, by name; those that are defined.
        drops: How far each is below what it usually is, where quiet windows are known: above 0 is worse. The low end
            is what is lost for sure.
        calibration_shift: Frauds seen per fraud that the scores promised, against the same in quiet windows: 1 is no
            change; None without quiet windows or without a fraud.
        missed_ratio: Frauds per transaction that the alert budget misses, against the same in quiet windows: 1 is no
            change. It sees a new kind of fraud soonest, because neither the budget nor known frauds dilute it.
        noise_per_fraud: Deviation of the noise in the sum of fraud counts, per fraud; 0 without noise. Up to 0.02 the
            figures' intervals hold what they say; above it figures come out too low, and only `drops`, against quiet
            windows with the same noise, can be relied on.
    """

    rows: int
    frauds: int
    figures: dict[str, Estimate]
    drops: dict[str, Estimate] = field(default_factory=dict)
    calibration_shift: Estimate | None = None
    missed_ratio: Estimate | None = None
    noise_per_fraud: float = 0.0

    def to_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class QuietScores:
    """Windows in which the model was found good enough; none of their rows may have trained it.

    Attributes:
        windows: May be empty; from three on it is known how much figures vary by themselves.
        config: Threshold, budget, draws.
    """

    windows: tuple[Scored, ...]
    config: ScoringConfig

    @cached_property
    def usual(self) -> dict[str, Usual]:
        """Each figure, and the log of each rate that is compared as a ratio, where every quiet window has it."""
        return self._looked()

    def _looked(self) -> dict[str, Usual]:
        looked = [_Looked(scored, self.config) for scored in self.windows]
        names = set.intersection(*(set(one.values) for one in looked)) if looked else set()
        return {
            name: usual([one.values[name] for one in looked], [one.variance(name) for one in looked])
            for name in sorted(names)
        }


@dataclass(frozen=True)
class Promised(QuietScores):
    """One window in which a model was found better than the one before, which lends its variation between windows.

    Attributes:
        before: Quiet windows of the model before.
    """

    before: QuietScores = field(kw_only=True)

    @cached_property
    def usual(self) -> dict[str, Usual]:
        """Each figure as it was in that window, as uncertain as one window of the model before."""
        known = self.before.usual
        return {name: one.like(known[name]) for name, one in self._looked().items() if name in known}


def performance(scored: Scored, quiet: QuietScores) -> Performance:
    """Figures of a window with intervals, and how far they are from the usual.

    Raises:
        DataError: if quiet windows were scored over other bins.
    """
    histogram, level = scored.histogram, quiet.config.level
    if any(other.histogram.bins != histogram.bins for other in quiet.windows):
        raise DataError(
            "monitoring: the window was scored over other bins than its reference; expected one plan for both. "
            "Start a new reference."
        )
    looked = _Looked(scored, quiet.config)
    known = {name: quiet.usual[name].above(looked.values[name], looked.variance(name), level)
             for name in looked.values if name in quiet.usual}  # fmt: skip
    promised, missed = known.pop(_PROMISED, None), known.pop(_MISSED, None)
    frauds = int(histogram.positive.sum())
    return Performance(
        rows=histogram.total,
        frauds=frauds,
        figures={name: looked.estimate(name, quiet) for name in FIGURES if name in looked.values},
        drops={name: Estimate(-above.value, -above.high, -above.low) for name, above in known.items()},
        calibration_shift=promised and _exponential(promised),
        missed_ratio=missed and _exponential(missed),
        noise_per_fraud=math.sqrt(scored.noise_variance * histogram.bins.size) / max(1, frauds),
    )


def _exponential(logs: Estimate) -> Estimate:
    return Estimate(*(math.exp(min(end, 700.0)) for end in (logs.value, logs.low, logs.high)))


class _Looked:
    """A window's figures, and what they are in its draws.

    Noise puts frauds that are none among low scores, and figures look worse than they are. How much is learnt from the
    draws, which have the noise a second time, and taken off (bootstrap bias correction, Efron and Tibshirani 1993).
    """

    def __init__(self, scored: Scored, config: ScoringConfig) -> None:
        self._raw = _figures(scored.histogram, config)
        self._drawn = [_figures(again, config) for again in scored.draws(config)]
        noisy = scored.noise_variance > 0
        self._bias = {name: float(np.mean(self._of(name))) - raw if noisy else 0.0 for name, raw in self._raw.items()}
        self.values = {name: raw - self._bias[name] for name, raw in self._raw.items()}

    def variance(self, name: str) -> float:
        return float(np.var(self._of(name)))

    def estimate(self, name: str, quiet: QuietScores) -> Estimate:
        level = quiet.config.level
        widening = quiet.usual[name].widening(level) if name in quiet.usual else 1.0
        found = percentile_estimate(
            self.values[name], self._of(name), level, widening=widening, correction=self._bias[name]
        )
        return Estimate(*(min(1.0, max(0.0, end)) for end in (found.value, found.low, found.high)))

    def _of(self, name: str) -> list[float]:
        return [figures.get(name, self._raw[name]) for figures in self._drawn]


def _figures(histogram: ScoreHistogram, config: ScoringConfig) -> dict[str, float]:
    """The figures that are defined, and logs of frauds seen per fraud promised and of frauds missed per row."""
    found = histogram.figures(threshold=config.threshold, budget=config.budget).to_dict()
    values: dict[str, float] = {name: value for name in FIGURES if (value := found[name]) is not None}
    recall, frauds = values.get("recall_at_budget"), float(histogram.positive.sum())
    if recall is None:
        return values
    # Half a fraud more, so that a window in which none was missed has a logarithm.
    missed = math.log(((1 - recall) * frauds + 0.5) / histogram.total)
    return {**values, _PROMISED: math.log(frauds_per_promised(histogram)), _MISSED: missed}
