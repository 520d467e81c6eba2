"""Audits of a whole plan: every mechanism that it names, against everybody whom it names, by in/out trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fraudfl.errors import PrivacyError
from fraudfl.models.mlp import FloatVector, initial_vector
from fraudfl.plan import Plan
from fraudfl.privacy.audit.canary_training import (
    CanaryTraining,
    LocalRounds,
    Setting,
    SummedRounds,
    chosen,
)
from fraudfl.privacy.audit.circle import Circle
from fraudfl.privacy.audit.in_out import audit_in_out
from fraudfl.privacy.audit.membership import Train
from fraudfl.privacy.audit.one_run import audit_one_run
from fraudfl.privacy.audit.releases import LocalSteps, NoisyCounts, SummedSteps, canaries_that_fit
from fraudfl.privacy.audit.result import AuditResult
from fraudfl.privacy.mechanisms import DpSgd, GaussianSum, Mechanism
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Kind
from fraudfl.secagg.fixed_point import FixedPoint
from fraudfl.summed import entry_bound, parts_of
from fraudfl.training.batches import LocalData
from fraudfl.training.dp import train_dp
from fraudfl.training.plain import train_plain

_NAMES: dict[Kind, str] = {
    "train": "training",
    "sketch": "encoder sketches",
    "look": "looks",
    "evaluate": "score histograms",
    "gain": "bins of gain",
}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much an audit tries. More sharpens bounds and takes longer; none of it changes what is audited.

    Attributes:
        trials: With a canary, and as many without, for one release whose canary is always drawn.
        sampled_trials: The same for several rounds with the plan's own sampling.
        rounds: At most so many of the plan's rounds, there and in one-run audits.
        canaries: In one training, for one-run audits.
        rows: Of each bank, at most, in that training; drawn at random from more. Each takes room for every canary.
        seed: Of the order of trials and of coins; noise and draws are never seeded.
    """

    trials: int = 20_000
    sampled_trials: int = 4_000
    rounds: int = 50
    canaries: int = 1_000
    rows: int = 10_000
    seed: int = 0


def audit_plan(plan: Plan, effort: Effort | None = None) -> tuple[AuditResult, ...]:
    """Audit every mechanism of a plan, with the code that banks run, against the coordinator and against colluders.

    Training is audited twice: one step whose canary is always drawn, which is where wrong noise and wrong clipping
    show best, and several rounds with the plan's sampling rate. Each has an ε of its own to keep, which is not the
    plan's total.

    Raises:
        PrivacyError: if the plan promises no privacy.
    """
    effort = effort or Effort()
    results: list[AuditResult] = []
    for kind, name in _NAMES.items():
        mechanism = plan.mechanism(kind) if kind in plan.releases else None
        if isinstance(mechanism, DpSgd):
            results += _audit_training(plan, mechanism, name, effort)
        elif mechanism is not None:
            results += _audit_counts(plan, kind, mechanism, name, effort)
    if not results:
        raise PrivacyError(f"phase `{plan.phase}` promises no privacy (mode `none`); there is no ε to audit")
    return tuple(results)


def audit_training(plan: Plan, rows: tuple[LocalData, ...], effort: Effort | None = None) -> AuditResult:
    """Train the plan's model on encoded rows with canaries among them, and audit that one run.

    Args:
        rows: Each bank's encoded training rows; in mode `distributed` of as many banks as share the noise.

    Raises:
        PrivacyError: if the plan promises no privacy, or the rows are of too few banks.
    """
    effort = effort or Effort()
    mechanism = plan.round_mechanism
    if mechanism is None or len(rows) < plan.parties:
        raise PrivacyError(
            f"phase `{plan.phase}` has privacy mode `{plan.privacy.mode}`, and rows of {len(rows)} banks are given; "
            f"expected a private mode and at least {plan.parties} banks"
        )
    setting = Setting(
        model=plan.model,
        training=plan.training,
        claimed=mechanism.with_steps(min(effort.rounds, plan.rounds)),
        real=tuple(_some(bank, effort) for bank in (rows[: plan.parties] if plan.parties > 1 else rows)),
        canaries=effort.canaries,
        account_rows=plan.account_rows,
    )
    training = CanaryTraining(setting, effort.seed)
    if plan.parties > 1:
        summed = SummedRounds(setting, training.data, _circle(plan, "train"), entry_bound(plan, "train"))
        scores = training.scores(summed)
    else:
        scores = training.scores(LocalRounds(setting, training.data))
    return audit_one_run("one training with canaries", scores, training.included, setting.claimed, plan.delta)


