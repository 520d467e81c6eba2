"""What is said of a model, whatever it was computed from, and which scores nothing can be said of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

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


def check_scores(logits: Logits, labels: Labels) -> npt.NDArray[np.bool_]:
    """Refuse scores and labels that no figure can be computed from; returns the labels as booleans, shape (n,).

    Raises:
        NonFiniteError: if a logit is not finite.
        DataError: if shapes differ or a label is not 0 or 1.
    """
    truth = check_labels(logits, labels)
    bad = np.flatnonzero(~np.isfinite(logits))
    if bad.size:
        raise NonFiniteError(f"{bad.size} logits are not finite, the first in row {bad[0]}")
    return truth


def check_labels(logits: Logits, labels: Labels) -> npt.NDArray[np.bool_]:
    """Refuse labels that do not belong to the scores, whatever these are; returns the labels as booleans, shape (n,).

    Raises:
        DataError: if shapes differ or a label is not 0 or 1.
    """
    if logits.ndim != 1 or logits.shape != labels.shape:
        raise DataError(
            f"found logits of shape {logits.shape} and labels of shape {labels.shape}; expected one of each"
        )
    odd = np.flatnonzero((labels != 0) & (labels != 1))
    if odd.size:
        raise DataError(f"label in row {odd[0]} is {labels[odd[0]]}; expected 0 or 1")
    return labels.astype(np.bool_)
