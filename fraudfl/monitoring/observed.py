"""What was counted of one window: the sum over banks at the coordinator, or a bank's own at that bank."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import CheckpointError, WireError
from fraudfl.features.sketch import EncoderSpec, Sketch
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.monitoring.baseline import Window
from fraudfl.monitoring.scores import Scored
from fraudfl.privacy.denoise import plausible_counts
from fraudfl.transfer.pack import pack_signed, unpack_signed

Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One window's counts. Noise may have left some below zero.

    Attributes:
        window: Its number.
        name: What people call it.
        model: Version of the model that scored it.
        threshold: Logit at or above which that model makes an alert.
        features: Counts over the plan's coarse bins.
        scores: Rows per score bin, frauds or not.
        outcome: Frauds per score bin, then others; None while labels are not known.
        counted_by: Which banks the counts of features and scores are of.
        judged_by: Which banks the outcome is of.
        noise: Variance of the noise in each count of features and scores.
        outcome_noise: The same of the outcome.
    """

    window: int
    name: str
    model: int
    threshold: float
    features: Counts
    scores: Counts
    outcome: Counts | None = None
    counted_by: tuple[str, ...] = ()
    judged_by: tuple[str, ...] = ()
    noise: float = 0.0
    outcome_noise: float = 0.0

    def judged(self, outcome: Counts, banks: Iterable[str], noise: float) -> Observed:
        """The same with its outcome."""
        return replace(self, outcome=outcome, judged_by=tuple(sorted(banks)), outcome_noise=noise)

    def counts(self, spec: EncoderSpec, bins: ScoreBins, *, with_scores: bool = True) -> Window:
        """What drift is read from."""
        return Window(
            name=self.name,
            sketch=Sketch.from_vector(spec, self.features),
            scores=self.scores if with_scores else None,
            score_bins=bins,
            noise_variance=self.noise,
            score_noise_variance=self.noise,
        )

    def scored(self, bins: ScoreBins) -> Scored | None:
        """What performance is read from; None while labels are not known."""
        if self.outcome is None:
            return None
        counts = self.outcome
        if self.outcome_noise:
            # Frauds and others are a histogram each.
            counts = np.concatenate([plausible_counts(half) for half in np.split(counts, 2)])
        return Scored(ScoreHistogram.from_vector(counts, bins), self.outcome_noise)

    def to_facts(self) -> dict[str, Any]:
        """All of it as JSON, counts packed."""
        packed = {name: _packed(getattr(self, name)) for name in ("features", "scores", "outcome")}
        banks = {name: list(getattr(self, name)) for name in ("counted_by", "judged_by")}
        return {**vars(self), **banks, **packed}

    @classmethod
    def from_facts(cls, facts: dict[str, Any], spec_size: int, bins: ScoreBins) -> Self:
        """Read back what `to_facts` gave; raises CheckpointError when it does not fit the plan."""
        sizes = {"features": spec_size, "scores": bins.size, "outcome": 2 * bins.size}
        try:
            counts = {name: _unpacked(facts[name], size) for name, size in sizes.items()}
            banks = {name: tuple(facts[name]) for name in ("counted_by", "judged_by")}
            return cls(**(facts | counts | banks))
        except (KeyError, TypeError, ValueError, WireError) as error:
            raise CheckpointError(f"a window's counts cannot be read ({error}); start the phase anew") from error


def _packed(counts: Counts | None) -> str | None:
    return None if counts is None else base64.b64encode(pack_signed(counts)).decode("ascii")


def _unpacked(text: str | None, size: int) -> Counts | None:
    return None if text is None else unpack_signed(base64.b64decode(text), size)
