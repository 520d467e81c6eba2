"""Releases with canaries in them, made by the code that banks run: local steps, sums of several banks, counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count as counting

import numpy as np

from fraudfl.config import ModelConfig, TrainingConfig
from fraudfl.errors import PrivacyError
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.privacy.audit.bounds import FloatArray
from fraudfl.privacy.audit.circle import Circle
from fraudfl.privacy.audit.in_out import BoolArray
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum, Mechanism
from fraudfl.privacy.noise import NoiseSource
from fraudfl.privacy.noisy_counts import noisy_counts
from fraudfl.training.batches import LocalData
from fraudfl.training.dp import train_dp
from fraudfl.training.noisy_sum import noisy_sum

NoiseOf = Callable[[int, int], NoiseSource]
"""The noise source of a bank (0 is the one with the canaries) in a release: by their numbers."""

# Logistic regression with a column for each canary: a row with one large entry has a gradient along that weight, and
# along the bias a ten-thousandth of it.
_MODEL = ModelConfig(kind="logistic")
_TRAINING = TrainingConfig(optimizer="sgd", learning_rate=1.0, schedule="constant")
_LOUDNESS = 1e4


# Entries of the canaries' feature table, at most: 32 MB.
_MOST_ENTRIES = 2**23
_MOST_CANARIES = 500


def own_noise() -> NoiseOf:
    """A fresh source for each bank, kept over all its releases: what banks do."""
    sources: dict[int, NoiseSource] = {}
    return lambda bank, _release: sources.setdefault(bank, NoiseSource())


@dataclass(kw_only=True)
class _Releases:
    """What all share.

    Attributes:
        count: Canaries in one release.
        noise_of: Where each bank's noise comes from.
    """

    count: int = _MOST_CANARIES
    noise_of: NoiseOf = field(default_factory=own_noise)
    _numbers: counting[int] = field(default_factory=counting, init=False, repr=False)


@dataclass(kw_only=True)
class LocalSteps(_Releases):
    """Weights after one local step of DP-SGD (`train_dp`), sent in each round from weights of zero.

    The observer also sees what another bank, whose data he knows, sends in the same round, and may take it off.

    Attributes:
        claimed: What the plan says; its norm is the unit of what is seen.
        running: What is really run; the same, unless a test breaks it.
        account_rows: For unit `account`: contribution bound; each canary account has twice as many rows.
    """

    claimed: DpSgd
    running: DpSgd | None = None
    account_rows: int | None = None

    def observe(self, present: BoolArray) -> FloatArray:
        """Two views: as sent, and less what the other bank sent."""
        number = next(self._numbers)
        data = canary_rows(present, self.claimed, self.account_rows)
        seen = self._sent(data, self.noise_of(0, number))
        nobody = canary_rows(np.zeros_like(present), self.claimed, self.account_rows)
        other = self._sent(nobody, self.noise_of(1, number))
        return np.stack([seen, seen - other])

    def _sent(self, data: LocalData, noise: NoiseSource) -> FloatArray:
        mechanism = (self.running or self.claimed).with_steps(1)
        start = np.zeros(self.count + 1, dtype=np.float32)
        trained = train_dp(
            _MODEL,
            start,
            data,
            _TRAINING,
            mechanism,
            learning_rate=_TRAINING.learning_rate,
            noise=noise,
            account_rows=self.account_rows,
        )
        steps = -trained.vector[: self.count].astype(np.float64) / _TRAINING.learning_rate
        return steps * mechanism.expected_batch / self.claimed.clip_norm


@dataclass(kw_only=True)
class SummedSteps(_Releases):
    """The sum of several banks' noisy sums (`noisy_sum`), in fixed point and under masks, as the coordinator opens it.

    Attributes:
        claimed: What the plan says, against the coordinator; each of its parties is one bank here.
        circle: Encoding and masks of the banks; as many as there are parties.
        colluders: The observer knows what this many of the banks sent.
        bound: Entries of a bank's clipped sum are clamped to this.
        running, account_rows: As in `LocalSteps`.
    """

    claimed: DpSgd
    circle: Circle
    bound: float
    colluders: int = 0
    running: DpSgd | None = None
    account_rows: int | None = None

    def __post_init__(self) -> None:
        """Refuse a circle of more or fewer banks than share the noise."""
        _require_parties(self.claimed, self.circle)

    def observe(self, present: BoolArray) -> FloatArray:
        """The opened sum; with colluders less their part, and less what all sent if all had the colluders' noise."""
        number = next(self._numbers)
        nobody = canary_rows(np.zeros_like(present), self.claimed, self.account_rows)
        with_canaries = canary_rows(present, self.claimed, self.account_rows)
        sent = [self._sent(bank, with_canaries if bank == 0 else nobody, number) for bank in range(self.circle.parties)]
        views = _views(self.circle, sent, [self.noise_of(bank, number) for bank in range(len(sent))], self.colluders)
        return views[:, : self.count] / self.claimed.clip_norm

    def _sent(self, bank: int, data: LocalData, number: int) -> FloatArray:
        return noisy_sum(
            _MODEL,
            np.zeros(self.count + 1, dtype=np.float32),
            data,
            _TRAINING,
            self.running or self.claimed,
            account_rows=self.account_rows,
            bound=self.bound,
            noise=self.noise_of(bank, number),
        )


