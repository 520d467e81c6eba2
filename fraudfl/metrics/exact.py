"""Exact figures from scores and labels, for simulation and benchmarks, where they may lie side by side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fraudfl.metrics.figures import Figures, Labels, Logits, check_scores


def figures(logits: Logits, labels: Labels, *, threshold: float, budget: float) -> Figures:
    """Compute all figures.

    Args:
        logits: Scores, higher is more suspicious; shape (n,).
        labels: 1 for fraud, else 0; shape (n,).
        threshold: Logit at or above which a transaction is an alert.
        budget: Share of all transactions that analysts can look at, in (0, 1].

    Raises:
        NonFiniteError: if a logit is not finite.
        DataError: if shapes differ or a label is not 0 or 1.
    """
    truth = check_scores(logits, labels)
    positives = int(truth.sum())
    if positives == 0:
        return Figures(None, None, None, None)
    both = positives < truth.size
    return Figures(
        auprc=float(average_precision_score(truth, logits)),
        auroc=float(roc_auc_score(truth, logits)) if both else None,
        balanced_accuracy=balanced_accuracy(np.asarray(logits >= threshold), labels),
        recall_at_budget=_recall_at_budget(logits, truth, budget),
    )


def balanced_accuracy(alerts: npt.NDArray[np.bool_], labels: Labels) -> float | None:
    """Mean of the two classes' recalls for given alerts, shape (n,); None where a class has no row."""
    truth = np.asarray(labels) == 1
    if not 0 < truth.sum() < truth.size:
        return None
    return float((alerts[truth].mean() + (~alerts[~truth]).mean()) / 2)


def auprc(logits: Logits, labels: Labels) -> float | None:
    """Average precision alone; None without a fraud."""
    truth = check_scores(logits, labels)
    return float(average_precision_score(truth, logits)) if truth.any() else None


def f1_at(logits: Logits, labels: Labels, *, threshold: float) -> float:
    """F1 of the fraud class when a logit at or above the threshold is an alert; 0 where it is not defined."""
    truth = check_scores(logits, labels)
    return float(f1_score(truth, logits >= threshold, zero_division=0.0))


def _recall_at_budget(logits: Logits, truth: npt.NDArray[np.bool_], budget: float) -> float:
    allowed = budget * truth.size
    border = np.sort(logits)[truth.size - min(truth.size, max(1, int(np.ceil(allowed))))]
    above, tied = logits > border, logits == border
    share = min(1.0, max(0.0, allowed - int(above.sum())) / int(tied.sum()))
    return float((truth[above].sum() + share * truth[tied].sum()) / truth.sum())
