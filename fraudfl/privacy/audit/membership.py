"""Membership inference on a final model, with shadow models (LiRA), at false-positive rates that matter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from fraudfl.config import ModelConfig
from fraudfl.errors import PrivacyError
from fraudfl.models.mlp import FloatVector, build_model, score_logits, set_vector
from fraudfl.privacy.audit.bounds import FloatArray, lower_rate, upper_rate
from fraudfl.privacy.audit.canary_training import chosen, joined
from fraudfl.privacy.audit.in_out import CONFIDENCE, BoolArray
from fraudfl.privacy.audit.result import AuditResult
from fraudfl.training.batches import LocalData

Train = Callable[[LocalData, int], FloatVector]
"""Trains one model on rows, from a seed, as the audited one was trained; returns its weights."""

FALSE_POSITIVES = 0.001
_FEWEST_SHADOWS = 2


@dataclass(frozen=True, kw_only=True)
class Membership:
    """How well members are told from outsiders.

    Attributes:
        auc: Area under the ROC curve; 0.5 is guessing.
        true_positives: Share of members found at a false-positive rate of at most 0.1 %.
        interval: Of that share, for the threshold as it is, with `CONFIDENCE` on each side.
        false_positives: Upper bound of the threshold's false-positive rate, likewise.
        members, outsiders: How many of each were scored.
    """

    auc: float
    true_positives: float
    interval: tuple[float, float]
    false_positives: float
    members: int
    outsiders: int


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """The rows that an observer asks about, and the model that he has.

    Attributes:
        model, vector: The final model.
        members: Rows that it was trained on.
        outsiders: Rows of the same kind that it was not.
    """

    model: ModelConfig
    vector: FloatVector
    members: LocalData
    outsiders: LocalData

    @property
    def rows(self) -> LocalData:
        """All of them, members first."""
        return joined(self.members, self.outsiders)


def audit_membership(
    name: str, suspects: Suspects, train: Train, *, shadows: int = 16, seed: int = 0, online: bool = True
) -> AuditResult:
    """Attack a final model with shadow models, each trained on a random half of all suspects.

    It is what an observer of the model alone can do, and bounds no ε: the verdict is `no claim`. Of a private model
    it should find next to nothing; of one trained without privacy, something, or the attack is no test.

    Args:
        suspects: Members and at least 1,000 outsiders, of which the threshold for 0.1 % can be read.
        train: As the final model was trained.
        shadows: Shadow models.
        seed: Of halves and shadow trainings.
        online: Whether shadow models that saw a row are used too; without, those that did not are all there is.

    Raises:
        PrivacyError: with fewer than 1,000 outsiders, or an odd number of shadow models or fewer than four.

    Source: Carlini et al. 2022.
    """
    if shadows < 2 * _FEWEST_SHADOWS or shadows % 2:
        raise PrivacyError(f"{shadows} shadow models; expected an even number, and at least {2 * _FEWEST_SHADOWS}")
    rows = suspects.rows
    generator = np.random.default_rng(seed)
    # In pairs that share the rows between them, so that each row is in half of the models and out of the others.
    halves = [generator.permutation(len(rows.labels)) % 2 == 0 for _ in range(shadows // 2)]
    inside = np.stack([side for half in halves for side in (half, ~half)])
    seen = np.stack(
        [
            true_class_logits(suspects.model, train(chosen(rows, half), seed + 1 + number), rows)
            for number, half in enumerate(inside)
        ]
    )
    target = true_class_logits(suspects.model, suspects.vector, rows)
    scores = lira_scores(target, seen, inside, online=online)
    members = np.arange(len(rows.labels)) < len(suspects.members.labels)
    found = membership_figures(scores[members], scores[~members])
    return AuditResult(
        name=name,
        mechanism="model",
        claimed=None,
        lower_bound=None,
        confidence=CONFIDENCE,
        trials=len(rows.labels),
        verdict="no claim",
        detail=(
            f"{found.true_positives:.2%} of {found.members} members found (interval {found.interval[0]:.2%} to "
            f"{found.interval[1]:.2%}) at {FALSE_POSITIVES:.1%} false positives among {found.outsiders} outsiders; "
            f"area under the ROC curve {found.auc:.3f}; {shadows} shadow models"
        ),
    )


def true_class_logits(model: ModelConfig, vector: FloatVector, rows: LocalData) -> FloatArray:
    """Return how sure a model is of each row's true label, as log-odds, shape (n,)."""
    network = build_model(model, rows.features.shape[1])
    set_vector(network, vector)
    return score_logits(network, rows.features).astype(np.float64) * (2 * rows.labels - 1)


