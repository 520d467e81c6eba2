"""What monitoring asks of the consortium around it: which model is in use, a challenger, a promotion, the way back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

from fraudfl.models.bundle import Bundle
from fraudfl.monitoring.observed import Observed


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
    """

    phase: str
    version: int | None
    promoted: bool
    reason: str


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
