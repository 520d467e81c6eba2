"""After the last round: banks score the final model, and release histograms that sum to figures and thresholds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import CheckpointError, WireError
from fraudfl.folder import write_bytes
from fraudfl.metrics.figures import Figures
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.plan import Plan
from fraudfl.privacy.denoise import plausible_counts
from fraudfl.protocols import Kind
from pipelines.asking import Enclosed
from pipelines.counts import sum_counts
from pipelines.training import model_for
from pipelines.world import Phase

_EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Evaluation:
    """Summed histograms of one model.

    Attributes:
        thresholds: Objective to logit, chosen on validation rows.
        figures: On test rows.
        banks: Who was heard.
    """

    validation: ScoreHistogram
    test: ScoreHistogram
    thresholds: dict[str, float]
    figures: Figures
    banks: set[str]


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


def keep_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Keep what the banks' test rows came to, so that another model can be compared on the same ones."""
    facts = {
        "banks": sorted(evaluation.banks),
        "bins": evaluation.test.bins.model_dump(mode="json"),
        "test": evaluation.test.to_vector().tolist(),
    }
    write_bytes(folder / _EVALUATION, json.dumps(facts).encode())


def read_evaluation(folder: Path) -> tuple[frozenset[str], ScoreHistogram] | None:
    """The banks, and their summed histogram of test rows, of a phase that came so far; else None.

    Raises:
        CheckpointError: when the file is not what `keep_evaluation` wrote.
    """
    path = folder / _EVALUATION
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_bytes())
        bins = ScoreBins.model_validate(facts["bins"])
        test = ScoreHistogram.from_vector(np.asarray(facts["test"], dtype=np.int64), bins)
        return frozenset(facts["banks"]), test
    except (ValueError, KeyError, TypeError, WireError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore it, or run the phase anew") from error


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