@dataclass(kw_only=True)
class NoisyCounts(_Releases):
    """Score histograms with noise, summed over banks in fixed point; each canary scores in a bin of its own.

    Attributes:
        claimed: What the plan says. Each canary counts as often as its sensitivity allows one bin: rounded down, so
            that a canary may be a little smaller than what is claimed, and never larger.
        circle: Encoding and masks of the banks; as many as there are parties.
        colluders: The observer knows what this many of the banks sent.
        running: What is really run.
        louder: How many times as often each canary really counts: 1, unless a test breaks it.
    """

    claimed: GaussianSum
    circle: Circle
    colluders: int = 0
    running: GaussianSum | None = None
    louder: int = 1

    def __post_init__(self) -> None:
        """Refuse a circle of more or fewer banks than share the noise."""
        _require_parties(self.claimed, self.circle)

    def observe(self, present: BoolArray) -> FloatArray:
        """The opened sum; with colluders as in `SummedSteps`."""
        number = next(self._numbers)
        bins = ScoreBins(low=0.0, high=float(self.count), count=self.count)
        middles = np.repeat(np.flatnonzero(present) + 0.5, int(self.claimed.sensitivity) * self.louder)
        counts = ScoreHistogram.from_logits(middles, np.ones(middles.size), bins).to_vector().astype(np.float64)
        sources = [self.noise_of(bank, number) for bank in range(self.circle.parties)]
        # The canaries are the first bank's; the others have nothing to count.
        own = [counts, *[np.zeros_like(counts)] * (len(sources) - 1)]
        running = self.running or self.claimed
        sent = [noisy_counts(vector, running, source) for vector, source in zip(own, sources, strict=True)]
        views = _views(self.circle, sent, sources, self.colluders)
        return views[:, 1 : self.count + 1] / self.claimed.sensitivity


def canary_rows(present: BoolArray, claimed: DpSgd, account_rows: int | None) -> LocalData:
    """Rows whose clipped gradients at weights of zero have norm C and point along the canaries' own weights.

    Args:
        present: Which canaries are in, shape (count,).
        account_rows: Makes each canary an account with twice as many rows, all alike.
    """
    each = _rows_each(account_rows)
    places = np.repeat(np.flatnonzero(present), each)
    features = np.zeros((places.size, present.size), dtype=np.float32)
    features[np.arange(places.size), places] = _LOUDNESS * claimed.clip_norm
    labels = np.zeros(places.size, dtype=np.float32)
    return LocalData(features, labels, places if claimed.unit == "account" else None)


def canaries_that_fit(account_rows: int | None) -> int:
    """Say how many canaries one release can hold without taking much memory."""
    return min(_MOST_CANARIES, math.isqrt(_MOST_ENTRIES // _rows_each(account_rows)))


def _rows_each(account_rows: int | None) -> int:
    return 1 if account_rows is None else 2 * account_rows


def _require_parties(claimed: Mechanism, circle: Circle) -> None:
    if claimed.parties != circle.parties:
        raise PrivacyError(
            f"the noise is shared by {claimed.parties} banks, and the circle has {circle.parties}; expected as many"
        )


def _views(circle: Circle, sent: list[FloatArray], sources: list[NoiseSource], colluders: int) -> FloatArray:
    """Open a sum, and take off what colluders know: their own part, or everybody's if all had their noise."""
    total, encoded = circle.open(sent, sources)
    if not colluders:
        return total[None]
    known = encoded[-colluders:].sum(axis=0)
    return np.stack([total - known, total - known * (len(sent) / colluders)])
