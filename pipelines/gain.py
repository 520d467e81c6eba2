"""What the banks gained: each says in which bin it is, and the bins are added up; nothing else leaves a bank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fraudfl.errors import QuorumError
from fraudfl.metrics.bootstrap import Bootstrap, difference_interval
from fraudfl.metrics.exact import auprc, figures
from fraudfl.metrics.gain_bins import GainBins
from fraudfl.plan import Plan
from fraudfl.privacy.mechanisms import GaussianSum
from fraudfl.protocols import PooledData
from pipelines.counts import sum_counts
from pipelines.training import model_for
from pipelines.world import Phase


@dataclass(frozen=True)
class Gains:
    """Bins of gain, and the banks that they are about."""

    bins: GainBins
    banks: frozenset[str]


def count_gains(phase: Phase) -> Gains | None:
    """Ask each bank what it gained over training alone; its figures stay there, and one of twelve counts comes back.

    Returns:
        None where too few banks answer: a trained model is not given up for that, and gates that ask for the bins hold.
    """
    try:
        summed = sum_counts(phase, "gain", phase.plan.rounds, lambda bank: model_for(phase, bank))
    except QuorumError as error:
        phase.world.progress.event("gain missed", reason=str(error))
        return None
    bins = GainBins.from_vector(summed.vectors["gain"], noise=noise_of_sum(phase.plan, len(summed.banks)))
    phase.world.progress.event("gain", banks=len(summed.banks), noise=bins.noise)
    return Gains(bins, summed.banks)


def noise_of_sum(plan: Plan, banks: int) -> float:
    """Standard deviation of the noise in each summed count; every bank in the sum added its own."""
    mechanism = plan.mechanism("gain")
    return mechanism.share_deviation * math.sqrt(banks) if isinstance(mechanism, GaussianSum) else 0.0


def gain_metrics(plan: Plan, gains: Gains | None, pooled: PooledData | None) -> dict[str, Any]:
    """What a phase's `metrics` say of gains.

    Returns:
        `gain_bins`; and where one machine holds all rows, `personalised`: see `exact_personalised`.
    """
    if gains is None:
        return {}
    found: dict[str, Any] = {"gain_bins": gains.bins.to_dict()}
    if pooled is not None:
        found["personalised"] = exact_personalised(plan, pooled.only(gains.banks))
    return found


def exact_personalised(plan: Plan, pooled: PooledData) -> Mapping[str, Any]:
    """How well banks score with models of their own on top of the global one: for simulation.

    Returns:
        Figures that need no threshold, over all banks' test rows, each scored by its own bank's model; the interval of
        the gain in AUPRC over the federated model; and the mean of the banks' own AUPRC by way to train.
    """
    own, federated = pooled.scored("personalised", "test"), pooled.scored("federated", "test")
    found = figures(own.logits, own.labels, threshold=0.0, budget=plan.alert_budget)
    row = {"auprc": found.auprc, "auroc": found.auroc, "recall_at_budget": found.recall_at_budget}
    settings = Bootstrap(budget=plan.alert_budget)
    interval = difference_interval((own.logits, federated.logits), own.labels, own.clusters, settings)
    means = {
        name: _mean([auprc(one.logits[rows], one.labels[rows]) for rows in one.banks.values()])
        for name, one in (("federated", federated), ("personalised", own))
    }
    return row | {"gain_over_federated": list(interval) if interval else None, "auprc_bank_mean": means}


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
