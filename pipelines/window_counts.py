"""Asking banks about one window: which model goes along, and what their counts add up to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fraudfl.models.bundle import Bundle
from fraudfl.models.mlp import build_model, layout
from fraudfl.monitoring.observed import Observed
from fraudfl.protocols import Kind, Scalar
from fraudfl.transfer.codec import encode
from fraudfl.transfer.model import vector_digest
from pipelines.asking import Enclosed
from pipelines.counts import sum_counts
from pipelines.summing import Summed
from pipelines.world import Phase

THRESHOLD = "budget"
"""Which of a model's thresholds makes its alerts."""


class WindowCounts:
    """The banks of one monitoring phase."""

    def __init__(self, phase: Phase, bundle: Callable[[int], Bundle]) -> None:
        """Ask the phase's banks; `bundle` gives a model by its version."""
        self._phase = phase
        self._bundle = bundle

    def watch(self, window: int, version: int) -> Observed:
        """What a window's features are like, and its scores under a model; raises QuorumError."""
        summed = self._asked("watch", window, version)
        assert self._phase.plan.watch is not None  # a monitoring plan's
        return Observed(
            window=window,
            name=self._phase.plan.watch.name_of(window),
            model=version,
            threshold=self._threshold(version),
            features=_whole(summed.vectors["features"]),
            scores=_whole(summed.vectors["scores"]),
            counted_by=tuple(sorted(summed.banks)),
            noise=self._noise("watch", summed),
        )

    def judge(self, observed: Observed) -> Observed:
        """The same window with its outcome under the same model, now that labels are known; raises QuorumError."""
        summed = self._asked("outcome", observed.window, observed.model)
        return observed.judged(_whole(summed.vectors["scores"]), summed.banks, self._noise("outcome", summed))

    def _asked(self, kind: Kind, window: int, version: int) -> Summed:
        summed = sum_counts(self._phase, kind, window, self._model(version))
        self._phase.state.held |= dict.fromkeys(summed.banks, version)
        return summed

    def _model(self, version: int) -> Callable[[str], Enclosed]:
        """The model for a bank: pinned by digest, and whole where the bank does not hold it."""
        bundle = self._bundle(version)
        weights = np.asarray(bundle.weights, dtype=np.float32)
        values: dict[str, Scalar] = {
            "version": version,
            "model": vector_digest(weights),
            "encoder": bundle.encoder.digest,
            "threshold": self._threshold(version),
        }
        shape = layout(build_model(bundle.model, bundle.encoder.width))
        whole = {"encoder": bundle.encoder.to_bytes(), "model": encode(weights, "float32", shape)}
        held = self._phase.state.held
        return lambda bank: Enclosed(values, {} if held.get(bank) == version else whole)

    def _threshold(self, version: int) -> float:
        return float(self._bundle(version).thresholds[THRESHOLD])

    def _noise(self, kind: Kind, summed: Summed) -> float:
        """Variance of the noise in each count of a sum."""
        mechanism = self._phase.plan.mechanism(kind)
        return 0.0 if mechanism is None else mechanism.share_deviation**2 * len(summed.banks)


def _whole(vector: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(vector).astype(np.int64)
