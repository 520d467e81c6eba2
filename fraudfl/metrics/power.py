"""Whether a test window holds enough fraud to show a gain in AUPRC, before anybody trains."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.integrate import cumulative_trapezoid, trapezoid
from scipy.optimize import brentq
from scipy.stats import norm

from fraudfl.errors import DataError

Curve = npt.NDArray[np.float64]

_POINTS = 4001
_REACH = 8.0
_FARTHEST = 12.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a test window holds.

    Attributes:
        frauds, others: Transactions of each kind; counts that were released with noise may be used as they are.
        design_effect: How many transactions say as much as one: frauds of one account resemble each other. 1 when
            each stands for itself.
        noise: Standard deviation of the noise in `frauds`.
    """

    frauds: float
    others: float
    design_effect: float = 1.0
    noise: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Hope:
    """What the consortium hopes to see.

    Attributes:
        alone: AUPRC expected of training alone.
        gain: Gain in AUPRC that one believes is there.
        asked: Gain that the lower end of the interval must reach: the gate's `at_least`.
        correlation: Between both models' AUPRC over windows like this one; 0 is the most cautious. On the same rows it
            is seldom below 0.5.
        level: Coverage of the interval.
        wanted: Power that counts as enough.
    """

    alone: float
    gain: float
    asked: float = 0.0
    correlation: float = 0.5
    level: float = 0.95
    wanted: float = 0.8


@dataclass(frozen=True)
class Power:
    """The answer.

    Attributes:
        standard_error: Of the difference of both models' AUPRC.
        power: Chance that the interval's lower end reaches what is asked, if the gain is there.
        power_low: The same with as few frauds as the noise in their count leaves possible; equal without noise.
        frauds: In the window.
        frauds_needed: For the wanted power, at the same share of fraud; None when no number is enough.
        hope: What was asked about.
    """

    standard_error: float
    power: float
    power_low: float
    frauds: float
    frauds_needed: int | None
    hope: Hope

    @property
    def enough(self) -> bool:
        """Whether the power reaches what is wanted, also with as few frauds as there may be."""
        return self.power_low >= self.hope.wanted

    @property
    def words(self) -> str:
        """The answer in a few sentences."""
        said = (
            f"With {self.frauds:,.0f} frauds to test on, a gain of {self.hope.gain:g} over an AUPRC of "
            f"{self.hope.alone:g} is seen with a standard error of {self.standard_error:.3f}. If the gain is there, a "
            f"gate that asks its lower end for {self.hope.asked:g} passes with a chance of {self.power:.0%}"
        )
        if self.power_low < self.power:
            said += f", or {self.power_low:.0%} where noise has made the count of frauds too high"
        if self.frauds_needed is None:
            return (
                f"{said}. No number of frauds is enough: the gain that is hoped for is no more than the gate asks for."
            )
        enough = "That is enough" if self.enough else "That is not enough"
        return f"{said}. {enough}: a chance of {self.hope.wanted:.0%} takes {self.frauds_needed:,} frauds."

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "enough": self.enough, "words": self.words}


def power_of(window: Window, hope: Hope) -> Power:
    """Say whether a window holds enough fraud to see a gain.

    Raises:
        DataError: when the window holds no fraud or nothing else, or a hope is out of range.
    """
    _check(window, hope)
    prevalence = window.frauds / (window.frauds + window.others)
    spread = _difference_spread(prevalence, hope) * math.sqrt(window.design_effect)
    fewest = max(0.0, window.frauds - float(norm.ppf((1 + hope.level) / 2)) * window.noise)
    return Power(
        standard_error=spread / math.sqrt(window.frauds),
        power=_power(spread, window.frauds, hope),
        power_low=_power(spread, fewest, hope),
        frauds=window.frauds,
        frauds_needed=_needed(spread, hope),
        hope=hope,
    )


