"""Looks at a model in training: what each says, how sure that is, and when enough was seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fraudfl.config_training import EarlyStopConfig
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.privacy.denoise import plausible_counts

ERROR = 0.05
"""Chance that any interval of a phase's looks misses; so rarely noise alone ends training."""
_REPLICATES = 48
_SEED = 20_260_101


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at the validation rows of all banks said of one round's model.

    Attributes:
        auprc: None where no fraud is among the rows.
        noise: Standard deviation that the noise in the histograms gives it; 0 where there is none.
        sampling: Standard deviation that the choice of rows gives it. It does not count between looks at the same
            banks, whose rows are the same.
        banks: Which banks were looked at, as a digest.
    """

    round: int
    auprc: float | None
    noise: float
    sampling: float
    banks: str

    @classmethod
    def at(cls, round_: int, counts: NDArray[Any], bins: ScoreBins, deviation: float, banks: str) -> Self:
        """Read a look off summed score histograms.

        Args:
            counts: Frauds, then others, shape (2 * bins.size,); below zero only where they carry noise.
            deviation: Standard deviation of the noise in each count.
            banks: As in the attributes.
        """
        rng = np.random.default_rng(_SEED)
        found = _plausible(counts, bins, deviation)
        again = [
            found.to_vector() + rng.normal(0.0, deviation, counts.size) for _ in range(_REPLICATES * (deviation > 0))
        ]
        drawn = [rng.poisson(found.to_vector()) for _ in range(_REPLICATES)]
        return cls(
            round=round_,
            auprc=found.auprc(),
            noise=_spread(_plausible(one, bins, deviation) for one in again),
            sampling=_spread(_plausible(one, bins, 0.0) for one in drawn),
            banks=banks,
        )

    def error_beside(self, other: Look) -> float:
        """Standard deviation of this look's figure, as far as it is not the other's, too."""
        return self.noise if self.banks == other.banks else float(np.hypot(self.noise, self.sampling))


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a phase's training goes, as its looks show it.

    Attributes:
        planned: How many looks the phase plans.
        looks: So far, by rising round.
        kept: Round of the model to keep: the newest within one standard error of the best; without noise, the best.
        reference: Round of the last gain, against which later looks are held.
        fruitless: Rounds of looks since then that surely gained nothing.
    """

    planned: int
    looks: tuple[Look, ...] = ()
    kept: int | None = None
    reference: int | None = None
    fruitless: tuple[int, ...] = ()

    def after(self, look: Look, rule: EarlyStopConfig) -> Course:
        """The course with one look more.

        Each look has an interval, so wide that all of a phase's intervals hold together with probability 1 - `ERROR`.
        A look counts as fruitless when the upper end of its interval is not above the lower end of the reference's
        plus the least gain. So, but for that probability, what stops training is not noise: none of the fruitless
        models gained more than that over the reference's. A look that cannot tell counts for nothing.

        Source: simultaneous intervals by Bonferroni's inequality; patience as in Prechelt 1998, "Early Stopping - But
        When?"; one standard error as in Breiman et al. 1984, section 3.4.3, with the newest for the simplest.
        """
        longer = replace(self, looks=(*self.looks, look))
        earlier = [one for one in self.looks if one.auprc is not None]
        if look.auprc is None:
            return longer
        if not earlier:
            return replace(longer, kept=look.round, reference=look.round)
        highest = max(earlier, key=_figure)
        if _figure(look) + float(np.hypot(look.error_beside(highest), highest.error_beside(look))) >= _figure(highest):
            longer = replace(longer, kept=look.round)
        (reference,) = (one for one in earlier if one.round == self.reference)
        gain = _figure(look) - _figure(reference)
        if gain > 0 and gain >= rule.least_gain:
            return replace(longer, reference=look.round, fruitless=())
        if self._end(look, reference, 1) <= self._end(reference, look, -1) + rule.least_gain:
            return replace(longer, fruitless=(*self.fruitless, look.round))
        return longer

    def figure(self, round_: int) -> float | None:
        """AUPRC at the look after a round; None where there was none."""
        return next((look.auprc for look in self.looks if look.round == round_), None)

    def to_facts(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Course:
        """Read what `to_facts` gave."""
        looks = tuple(Look(**look) for look in facts["looks"])
        return cls(**{**facts, "looks": looks, "fruitless": tuple(facts["fruitless"])})

    def _end(self, look: Look, other: Look, sign: int) -> float:
        """The upper (1) or lower (-1) end of a look's interval, where it is held against another."""
        reach = NormalDist().inv_cdf(1 - ERROR / (2 * max(self.planned, len(self.looks) + 1)))
        return _figure(look) + sign * reach * look.error_beside(other)


def _figure(look: Look) -> float:
    assert look.auprc is not None  # those without are left out
    return look.auprc


def _plausible(counts: NDArray[Any], bins: ScoreBins, deviation: float) -> ScoreHistogram:
    if deviation > 0:
        # Frauds and others are a histogram each.
        counts = np.concatenate([plausible_counts(half) for half in np.split(counts, 2)])
    return ScoreHistogram.from_vector(counts.astype(np.int64), bins)


def _spread(drawn: Iterable[ScoreHistogram]) -> float:
    figures = [figure for one in drawn if (figure := one.auprc()) is not None]
    return float(np.std(figures, ddof=1)) if len(figures) > 1 else 0.0
