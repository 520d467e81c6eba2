"""From error rates of an observer to a lower bound of ε: Clopper-Pearson, and the mechanism's own trade-off curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.optimize import brentq
from scipy.special import log_ndtr
from scipy.stats import beta as beta_distribution
from scipy.stats import norm

from fraudfl.errors import PrivacyError
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.mechanisms import Mechanism

FloatArray = npt.NDArray[np.float64]

# Search for the noise that the observations still allow: to two parts in a thousand, and no further from the claimed
# noise than this factor, where ε is as good as nothing or far beyond any claim.
_TOLERANCE = 2e-3
_FURTHEST = 4.0
_CURVE_POINTS = 100
# Wider bins than the ledger's: rounding allows the observer more, so it can only make a bound smaller.
_INTERVAL = 5e-3


@dataclass(frozen=True)
class ErrorRates:
    """How often an observer errs at most, both at once with some confidence.

    Attributes:
        false_alarms: Upper bound of the probability of saying "in" although the canary was out.
        misses: Upper bound of the probability of saying "out" although it was in.
    """

    false_alarms: float
    misses: float

    @classmethod
    def counted(cls, alarms: int, outs: int, missed: int, ins: int, confidence: float) -> ErrorRates:
        """Bound both rates from counts; each bound gets half of what `confidence` leaves."""
        each = (1 + confidence) / 2
        return cls(float(upper_rate(alarms, outs, each)), float(upper_rate(missed, ins, each)))


def upper_rate(counts: npt.ArrayLike, trials: int, confidence: float) -> FloatArray:
    """Bound a probability from above by how often something happened in independent trials.

    Args:
        counts: How often, each in [0, trials]; any shape. Fractions are allowed for planning.
        trials: Number of trials, >= 1.
        confidence: Of each bound by itself, in (0, 1).

    Returns:
        One-sided bounds, same shape.

    Source: Clopper and Pearson 1934.
    """
    if trials < 1 or not 0 < confidence < 1:
        raise PrivacyError(
            f"{trials} trials at confidence {confidence}; expected at least one, and a number between 0 and 1"
        )
    counted = np.asarray(counts, dtype=np.float64)
    bounds = beta_distribution.ppf(confidence, counted + 1, np.maximum(trials - counted, 1e-12))
    return np.asarray(np.where(counted >= trials, 1.0, bounds), dtype=np.float64)


def lower_rate(counts: npt.ArrayLike, trials: int, confidence: float) -> FloatArray:
    """Bound a probability from below; see `upper_rate`."""
    return np.asarray(1 - upper_rate(trials - np.asarray(counts), trials, confidence), dtype=np.float64)


def plain_epsilon(rates: ErrorRates, delta: float) -> float:
    """Bound ε of any (ε, δ) mechanism from below by an observer's error rates; nothing is assumed about its form.

    Source: Kairouz et al. 2015; Nasr et al. 2021.
    """
    bounds = [
        math.log(max(1 - delta - other, 1e-300) / one)
        for one, other in ((rates.false_alarms, rates.misses), (rates.misses, rates.false_alarms))
    ]
    return max(0.0, *bounds)


def mechanism_epsilon(mechanism: Mechanism, rates: ErrorRates, delta: float) -> float:
    """Bound ε from below within the mechanism's family: same sampling and number of releases, unknown noise.

    The bound is ε of the largest noise multiplier whose trade-off curve allows the observed error rates. It is above
    the claimed ε exactly when the rates contradict the claimed mechanism's own curve, so the verdict assumes no more
    than the claim itself says; only how far above rests on the family.

    Returns:
        0 when the observer does no better than guessing.

    Source: Nasr et al. 2023, section 4, for Gaussian curves; Mahloujifar et al. 2024 for any trade-off curve. Curves
    of sampled mechanisms come from privacy loss distributions, rounded so that they allow the observer more.
    """
    if rates.false_alarms + rates.misses >= 1:
        return 0.0
    if mechanism.sampling_rate == 1:
        return gaussian_epsilon(gaussian_mu(rates), delta)
    noise = _largest_noise(mechanism, rates)
    found = _curve(mechanism, noise).get_epsilon_for_delta(delta)
    claimed = epsilon([mechanism], delta)
    # The claim was computed on narrower bins, so settle by the noise which side of it this is.
    return float(max(found, claimed) if noise < mechanism.noise_multiplier else min(found, claimed))


def gaussian_mu(rates: ErrorRates) -> float:
    """Bound μ of a μ-Gaussian-private mechanism from below: its misses are at least Φ(Φ⁻¹(1 - α) - μ).

    Source: Dong, Roth and Su 2022; Nasr et al. 2023.
    """
    return max(0.0, float(norm.isf(rates.false_alarms) - norm.ppf(rates.misses)))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return ε at `delta` of a μ-Gaussian-private mechanism, exactly.

    Source: Balle and Wang 2018, theorem 8; Dong, Roth and Su 2022, corollary 1.
    """
    if mu <= 0 or _gaussian_delta(0.0, mu) <= delta:
        return 0.0
    upper = 1.0
    while _gaussian_delta(upper, mu) > delta:
        upper *= 2
    return float(brentq(lambda value: _gaussian_delta(value, mu) - delta, 0.0, upper, xtol=1e-9))


def _gaussian_delta(value: float, mu: float) -> float:
    return float(np.exp(log_ndtr(mu / 2 - value / mu)) - np.exp(value + log_ndtr(-mu / 2 - value / mu)))


def _curve(mechanism: Mechanism, noise_multiplier: float) -> pld.PrivacyLossDistribution:
    once = pld.from_gaussian_mechanism(
        noise_multiplier, value_discretization_interval=_INTERVAL, sampling_prob=mechanism.sampling_rate
    )
    return once.self_compose(mechanism.times)


def _refuted(mechanism: Mechanism, noise_multiplier: float, rates: ErrorRates) -> bool:
    """Say whether no observer can err so seldom under this noise: α·e^ε + β + δ(ε) >= 1 must hold for all ε."""
    # Beyond this ε the first term alone is at least 1.
    furthest = -math.log(min(rates.false_alarms, rates.misses))
    levels = np.linspace(0.0, furthest, _CURVE_POINTS)
    deltas = np.asarray(_curve(mechanism, noise_multiplier).get_delta_for_epsilon(levels))
    one = np.exp(levels) * rates.false_alarms + rates.misses + deltas
    other = np.exp(levels) * rates.misses + rates.false_alarms + deltas
    return bool((np.minimum(one, other) < 1).any())


def _largest_noise(mechanism: Mechanism, rates: ErrorRates) -> float:
    """Find the largest noise multiplier that is not refuted; more noise is refuted more easily."""
    claimed = mechanism.noise_multiplier
    lower = upper = claimed
    while _refuted(mechanism, lower, rates):
        if lower <= claimed / _FURTHEST:
            return lower
        upper, lower = lower, lower / 2
    while not _refuted(mechanism, upper, rates):
        if upper >= claimed * _FURTHEST:
            return upper
        lower, upper = upper, upper * 2
    while upper / lower > 1 + _TOLERANCE:
        middle = math.sqrt(lower * upper)
        lower, upper = (lower, middle) if _refuted(mechanism, middle, rates) else (middle, upper)
    return lower