def lira_scores(target: FloatArray, shadows: FloatArray, inside: BoolArray, *, online: bool) -> FloatArray:
    """Return the evidence that each row was among the target's, shape (n,).

    Online: log-likelihood ratio of two Gaussians, of shadow models that saw the row and those that did not. Offline:
    how far the target lies above the latter, in standard deviations. Deviations are pooled over rows, as is best with
    few shadow models.

    Args:
        target: The model's log-odds of each row's true label, shape (n,).
        shadows: The same of each shadow model, shape (models, n).
        inside: Which rows each shadow model saw, shape (models, n).

    Raises:
        PrivacyError: if a row was seen by fewer than two shadow models, or not seen by fewer than two.
    """
    fewest = min(int(inside.sum(axis=0).min()), int((~inside).sum(axis=0).min()))
    if fewest < _FEWEST_SHADOWS:
        raise PrivacyError(
            f"a row was in, or was out of, only {fewest} of {len(inside)} shadow models; expected at least "
            f"{_FEWEST_SHADOWS} of each. Train more of them"
        )
    out_mean, out_deviation = _gaussian(shadows, ~inside)
    above = (target - out_mean) / out_deviation
    if not online:
        return above
    in_mean, in_deviation = _gaussian(shadows, inside)
    return np.asarray(
        above**2 / 2 - ((target - in_mean) / in_deviation) ** 2 / 2 + math.log(out_deviation / in_deviation)
    )


def membership_figures(members: FloatArray, outsiders: FloatArray) -> Membership:
    """Measure how well scores tell members, who should have the higher ones, from outsiders.

    Raises:
        PrivacyError: with fewer than 1,000 outsiders: 0.1 % of them is less than one.
    """
    allowed = int(FALSE_POSITIVES * len(outsiders))
    if allowed < 1 or len(members) < 1:
        raise PrivacyError(
            f"{len(members)} members and {len(outsiders)} outsiders; expected some members and at least "
            f"{round(1 / FALSE_POSITIVES)} outsiders, to read a false-positive rate of {FALSE_POSITIVES:.1%}"
        )
    # Strictly above the score that one outsider more would need: ties count for the outsider.
    threshold = np.sort(outsiders)[-allowed - 1]
    found = int((members > threshold).sum())
    ranks = rankdata(np.concatenate([members, outsiders]))[: len(members)].sum()
    wins = ranks - len(members) * (len(members) + 1) / 2
    return Membership(
        auc=float(wins / (len(members) * len(outsiders))),
        true_positives=found / len(members),
        interval=(
            float(lower_rate(found, len(members), CONFIDENCE)),
            float(upper_rate(found, len(members), CONFIDENCE)),
        ),
        false_positives=float(upper_rate(int((outsiders > threshold).sum()), len(outsiders), CONFIDENCE)),
        members=len(members),
        outsiders=len(outsiders),
    )


def _gaussian(values: FloatArray, chosen: BoolArray) -> tuple[FloatArray, float]:
    """Mean of the chosen values in each column, and their deviation from it, pooled over columns."""
    counts = chosen.sum(axis=0)
    means = np.where(chosen, values, 0.0).sum(axis=0) / counts
    left = np.where(chosen, values - means, 0.0)
    variance = float((left**2).sum() / (counts - 1).sum())
    # Shadow models that all agree leave no spread to measure by.
    return means, max(math.sqrt(variance), 1e-9)
