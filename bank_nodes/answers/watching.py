"""What a bank does for monitoring: one window's features and scores counted, and its scores by label once these came.

What leaves is counted over the plan's public bins, with noise where ε pays for it. The exact counts stay here, and with
them this bank's own report of each window (`monitoring/<instance>/<window>.json`), which nobody else sees.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bank_nodes.answers.counting import counted
from bank_nodes.folder.received import Received
from bank_nodes.folder.window_reports import WindowReports
from bank_nodes.gate.checks import Draft
from bank_nodes.gate.windows import spec_of
from fraudfl.data.split import labels_known
from fraudfl.features.sketch import sketch_table
from fraudfl.folder import BankFolder, clusters_of
from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.models.mlp import build_model, score_logits, set_vector
from fraudfl.monitoring.observed import Observed
from fraudfl.plan import Plan
from fraudfl.privacy.contribution import within_bound
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Request

Counts = NDArray[np.int64]


class Watching:
    """One bank's side of a monitoring phase."""

    def __init__(self, folder: BankFolder, noise: NoiseSource) -> None:
        """Work on one bank's folder, with noise from the operating system."""
        self._folder = folder
        self._noise = noise

    def watch(self, request: Request, plan: Plan) -> Draft:
        """All rows of the window: features over coarse bins, and scores of the model that the request pins."""
        counts = _Counted(self._folder, request, plan)
        found = counts.observed(judged=False)
        WindowReports(self._folder.path, request.instance).add(found, plan)
        return counted(plan, request.kind, {"features": found.features, "scores": found.scores}, self._noise)

    def outcome(self, request: Request, plan: Plan) -> Draft:
        """Scores by label of those rows of the window whose labels are known by the plan's day."""
        counts = _Counted(self._folder, request, plan)
        found = counts.observed(judged=True)
        WindowReports(self._folder.path, request.instance).add(found, plan)
        assert found.outcome is not None  # it was asked for
        return counted(plan, request.kind, {"scores": found.outcome}, self._noise)


class _Counted:
    """One window of one bank."""

    def __init__(self, folder: BankFolder, request: Request, plan: Plan) -> None:
        self._folder = folder
        self._request = request
        self._plan = plan
        self._spec = spec_of(plan)

    def observed(self, *, judged: bool) -> Observed:
        """This bank's exact counts."""
        plan, spec, number = self._plan, self._spec.features, self._request.round
        labels = self._column("label").astype(np.int8)
        bins = plan.score_bins
        scores = ScoreHistogram.from_logits(self._logits, labels, bins)
        outcome = None
        if judged:
            known = self._known
            outcome = ScoreHistogram.from_logits(self._logits[known], labels[known], bins).to_vector()
        return Observed(
            window=number,
            name=self._spec.name_of(number),
            model=int(self._request.values.get("version", 0)),
            threshold=float(self._request.values.get("threshold", 0.0)),
            # Labels that a bank cannot know yet are in no count.
            features=sketch_table(self._features, np.zeros(len(labels), np.int8), spec).without_labels().vector(),
            scores=scores.positive + scores.negative,
            outcome=outcome,
            counted_by=(self._folder.bank,),
            judged_by=(self._folder.bank,) if judged else (),
        )

    @cached_property
    def _rows(self) -> NDArray[np.bool_]:
        """Rows of the window, of each account no more than the plan's bound."""
        first, last = self._spec.days_of(self._request.round)
        moment = self._table["time"].to_numpy().astype("datetime64[us]")
        rows = np.asarray((moment >= _midnight(first)) & (moment < _midnight(last + timedelta(days=1))))
        if self._plan.account_rows is not None:
            counted_rows = np.flatnonzero(rows)
            clusters = clusters_of(self._table)[counted_rows]
            rows = np.zeros_like(rows)
            rows[counted_rows[within_bound(clusters, self._plan.account_rows)]] = True
        return rows

    @cached_property
    def _logits(self) -> NDArray[np.float32]:
        received = Received(self._folder.path, self._request.instance)
        encoder = received.encoder(self._request)
        model = build_model(self._plan.model, encoder.width)
        set_vector(model, received.model(self._request, self._plan, encoder.width))
        return score_logits(model, encoder.transform(self._features))

    @cached_property
    def _table(self) -> pa.Table:
        return self._folder.table()

    @cached_property
    def _features(self) -> pa.Table:
        return self._folder.features(self._plan.features).filter(pa.array(self._rows))

    @property
    def _known(self) -> NDArray[np.bool_]:
        """Which of the window's labels are known by the day that the plan names."""
        known = labels_known(self._table, self._plan.split.label_delay_days)[self._rows]
        return np.asarray(known <= _midnight(self._spec.labels_known(self._request.round)))

    def _column(self, name: str) -> NDArray[np.generic]:
        return np.asarray(self._table[name].to_numpy()[self._rows])


def _midnight(day: date) -> np.datetime64:
    return np.datetime64(day, "us")
