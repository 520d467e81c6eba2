"""Exact figures from scores and labels, for simulation and benchmarks, where they may lie side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fraudfl.errors import DataError, NonFiniteError

FigureName = Literal["auprc", "auroc", "balanced_accuracy", "recall_at_budget"]
FIGURES: tuple[FigureName, ...] = ("auprc", "auroc", "balanced_accuracy", "recall_at_budget")

Logits = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer] | npt.NDArray[np.floating] | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Figures:
    """How well scores tell frauds from the rest.

    Without a fraud no figure is defined; without a legitimate transaction AUROC and balanced accuracy are not. Such a
    figure is None.

    Attributes:
        auprc: Area under the precision-recall curve, as average precision (steps, no interpolation).
        auroc: Area under the ROC curve; a tie counts half.
        balanced_accuracy: Mean of the two classes' recalls when a logit at or above the threshold is an alert.
        recall_at_budget: Share of frauds among the highest-scored share of all transactions. Where the budget ends
            inside a tie, the tie's frauds count in proportion.
    """

    auprc: float | None
    auroc: float | None
    balanced_accuracy: float | None
    recall_at_budget: float | None

    def to_dict(self) -> dict[str, float | None]:
        """The figures by name, for JSON."""
        return asdict(self)


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
    alerts = logits >= threshold
    return Figures(
        auprc=float(average_precision_score(truth, logits)),
        auroc=float(roc_auc_score(truth, logits)) if both else None,
        balanced_accuracy=float((alerts[truth].mean() + (~alerts[~truth]).mean()) / 2) if both else None,
        recall_at_budget=_recall_at_budget(logits, truth, budget),
    )


def auprc(logits: Logits, labels: Labels) -> float | None:
    """Average precision alone; None without a fraud."""
    truth = check_scores(logits, labels)
    return float(average_precision_score(truth, logits)) if truth.any() else None


def f1_at(logits: Logits, labels: Labels, *, threshold: float) -> float:
    """F1 of the fraud class when a logit at or above the threshold is an alert; 0 where it is not defined."""
    truth = check_scores(logits, labels)
    return float(f1_score(truth, logits >= threshold, zero_division=0.0))


def check_scores(logits: Logits, labels: Labels) -> npt.NDArray[np.bool_]:
    """Refuse scores and labels that no figure can be computed from; returns the labels as booleans, shape (n,).

    Raises:
        NonFiniteError: if a logit is not finite.
        DataError: if shapes differ or a label is not 0 or 1.
    """
    if logits.ndim != 1 or logits.shape != labels.shape:
        raise DataError(
            f"found logits of shape {logits.shape} and labels of shape {labels.shape}; expected one of each"
        )
    bad = np.flatnonzero(~np.isfinite(logits))
    if bad.size:
        raise NonFiniteError(f"{bad.size} logits are not finite, the first in row {bad[0]}")
    odd = np.flatnonzero((labels != 0) & (labels != 1))
    if odd.size:
        raise DataError(f"label in row {odd[0]} is {labels[odd[0]]}; expected 0 or 1")
    return labels.astype(np.bool_)


def _recall_at_budget(logits: Logits, truth: npt.NDArray[np.bool_], budget: float) -> float:
    allowed = budget * truth.size
    border = np.sort(logits)[truth.size - min(truth.size, max(1, int(np.ceil(allowed))))]
    above, tied = logits > border, logits == border
    share = min(1.0, max(0.0, allowed - int(above.sum())) / int(tied.sum()))
    return float((truth[above].sum() + share * truth[tied].sum()) / truth.sum())
