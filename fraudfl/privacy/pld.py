"""Privacy loss distributions by Google's dp-accounting: ε of an event, and the least noise that meets a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce

import dp_accounting
from dp_accounting import pld
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution, from_gaussian_mechanism, identity

from fraudfl.errors import PrivacyError

# Width of the bins of the privacy loss; rounding is pessimistic, so wider bins can only overstate ε.
FINE = 1e-4
_RELATIVE_TOLERANCE = 1e-4
_LEAST_NOISE, _MOST_NOISE = 0.05, 1e6


def event_epsilon(event: dp_accounting.DpEvent, delta: float, *, interval: float = FINE) -> float:
    """Return ε at `delta` for adding or removing one unit; pessimistic.

    Raises:
        PrivacyError: if delta is not in (0, 1).
    """
    _require_delta(delta)
    accountant = pld.PLDAccountant(value_discretization_interval=interval)
    return float(accountant.compose(event).get_epsilon(delta))


def steps_epsilon(steps: Sequence[tuple[tuple[float, float], int]], delta: float) -> float:
    """Return ε at `delta` of Gaussian steps; what `event_epsilon` returns for their composition, to the last bit.

    Most of its time goes into the distribution of a single step. That is kept: another number of the same steps costs a
    fraction of the first.

    Args:
        steps: At least one of (sampling rate, noise multiplier), with how often; both positive.

    Raises:
        PrivacyError: if delta is not in (0, 1).
    """
    _require_delta(delta)
    parts = [_composed(rate, noise, times) for (rate, noise), times in steps]
    nothing = identity(value_discretization_interval=FINE)
    return float(reduce(PrivacyLossDistribution.compose, parts, nothing).get_epsilon_for_delta(delta))


def _composed(rate: float, noise: float, times: int) -> PrivacyLossDistribution:
    if rate == 1:
        return _single(1.0, noise / math.sqrt(times))
    return _single(rate, noise).self_compose(times)


@lru_cache(maxsize=64)
def _single(rate: float, noise: float) -> PrivacyLossDistribution:
    """One step at `FINE` bins."""
    return from_gaussian_mechanism(noise, value_discretization_interval=FINE, sampling_prob=rate)


def _require_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise PrivacyError(f"delta is {delta}; expected a number between 0 and 1. Set `privacy.delta`")


def least_noise(event_with: Callable[[float], dp_accounting.DpEvent], epsilon: float, delta: float) -> float:
    """Find the smallest noise multiplier (to one part in 10⁴) whose event keeps ε at `delta` within `epsilon`.

    A search on wide bins first gives a bracket; being pessimistic it is an upper end, and narrow bins refine it.

    Raises:
        PrivacyError: if epsilon is not positive, or cannot be met.
    """
    if not epsilon > 0:
        raise PrivacyError(f"epsilon is {epsilon}; expected a positive number. Set `privacy.epsilon`")
    # Narrow bins are slow where noise is small and ε large; bins in proportion to ε are as precise there.
    interval = max(FINE, epsilon / 8_000)
    upper = _coarse_noise(event_with, epsilon, delta, 10 * interval)
    lower = 0.98 * upper
    while event_epsilon(event_with(lower), delta, interval=interval) <= epsilon:
        upper, lower = lower, 0.9 * lower
        if lower < _LEAST_NOISE:
            return upper
    return _search(event_with, (lower, upper), epsilon, delta, interval)


def _coarse_noise(
    event_with: Callable[[float], dp_accounting.DpEvent], epsilon: float, delta: float, interval: float
) -> float:
    upper = 1.0
    while event_epsilon(event_with(upper), delta, interval=interval) > epsilon:
        upper *= 2
        if upper > _MOST_NOISE:
            raise PrivacyError(
                f"epsilon {epsilon:g} at delta {delta:g} cannot be met by a noise multiplier up to {_MOST_NOISE:g}; "
                "raise `privacy.epsilon`, or plan fewer steps or a lower sampling rate"
            )
    lower = upper / 2
    while event_epsilon(event_with(lower), delta, interval=interval) <= epsilon:
        upper, lower = lower, lower / 2
        if lower < _LEAST_NOISE:
            return upper
    return _search(event_with, (lower, upper), epsilon, delta, interval)


def _search(
    event_with: Callable[[float], dp_accounting.DpEvent],
    bracket: tuple[float, float],
    epsilon: float,
    delta: float,
    interval: float,
) -> float:
    return float(
        dp_accounting.calibrate_dp_mechanism(
            partial(pld.PLDAccountant, value_discretization_interval=interval),
            event_with,
            epsilon,
            delta,
            dp_accounting.ExplicitBracketInterval(*bracket),
            tol=_RELATIVE_TOLERANCE * bracket[1] / 2,
        )
    )
