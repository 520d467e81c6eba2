"""How far a window's distribution is from the reference's (PSI), and whether chance explains it (a test).

The test is the two-sample chi-square on grouped counts, written as a Wald test so that it stays valid where counts
carry Gaussian noise of known variance and where rows are not independent (an account's rows resemble each other):
the difference d of the two samples' shares has covariance

    inflation (1/R + 1/C) (diag(p) - p pᵀ)  +  (v_R/R² + v_C/C²) A diag(m) Aᵀ,     A = I - p 1ᵀ,

with R and C rows, pooled shares p, noise variance v of one bin, and m bins in each group: noise in a group's count also
moves the total that shares are taken of. Without noise, and with inflation 1, it is Pearson's statistic exactly.

An inflation that was estimated from quiet windows (`control.py`) is uncertain itself, so the statistic is then compared
with an F distribution whose denominator has the estimate's degrees of freedom.

Sources: population stability index, Siddiqi 2006; clustered rows, Rao and Scott 1984.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy import special

from fraudfl.monitoring.coarse import Counts, Floats, Groups

_SMOOTHING = 0.5  # rows; an empty group makes no infinite PSI (Jeffreys' prior), and no covariance singular
_LEAST_PER_GROUP = 5  # rows; with fewer in the mean the statistic has no known distribution (Cochran's rule)


@dataclass(frozen=True)
class Inflation:
    """How much more counts differ from window to window than independent rows would.

    Attributes:
        factor: Variance against that of independent rows, at least 1.
        freedom: Directions in which windows vary, as if all varied alike; None where it is not known, and then every
            group counts.
        windows: Quiet windows it was estimated from; 0 where it is assumed.
    """

    factor: float = 1.0
    freedom: float | None = None
    windows: int = 0


INDEPENDENT = Inflation()


@dataclass(frozen=True)
class Sample:
    """One side of a comparison.

    Attributes:
        counts: Rows per group, float64 of shape (groups,); noise may have left some below zero.
        noise_variance: Variance of the Gaussian noise in one public bin's count; 0 where there is none.
    """

    counts: Floats
    noise_variance: float = 0.0

    @property
    def rows(self) -> float:
        """Rows in all, at least 1 so that it can be divided by."""
        return max(1.0, float(self.counts.sum()))


@dataclass(frozen=True)
class Drift:
    """What is known of one feature's, or of the score's, change.

    Attributes:
        name: The feature, or `score`.
        psi: Population stability index; by custom 0.1 is worth a look, 0.25 a large change.
        psi_by_chance: What it would be about without any change.
        statistic: The test's, divided by the inflation.
        freedom: Its degrees of freedom.
        p_value: Chance of such a statistic without a change.
        p_adjusted: The same, for having tested all features (Holm).
        inflation: Factor used.
        groups: Groups compared.
    """

    name: str
    psi: float
    psi_by_chance: float
    statistic: float
    freedom: float
    p_value: float
    p_adjusted: float
    inflation: float
    groups: int

    def to_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return asdict(self)


def population_stability(reference: Counts, current: Counts) -> float:
    """PSI of grouped counts, each with half a row added; counts below zero are taken for none."""
    shares = []
    for counts in (reference, current):
        filled = np.maximum(counts.astype(np.float64), 0.0) + _SMOOTHING
        shares.append(filled / filled.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def compare(name: str, groups: Groups, reference: Sample, current: Sample, inflation: Inflation) -> Drift:
    """Compare two samples over the same groups; `p_adjusted` is the plain p-value until `holm` adjusts it.

    With too few rows for a test the statistic is 0 and the p-value 1: nothing can be said.

    Args:
        name: What is compared.
        groups: The groups, for the noise that each holds.
        reference: The quiet reference.
        current: The window in question.
        inflation: Variance inflation of both.
    """
    covariance = share_covariance(groups, reference, current, inflation.factor)
    enough = min(reference.rows, current.rows) >= _LEAST_PER_GROUP * groups.count
    difference = current.counts / current.rows - reference.counts / reference.rows
    statistic = wald(difference, covariance) if enough else 0.0
    freedom = float(groups.count - 1)
    p_value = _p_value(statistic, freedom, inflation)
    pooled = _pooled(reference, current)
    chance = float((np.diag(covariance) / pooled).sum())
    psi = population_stability(reference.counts, current.counts)
    return Drift(name, psi, chance, statistic, freedom, p_value, p_value, inflation.factor, groups.count)


def share_covariance(groups: Groups, reference: Sample, current: Sample, inflation: float) -> Floats:
    """Covariance of the difference between two samples' shares where nothing changed, shape (groups, groups)."""
    pooled = _pooled(reference, current)
    rows = inflation * (1 / reference.rows + 1 / current.rows)
    noise = sum(sample.noise_variance / sample.rows**2 for sample in (reference, current))
    centring = np.eye(groups.count) - np.outer(pooled, np.ones(groups.count))
    drawn: Floats = rows * (np.diag(pooled) - np.outer(pooled, pooled))
    return drawn + noise * (centring * groups.sizes) @ centring.T


def wald(difference: Floats, covariance: Floats) -> float:
    """Squared length of a difference of shares in its own covariance; the last share follows from the others."""
    if difference.size < 2:
        return 0.0
    return float(difference[:-1] @ np.linalg.solve(covariance[:-1, :-1], difference[:-1]))


def holm(drifts: Sequence[Drift]) -> tuple[Drift, ...]:
    """Adjust p-values for their number, so that the chance of one false alarm among all is the level asked for.

    Source: Holm 1979.
    """
    order = sorted(range(len(drifts)), key=lambda index: drifts[index].p_value)
    adjusted = dict.fromkeys(order, 0.0)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(drifts) - rank) * drifts[index].p_value))
        adjusted[index] = worst
    return tuple(replace(drift, p_adjusted=adjusted[index]) for index, drift in enumerate(drifts))


def _pooled(reference: Sample, current: Sample) -> Floats:
    """Shares of both samples together, none below half a row's, so that covariances can be inverted."""
    filled = np.maximum(reference.counts + current.counts, _SMOOTHING)
    shares: Floats = filled / filled.sum()
    return shares


def _p_value(statistic: float, freedom: float, inflation: Inflation) -> float:
    """Chance of a statistic: chi-square, or F where the inflation was estimated from few windows.

    The statistic is that of `freedom` groups' worth; its shape is that of as many directions as windows vary in.
    """
    if freedom < 1 or statistic <= 0 or not math.isfinite(statistic):
        return 1.0
    if not inflation.windows:
        return float(special.chdtrc(freedom, statistic))
    shape = freedom if inflation.freedom is None else min(freedom, inflation.freedom)
    return float(special.fdtrc(shape, shape * (inflation.windows - 1), statistic / freedom))
