"""Repeated in/out audit: many releases with a canary and without, and how well an observer tells them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from fraudfl.errors import PrivacyError
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.audit.bounds import ErrorRates, FloatArray, mechanism_epsilon, plain_epsilon, upper_rate
from fraudfl.privacy.audit.result import AuditResult
from fraudfl.privacy.mechanisms import Mechanism

BoolArray = npt.NDArray[np.bool_]

CONFIDENCE = 0.999
# Part of the trials on which the observer chooses view and threshold; the rest alone counts.
_CHOOSING = 0.25


class Canaries(Protocol):
    """Something that releases as banks do, on data that holds some of `count` canaries.

    Each canary is one unit whose contribution has norm C exactly, in a direction of its own, orthogonal to all others.
    """

    @property
    def count(self) -> int:
        """Canaries that one release can hold."""

    def observe(self, present: BoolArray) -> FloatArray:
        """Make one release with fresh randomness, and look along each canary's direction.

        Args:
            present: Which canaries are in the data, shape (count,).

        Returns:
            Shape (views, count), in units of C: 1 more where a canary is in (and was drawn). Each view is one way for
            the observer to look at the same release, after taking off what he knows.
        """


@dataclass(frozen=True)
class Trials:
    """What was seen, one column a trial, in random order.

    Attributes:
        present: Whether the canary was in, shape (trials,).
        scores: The observer's evidence for "in", shape (views, trials).
    """

    present: BoolArray
    scores: FloatArray

    def part(self, where: slice) -> Trials:
        """Some of the trials."""
        return Trials(self.present[where], self.scores[:, where])


def audit_in_out(
    name: str,
    canaries: Canaries,
    claimed: Mechanism,
    delta: float,
    *,
    trials: int = 3_000,
    seed: int = 0,
) -> AuditResult:
    """Tell canaries in from canaries out, as well as a white-box observer can, and bound ε from below.

    The observer knows everything but noise, draws and whether the canary is in: he sees all `claimed.times` releases
    and scores them by the likelihood ratio that the claimed mechanism would have. View and threshold are chosen on a
    quarter of the trials; error rates are counted on the rest, so that nothing is chosen by what it is tested on.

    Args:
        canaries: The releases; real ones, or broken ones.
        claimed: What they claim to be, all releases together, against the observer who looks.
        delta: δ of the claim.
        trials: With the canary, and as many without it.
        seed: Of the order of trials only; releases draw their own randomness.

    Returns:
        Its lower bound is above the claim exactly when the claimed mechanism errs so seldom with a probability of at
        most 1 - `CONFIDENCE`.

    Source: Nasr et al. 2023.
    """
    seen = run_trials(canaries, claimed, trials, seed)
    border = int(_CHOOSING * seen.present.size)
    view, threshold = choose_test(seen.part(slice(border)))
    rates = count_errors(seen.part(slice(border, None)), view, threshold)
    claim = epsilon([claimed], delta)
    bound = mechanism_epsilon(claimed, rates, delta)
    return AuditResult(
        name=name,
        mechanism=claimed.kind,
        claimed=claim,
        lower_bound=bound,
        confidence=CONFIDENCE,
        trials=seen.present.size,
        verdict="violated" if bound > claim else "sound",
        detail=(
            f"{seen.present.size} trials, half of them with the canary, {claimed.times} releases each; false alarms at "
            f"most {rates.false_alarms:.4f}, misses at most {rates.misses:.4f}; without any assumption on the form of "
            f"the mechanism ε is at least {plain_epsilon(rates, delta):.3f}"
        ),
    )


def run_trials(canaries: Canaries, claimed: Mechanism, trials: int, seed: int) -> Trials:
    """Make releases until there are `trials` trials with a canary and as many without it, or a few more.

    The canaries of one release are trials side by side: their directions are orthogonal, so that under the claim,
    with noise drawn for each entry and draws for each unit, their scores are independent.
    """
    if trials < 1:
        raise PrivacyError(f"trials is {trials}; expected at least 1")
    groups = -(-2 * trials // canaries.count)
    total = groups * canaries.count
    present = np.random.default_rng(seed).permutation(np.arange(total) < total // 2)
    scores = [_evidence(canaries, claimed, group) for group in np.split(present, groups)]
    return Trials(present, np.concatenate(scores, axis=1))


def choose_test(seen: Trials) -> tuple[int, float]:
    """Choose the view and the threshold that show the most on trials set aside for choosing.

    They are judged by bounds of their error rates, not by the rates: a threshold far out in a tail looks best by
    chance where few trials speak for it.
    """
    best = (-np.inf, 0, 0.0)
    for view, scores in enumerate(seen.scores):
        thresholds, gaps = _separation(scores, seen.present)
        place = int(gaps.argmax())
        best = max(best, (float(gaps[place]), view, float(thresholds[place])))
    return best[1], best[2]


def count_errors(seen: Trials, view: int, threshold: float) -> ErrorRates:
    """Say "in" above the threshold, and bound both error rates."""
    said_in = seen.scores[view] > threshold
    ins, outs = int(seen.present.sum()), int((~seen.present).sum())
    alarms, missed = int((said_in & ~seen.present).sum()), int((~said_in & seen.present).sum())
    return ErrorRates.counted(alarms, outs, missed, ins, CONFIDENCE)


def evidence(seen: FloatArray, claimed: Mechanism) -> FloatArray:
    """Return the log-likelihood ratio of "in" to "out" of one release under the claimed mechanism; same shape.

    Args:
        seen: In units of C, any shape: noise of the claimed multiplier around 0, or around 1 where a canary was drawn.
    """
    shift = (seen - 0.5) / claimed.noise_multiplier**2
    if claimed.sampling_rate == 1:
        return np.asarray(shift, dtype=np.float64)
    rate = claimed.sampling_rate
    return np.asarray(np.logaddexp(np.log1p(-rate), np.log(rate) + shift), dtype=np.float64)


def _evidence(canaries: Canaries, claimed: Mechanism, present: BoolArray) -> FloatArray:
    total = evidence(canaries.observe(present), claimed)
    for _ in range(claimed.times - 1):
        total += evidence(canaries.observe(present), claimed)
    return total


def _separation(scores: FloatArray, present: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return thresholds between neighbouring scores, and how far apart each shows the two cases to be."""
    order = np.sort(scores)
    thresholds = (order[1:] + order[:-1]) / 2
    ins, outs = np.sort(scores[present]), np.sort(scores[~present])
    each = (1 + CONFIDENCE) / 2
    alarms = upper_rate(outs.size - np.searchsorted(outs, thresholds, side="right"), outs.size, each)
    misses = upper_rate(np.searchsorted(ins, thresholds, side="right"), ins.size, each)
    return thresholds, np.asarray(norm.isf(alarms) - norm.ppf(misses), dtype=np.float64)