def auprc_spread(level: float, prevalence: float) -> float:
    """Standard deviation of AUPRC times the square root of the number of frauds, in a large sample.

    Scores of both classes are taken as normal with the same variance, so far apart that AUPRC is `level`; the sample
    holds frauds and others in fixed numbers. The binomial rule, sqrt(level * (1 - level)) whatever the scores look like
    (Boyd et al. 2013), agrees within a fifth for levels from 0.1 to 0.8.

    Args:
        level: AUPRC, above `prevalence` and below 1.
        prevalence: Share of frauds, in (0, 1).

    Source: the delta method on the functional AP = E[precision at a fraud's score] (influence function, as in van der
    Vaart 1998, section 20.1).
    """
    apart = brentq(lambda d: _Scores(d, prevalence).auprc - level, 0.0, _FARTHEST, xtol=1e-6)
    scores = _Scores(float(apart), prevalence)
    of_frauds, of_others = scores.influence()
    # Per fraud: there are (1 - prevalence) / prevalence others to each.
    variance = scores.variance(of_frauds, scores.frauds) + scores.variance(of_others, scores.others) * prevalence / (
        1 - prevalence
    )
    return math.sqrt(variance)


class _Scores:
    """Two normal distributions of scores on one grid, and what precision does along it."""

    def __init__(self, apart: float, prevalence: float) -> None:
        self.grid: Curve = np.linspace(-_REACH, apart + _REACH, _POINTS)
        self.frauds: Curve = norm.pdf(self.grid - apart)
        self.others: Curve = norm.pdf(self.grid)
        self._recall: Curve = norm.sf(self.grid - apart)
        self._alarms: Curve = norm.sf(self.grid)
        self._odds = (1 - prevalence) / prevalence
        self._alerts = self._recall + self._odds * self._alarms

    @property
    def auprc(self) -> float:
        """Average precision: the mean precision at a fraud's score."""
        return float(trapezoid(self._precision * self.frauds, self.grid))

    @property
    def _precision(self) -> Curve:
        precision: Curve = self._recall / self._alerts
        return precision

    def influence(self) -> tuple[Curve, Curve]:
        """What one more fraud, and one more other, at each score does to AUPRC; up to constants."""
        by_recall = self._odds * self._alarms / self._alerts**2
        by_alarms = -self._odds * self._recall / self._alerts**2
        # A transaction counts in recall, or in false alarms, at all thresholds up to its own score.
        of_frauds = self._precision + self._up_to(by_recall)
        return of_frauds, self._up_to(by_alarms)

    def variance(self, influence: Curve, density: Curve) -> float:
        """Variance of an influence over scores of one class."""
        mean = trapezoid(influence * density, self.grid)
        return float(trapezoid((influence - mean) ** 2 * density, self.grid))

    def _up_to(self, change: Curve) -> Curve:
        summed: Curve = cumulative_trapezoid(change * self.frauds, self.grid, initial=0)
        return summed


def _difference_spread(prevalence: float, hope: Hope) -> float:
    alone, federated = (auprc_spread(level, prevalence) for level in (hope.alone, hope.alone + hope.gain))
    return math.sqrt(alone**2 + federated**2 - 2 * hope.correlation * alone * federated)


def _power(spread: float, frauds: float, hope: Hope) -> float:
    if frauds <= 0:
        return 0.0
    reach = (hope.gain - hope.asked) * math.sqrt(frauds) / spread
    return float(norm.cdf(reach - norm.ppf((1 + hope.level) / 2)))


def _needed(spread: float, hope: Hope) -> int | None:
    margin = hope.gain - hope.asked
    if margin <= 0:
        return None
    quantiles = float(norm.ppf((1 + hope.level) / 2) + norm.ppf(hope.wanted))
    return math.ceil((spread * quantiles / margin) ** 2)


def _check(window: Window, hope: Hope) -> None:
    if window.frauds < 1 or window.others < 1:
        raise DataError(
            f"the test window holds {window.frauds:g} frauds and {window.others:g} other transactions; "
            "no gain can be seen without one of each"
        )
    if window.design_effect < 1 or window.noise < 0:
        raise DataError(
            f"design effect {window.design_effect:g}, noise {window.noise:g}; expected at least 1, and at least 0"
        )
    prevalence = window.frauds / (window.frauds + window.others)
    for name, level in (("alone", hope.alone), ("alone + gain", hope.alone + hope.gain)):
        if not prevalence < level < 1:
            raise DataError(
                f"{name} is an AUPRC of {level:g}; expected one between the share of fraud, {prevalence:.4g}, which "
                "scores by chance reach, and 1"
            )
    if not -1 < hope.correlation < 1 or not 0 < hope.level < 1 or not 0 < hope.wanted < 1:
        raise DataError("correlation must lie between -1 and 1; level and wanted power between 0 and 1")
