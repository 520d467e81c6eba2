"""What monitoring asks of the consortium around it: which model is in use, a challenger, a promotion, the way back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.models.bundle import Bundle
from fraudfl.monitoring.observed import Observed
from fraudfl.monitoring.scores import Scored


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A registered model.

    Attributes:
        version: The registry's number.
        bundle: The model itself.
    """

    version: int
    bundle: Bundle


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """A challenger that is to be trained.

    Attributes:
        number: Counted from 1 within the monitoring phase.
        first, last: Days of the window that it is compared on; its training ends before, and so early that labels were
            known.
        banks: Who takes part.
        champion: The counts of that window under the model in use.
        inflation: How much more that model's figure varies between quiet windows than within them; at least 1.
    """

    number: int
    first: date
    last: date
    banks: tuple[str, ...]
    champion: Observed
    inflation: float


@dataclass(frozen=True, kw_only=True)
class Contested:
    """How a challenge ended.

    Attributes:
        phase: The phase that trained the challenger.
        version: The registry's number; None where nothing was registered.
        promoted: Whether it is champion now.
        reason: Why, in plain words.
        counts: How the challenger scored the window: frauds per score bin, then others; empty where it is not known.
        noise: Variance of the noise that was in each count.
    """

    phase: str
    version: int | None
    promoted: bool
    reason: str
    counts: tuple[int, ...] = ()
    noise: float = 0.0

    def scored(self, bins: ScoreBins) -> Scored | None:
        """The standard that the challenger has set for itself; None where it is not known."""
        if len(self.counts) != 2 * bins.size:
            return None
        return Scored(ScoreHistogram.from_vector(np.asarray(self.counts, dtype=np.int64), bins), self.noise)


class Life(Protocol):
    """The consortium's models, and the phases that make them."""

    def serving(self, model: str) -> Serving:
        """The model to watch: `champion`, a phase's name, or a version's number.

        Raises:
            BundleError: when there is none.
        """
        ...

    def challenge(self, challenge: Challenge) -> Contested:
        """Train a challenger as a phase of its own, and let it meet the champion.

        One that was begun before, by a run that was stopped, is gone on with; one that was decided stays so.

        Raises:
            FraudflError: when the phase could not come to its end.
        """
        ...

    def rollback(self, reason: str) -> Serving:
        """Make the model champion again that was so before.

        Raises:
            BundleError: when there was none.
        """
        ...


class Clock(Protocol):
    """What day it is, and waiting for another."""

    def today(self) -> date:
        """The day that it is."""
        ...

    def wait_until(self, day: date) -> None:
        """Return when `day` has begun."""
        ...
