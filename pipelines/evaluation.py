"""After the last round: banks score the final model, and release histograms that sum to figures and thresholds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudfl.metrics.histogram import ScoreHistogram
from fraudfl.plan import Plan
from fraudfl.privacy.denoise import plausible_counts
from fraudfl.protocols import Kind
from pipelines.asking import Enclosed
from pipelines.counts import sum_counts
from pipelines.evaluated import Evaluation
from pipelines.training import model_for
from pipelines.world import Phase


def evaluate(phase: Phase) -> Evaluation:
    """The final model at every bank."""
    evaluation = _judge(phase, "evaluate", lambda bank: model_for(phase, bank))
    phase.world.progress.event("evaluated", auprc=evaluation.figures.auprc)
    return evaluation


def evaluate_alone(phase: Phase) -> Evaluation:
    """Each bank's own model, trained with the same budget on its own rows only."""
    evaluation = _judge(phase, "alone", lambda bank: _without_model(phase, bank))
    phase.world.progress.event("alone", auprc=evaluation.figures.auprc)
    return evaluation


def choose_thresholds(validation: ScoreHistogram, budget: float) -> dict[str, float]:
    """Thresholds by objective; where validation rows cannot tell (no fraud in them), an even bet."""
    balanced, f1 = validation.best_threshold("balanced_accuracy"), validation.best_threshold("f1")
    at_budget = validation.threshold_at_budget(budget)
    return {
        "balanced_accuracy": 0.0 if balanced is None else balanced,
        "f1": 0.0 if f1 is None else f1,
        "budget": validation.bins.high if at_budget is None else at_budget,
    }


def _without_model(phase: Phase, bank: str) -> Enclosed:
    whole = model_for(phase, bank)
    return Enclosed(whole.values, {name: data for name, data in whole.payloads.items() if name == "encoder"})


def _judge(phase: Phase, kind: Kind, enclose: Callable[[str], Enclosed]) -> Evaluation:
    plan = phase.plan
    summed = sum_counts(phase, kind, plan.rounds, enclose)
    sums = {part: _histogram(plan, vector) for part, vector in summed.vectors.items()}
    thresholds = choose_thresholds(sums["validation"], plan.alert_budget)
    figures = sums["test"].figures(threshold=thresholds["balanced_accuracy"], budget=plan.alert_budget)
    return Evaluation(sums["validation"], sums["test"], thresholds, figures, set(summed.banks))


def _histogram(plan: Plan, counts: NDArray[Any]) -> ScoreHistogram:
    if plan.evaluation_noise is not None:
        # Legitimate and fraudulent rows are a histogram each.
        counts = np.concatenate([plausible_counts(half) for half in np.split(counts, 2)])
    return ScoreHistogram.from_vector(counts.astype(np.int64), plan.score_bins)
