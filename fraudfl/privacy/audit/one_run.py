"""One-run audit: many canaries, each in or out by a fair coin, in a single training; guesses bound ε from below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom

from fraudfl.errors import PrivacyError
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.audit.bounds import FloatArray
from fraudfl.privacy.audit.in_out import CONFIDENCE, BoolArray
from fraudfl.privacy.audit.result import AuditResult
from fraudfl.privacy.mechanisms import Mechanism

# Parts of the canaries that are guessed, fixed beforehand: few sure guesses, or many. Each gets its share of the error.
_GUESSED = (1 / 32, 1 / 8, 1 / 2)
_MOST_EPSILON = 50.0


@dataclass(frozen=True)
class Guesses:
    """What an observer guessed.

    Attributes:
        canaries: Each was in or out by a fair coin of its own.
        made: Canaries that were guessed about; of the others the observer said nothing.
        right: Guesses that were right.
    """

    canaries: int
    made: int
    right: int

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        if not 0 <= self.right <= self.made <= self.canaries:
            raise PrivacyError(
                f"{self.right} of {self.made} guesses about {self.canaries} canaries are right; expected rising counts"
            )


def p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Bound the probability that guesses about an (ε, δ) mechanism are right so often or more.

    Source: Steinke, Nasr and Jagielski 2023, theorem 5.2: right guesses are no more than Binomial(made, e^ε/(1+e^ε)),
    but for a part that δ pays for.
    """
    accuracy = float(expit(epsilon))
    beyond = float(binom.sf(guesses.right - 1, guesses.made, accuracy))
    if delta == 0 or guesses.right == 0:
        return min(1.0, beyond)
    fewer = np.arange(guesses.right - 1, -1, -1)
    near = np.cumsum(binom.pmf(fewer, guesses.made, accuracy)) / np.arange(1, guesses.right + 1)
    return min(1.0, beyond + 2 * guesses.canaries * delta * float(near.max()))


def guessed_epsilon(guesses: Guesses, delta: float, confidence: float) -> float:
    """Return the largest ε that the guesses contradict at `confidence`, or 0."""
    error = 1 - confidence

    def excess(value: float) -> float:
        return p_value(guesses, value, delta) - error

    if excess(0.0) >= 0:
        return 0.0
    if excess(_MOST_EPSILON) < 0:
        return _MOST_EPSILON
    return float(brentq(excess, 0.0, _MOST_EPSILON, xtol=1e-6))


def guess(scores: FloatArray, included: BoolArray, made: int) -> Guesses:
    """Guess "in" for the highest scores and "out" for the lowest, half of `made` each; count what is right."""
    order = np.argsort(scores, kind="stable")
    half = made // 2
    right = int((~included[order[:half]]).sum()) + int(included[order[len(order) - half :]].sum())
    return Guesses(len(scores), 2 * half, right)


def audit_one_run(name: str, scores: FloatArray, included: BoolArray, claimed: Mechanism, delta: float) -> AuditResult:
    """Bound ε from below by what one training told about its canaries.

    It looks at the whole training as it ran, and is much weaker than repeated trials of one mechanism: see
    `fraudfl.privacy.audit.in_out`.

    Args:
        scores: The observer's evidence for "in", shape (canaries,).
        included: The coins, shape (canaries,): fair, and independent of everything else.
        claimed: All that the training released, against the observer who looks.
        delta: δ of the claim.
    """
    if scores.shape != included.shape or scores.ndim != 1 or not scores.size:
        raise PrivacyError(f"scores have shape {scores.shape}, coins {included.shape}; expected one of each per canary")
    confidence = 1 - (1 - CONFIDENCE) / len(_GUESSED)
    tried = [guess(scores, included, int(part * scores.size)) for part in _GUESSED]
    bounds = [guessed_epsilon(guesses, delta, confidence) for guesses in tried]
    best = tried[int(np.argmax(bounds))]
    claim = epsilon([claimed], delta)
    return AuditResult(
        name=name,
        mechanism=claimed.kind,
        claimed=claim,
        lower_bound=max(bounds),
        confidence=CONFIDENCE,
        trials=scores.size,
        verdict="violated" if max(bounds) > claim else "sound",
        detail=(
            f"{best.right} of {best.made} guesses right, of {scores.size} canaries in one training of {claimed.times} "
            "releases"
        ),
    )