def shadow_training(plan: Plan, *, learning_rate: float | None = None) -> Train:
    """Return what trains one shadow model on pooled rows as the plan trains on those of its banks.

    All rounds in one place: as many epochs, or as many steps of DP-SGD with the plan's sampling rate and noise.

    Args:
        learning_rate: The plan's by default; banks that step together on a server's rate need that one.
    """
    rate = learning_rate or plan.training.learning_rate
    prior = plan.training.prior

    def train(rows: LocalData, seed: int) -> FloatVector:
        share = float(rows.labels.mean()) if prior == "released" else prior
        start = initial_vector(plan.model, rows.features.shape[1], prior=share, seed=seed)
        if plan.round_mechanism is None:
            epochs = plan.training.local_epochs * plan.rounds
            longer = plan.training.model_copy(update={"local_epochs": epochs})
            return train_plain(plan.model, start, rows, longer, learning_rate=rate, seed=seed).vector
        one = plan.round_mechanism
        batch = one.sampling_rate * len(rows.labels)
        whole = replace(one, steps=one.steps * plan.rounds, expected_batch=batch, parties=1, colluding=0)
        return train_dp(
            plan.model,
            start,
            rows,
            plan.training,
            whole,
            learning_rate=rate,
            noise=NoiseSource(),
            account_rows=plan.account_rows,
        ).vector

    return train


def _some(rows: LocalData, effort: Effort) -> LocalData:
    if len(rows.labels) <= effort.rows:
        return rows
    return chosen(rows, np.random.default_rng(effort.seed).permutation(len(rows.labels))[: effort.rows])


def _audit_training(plan: Plan, mechanism: DpSgd, name: str, effort: Effort) -> Iterator[AuditResult]:
    always = replace(mechanism, sampling_rate=1.0, steps=1)
    several = mechanism.with_steps(min(effort.rounds, plan.rounds))
    count = canaries_that_fit(plan.account_rows)
    for claimed, what, trials in (
        (always, "one step, canary always drawn", effort.trials),
        (several, f"{several.steps} rounds as sampled", effort.sampled_trials),
    ):
        if plan.parties == 1:
            local = LocalSteps(count=count, claimed=claimed, account_rows=plan.account_rows)
            yield audit_in_out(f"{name}: {what}", local, claimed, plan.delta, trials=trials, seed=effort.seed)
            continue
        for colluders, whom in _observers(claimed):
            summed = SummedSteps(
                count=count,
                claimed=claimed,
                circle=_circle(plan, "train"),
                bound=entry_bound(plan, "train"),
                colluders=colluders,
                account_rows=plan.account_rows,
            )
            against = claimed.against_colluders() if colluders else claimed
            full = f"{name}: {what}{whom}"
            yield audit_in_out(full, summed, against, plan.delta, trials=trials, seed=effort.seed)


def _audit_counts(plan: Plan, kind: Kind, mechanism: GaussianSum, name: str, effort: Effort) -> Iterator[AuditResult]:
    for colluders, whom in _observers(mechanism):
        counts = NoisyCounts(claimed=mechanism, circle=_circle(plan, kind), colluders=colluders)
        against = mechanism.against_colluders() if colluders else mechanism
        yield audit_in_out(f"{name}{whom}", counts, against, plan.delta, trials=effort.trials, seed=effort.seed)


def _observers(mechanism: Mechanism) -> Iterator[tuple[int, str]]:
    yield 0, ""
    if mechanism.colluding:
        yield mechanism.colluding, f", against {mechanism.colluding} colluding bank(s)"


def _circle(plan: Plan, kind: Kind) -> Circle:
    encoding: FixedPoint = parts_of(plan, kind, 1, plan.parties)[0].encoding
    return Circle(plan.parties, encoding)
