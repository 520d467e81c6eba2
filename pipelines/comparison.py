"""Federated against alone and pooled, exactly, where one machine holds all rows: simulation and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudfl.metrics.bootstrap import Bootstrap, Interval, difference_interval
from fraudfl.metrics.exact import auprc, balanced_accuracy, figures
from fraudfl.metrics.figures import FigureName
from fraudfl.metrics.gain import Drawn, Judged, draw_together, fairness
from fraudfl.metrics.histogram import ScoreBins, ScoreHistogram
from fraudfl.plan import Plan
from fraudfl.protocols import PooledData, Scored
from pipelines.evaluation import choose_thresholds

REPLICATES = 200
BANK_REPLICATES = 200


@dataclass(frozen=True)
class Contender:
    """One way to train, judged on the same test rows.

    Attributes:
        own_thresholds: Whether each bank set its own threshold on its own validation rows.
    """

    validation: Scored
    test: Scored
    own_thresholds: bool


def contenders_of(pooled: PooledData, baselines: tuple[str, ...]) -> dict[str, Contender]:
    """The federated model and, by name, whatever it is set beside.

    Args:
        baselines: Which of `alone`, `pooled` and `xgboost`; XGBoost is trained on all rows together where both are
            asked for.
    """
    federated = Contender(pooled.scored("federated", "validation"), pooled.scored("federated", "test"), False)
    return {"federated": federated} | _baselines(pooled, baselines)


def scored_histograms(contenders: Mapping[str, Contender]) -> dict[str, ScoreHistogram]:
    """How each scored the test rows, over bins fine enough for any curve."""
    bins = ScoreBins()
    return {
        name: ScoreHistogram.from_logits(one.test.logits, one.test.labels, bins) for name, one in contenders.items()
    }


def compare(plan: Plan, contenders: Mapping[str, Contender]) -> dict[str, Any]:
    """The `metrics` section of a phase in `summary.json`, from exact scores; `federated` is among the contenders."""
    federated = contenders["federated"]
    judged = {name: Judged(one.test, _thresholds(plan, one)) for name, one in contenders.items()}
    rows = {name: _row(plan, one) for name, one in judged.items()}
    drawn = draw_together(judged, Bootstrap(replicates=REPLICATES, budget=plan.alert_budget))
    trees = {name: rows[f"xgboost {name}"] for name in ("alone", "pooled") if f"xgboost {name}" in rows}
    even = _evenness(plan, federated.test)
    return {
        "source": "exact",
        "federated": rows["federated"],
        "alone": rows.get("alone"),
        "pooled": rows.get("pooled"),
        "xgboost": trees or None,
        "fairness": {name: found[0] for name, found in even.items()},
        "intervals": {name: _listed(one.intervals()) for name, one in drawn.items()}
        | _gains(drawn)
        | {"fairness": {name: list(found[1]) if found[1] else None for name, found in even.items()}},
        "per_bank": _per_bank(plan, federated.test, contenders["alone"].test) if "alone" in contenders else None,
    }


def _baselines(pooled: PooledData, wanted: tuple[str, ...]) -> dict[str, Contender]:
    contenders = {}
    if "alone" in wanted:
        contenders["alone"] = Contender(pooled.scored("alone", "validation"), pooled.scored("alone", "test"), True)
    if "pooled" in wanted:
        contenders["pooled"] = Contender(*pooled.train_pooled(), False)
    if "xgboost" in wanted:
        contenders["xgboost alone"] = Contender(*pooled.train_trees(pooled=False), True)
        if "pooled" in wanted:
            contenders["xgboost pooled"] = Contender(*pooled.train_trees(pooled=True), False)
    return contenders


def _row(plan: Plan, judged: Judged) -> dict[str, float | None]:
    """The figures; balanced accuracy at thresholds that banks may each have set for themselves."""
    test = judged.test
    ranked = figures(test.logits, test.labels, threshold=0.0, budget=plan.alert_budget)
    decided = balanced_accuracy(judged.alerts(), test.labels)
    return ranked.to_dict() | {"balanced_accuracy": decided, "auprc_bank_mean": _bank_mean(test)}


def _gains(drawn: Mapping[str, Drawn]) -> dict[str, dict[str, list[float] | None]]:
    """Intervals of federated less each way to train alone, drawn in pairs."""
    ways = (("alone", "gain_over_alone"), ("xgboost alone", "gain_over_xgboost"))
    return {key: _listed(drawn["federated"].less(drawn[name])) for name, key in ways if name in drawn}


def _listed(intervals: Mapping[FigureName, Interval | None]) -> dict[str, list[float] | None]:
    return {str(name): list(interval) if interval else None for name, interval in intervals.items()}


def _evenness(plan: Plan, test: Scored) -> dict[FigureName, tuple[float, Interval | None]]:
    """How evenly banks share in the model, by figure."""
    settings = Bootstrap(replicates=BANK_REPLICATES, budget=plan.alert_budget)
    return fairness(test, ("auprc", "recall_at_budget"), settings)


def _thresholds(plan: Plan, contender: Contender) -> Mapping[str, float]:
    validation = contender.validation
    if not contender.own_thresholds:
        return dict.fromkeys(contender.test.banks, _threshold(plan, validation.logits, validation.labels))
    return {
        bank: _threshold(plan, validation.logits[rows], validation.labels[rows])
        for bank, rows in validation.banks.items()
    }


def _threshold(plan: Plan, logits: NDArray[np.float32], labels: NDArray[np.int8]) -> float:
    histogram = ScoreHistogram.from_logits(logits, labels, plan.score_bins)
    return choose_thresholds(histogram, plan.alert_budget)["balanced_accuracy"]


def _bank_mean(test: Scored) -> float | None:
    own = [auprc(test.logits[rows], test.labels[rows]) for rows in test.banks.values()]
    defined = [value for value in own if value is not None]
    return float(np.mean(defined)) if defined else None


def _per_bank(plan: Plan, federated: Scored, alone: Scored) -> dict[str, dict[str, Any]]:
    """Per bank: AUPRC alone and federated, and the interval of the gain."""
    settings = Bootstrap(replicates=BANK_REPLICATES, budget=plan.alert_budget)
    table = {}
    for bank, rows in federated.banks.items():
        labels, clusters = federated.labels[rows], federated.clusters[rows]
        both = federated.logits[rows], alone.logits[rows]
        interval = difference_interval(both, labels, clusters, settings) if len(labels) else None
        table[bank] = {
            "alone": auprc(both[1], labels),
            "federated": auprc(both[0], labels),
            "interval": list(interval) if interval else None,
        }
    return table
