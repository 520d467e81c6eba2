"""One phase from the first question to the registered model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from fraudfl.features.encoder import Encoder
from fraudfl.models.bundle import Bundle
from fraudfl.plan import Plan
from fraudfl.transfer.savings import RawSizes, TransferSummary, over_banks, summarise
from pipelines.comparison import compare, contenders_of, scored_histograms
from pipelines.early_stop import early_stop_outcome, rounds_of_model
from pipelines.encoding import fit_shared_encoder, join, take_start
from pipelines.evaluated import Evaluation, keep_evaluation
from pipelines.evaluation import evaluate, evaluate_alone
from pipelines.gain import count_gains, gain_metrics
from pipelines.model_card import model_card
from pipelines.training import train_rounds
from pipelines.way_scores import WayScores, evaluation_noise, keep_way_scores
from pipelines.world import Phase, State


def run_phase(phase: Phase, baselines: tuple[str, ...]) -> dict[str, Any]:
    """Run a phase, or go on with one that a checkpoint holds; returns its outcome for `summary.json`.

    Args:
        baselines: What to compare with, beyond what the plan asks of banks; needs `world.pooled`.

    Raises:
        QuorumError: when too few banks answer, after all attempts.
    """
    started = time.monotonic()
    world, plan = phase.world, phase.plan
    if not continued(phase):
        _begin(phase)
    train_rounds(phase)
    evaluation = evaluate(phase)
    keep_evaluation(world.folder, evaluation)
    alone = evaluate_alone(phase) if plan.alone else None
    gains = count_gains(phase) if plan.alone else None
    # What the last questions moved belongs to the record, too.
    phase.save()
    if world.pooled is None:
        metrics, scores = _released_metrics(evaluation, alone), _released_scores(plan, evaluation, alone)
    else:
        world.progress.event("comparing", baselines=list(baselines))
        # Contenders are set side by side on the rows of banks that scored with each of them.
        banks = evaluation.banks if alone is None else evaluation.banks & alone.banks
        contenders = contenders_of(world.pooled.only(banks), baselines)
        metrics = compare(plan, contenders)
        scores = WayScores("exact", len(banks), 0.0, scored_histograms(contenders))
    keep_way_scores(world.folder, scores)
    metrics |= gain_metrics(plan, gains, world.pooled)
    outcome = outcome_so_far(phase) | {"status": "completed", "metrics": metrics}
    outcome["seconds"] = time.monotonic() - started
    outcome["model_version"] = _register(phase, evaluation, outcome)
    return outcome


def outcome_so_far(phase: Phase) -> dict[str, Any]:
    """What `summary.json` says of a phase, whatever became of it."""
    plan, state, world = phase.plan, phase.state, phase.world
    raw = world.pooled.raw_sizes() if world.pooled is not None else {}
    present = {bank: sizes for bank, sizes in raw.items() if bank in state.took_part}
    return {
        "name": plan.phase,
        "kind": plan.kind,
        "status": "failed",
        "roster": len(world.fleet.banks()),
        "banks": len(state.took_part),
        "rounds": state.round,
        "plan_hash": plan.hash,
        "model_version": None,
        "excluded": state.excluded,
        "gates": [],
        "metrics": None,
        "privacy": {
            "mode": plan.privacy.mode,
            "unit": plan.privacy.unit,
            "delta": plan.privacy.delta if plan.private else None,
            "epsilon_max": None,
            "secure_aggregation": plan.secure_aggregation is not None,
            "not_covered": list(plan.not_covered),
        },
        "transfer": _transfer(state, present),
        **({"savings_over_banks": asdict(over_banks(state.meter, present))} if present else {}),
        "seconds": state.seconds,
        **early_stop_outcome(phase),
    }


def _transfer(state: State, raw: Mapping[str, RawSizes]) -> dict[str, Any]:
    if raw:
        return asdict(summarise(state.meter, raw))
    # Nothing to compare with: nobody took part, or this is no simulation.
    return asdict(TransferSummary(state.meter.bytes_up, state.meter.bytes_down, 0, 0, 0.0, 0.0, 0.0))


def continued(phase: Phase) -> bool:
    """Take up what a checkpoint holds; False where there is none, and the phase begins."""
    checkpoint = phase.world.checkpoints.latest()
    if checkpoint is None:
        return False
    before = phase.state.seen
    phase.state, own = State.from_checkpoint(checkpoint)
    for bank, last in before.items():
        phase.state.seen[bank] = max(last, phase.state.seen.get(bank, (0, "")))
    phase.world.aggregator.restore(own)
    phase.world.progress.event("resumed", round=phase.state.round)
    return True


def meet(phase: Phase) -> None:
    """Find out who is there, and let every bank take the plan."""
    for bank, (down, up) in phase.world.fleet.overhead().items():
        phase.state.meter.add(bank, "down", "hello", down)
        phase.state.meter.add(bank, "up", "hello", up)
    join(phase)


def _begin(phase: Phase) -> None:
    meet(phase)
    if phase.plan.given_start:
        take_start(phase)
    else:
        fit_shared_encoder(phase)
    phase.save()


def _released_metrics(evaluation: Evaluation, alone: Evaluation | None) -> dict[str, Any]:
    def row(found: Evaluation) -> dict[str, float | None]:
        return found.figures.to_dict() | {"auprc_bank_mean": None}

    return {
        "source": "released",
        "federated": row(evaluation),
        "alone": None if alone is None else row(alone),
        "pooled": None,
        "xgboost": None,
        "intervals": {},
        "per_bank": None,
    }


def _released_scores(plan: Plan, evaluation: Evaluation, alone: Evaluation | None) -> WayScores:
    by_way = {"federated": evaluation.test} | ({} if alone is None else {"alone": alone.test})
    return WayScores("released", len(evaluation.banks), evaluation_noise(plan, len(evaluation.banks)), by_way)


def _register(phase: Phase, evaluation: Evaluation, outcome: dict[str, Any]) -> int:
    plan, state = phase.plan, phase.state
    bundle = Bundle(
        encoder=Encoder.from_bytes(state.encoder),
        model=plan.model,
        weights=np.asarray(state.model, dtype=np.float32),
        thresholds=evaluation.thresholds,
        metadata={
            "consortium": plan.consortium,
            "phase": plan.phase,
            "plan_hash": plan.hash,
            "rounds": rounds_of_model(phase),
            "contract": plan.contract.model_dump(mode="json"),
            "features": plan.features.model_dump(mode="json"),
        },
    )
    folder = phase.world.folder / "bundle"
    bundle.save(folder, card=model_card(plan, outcome))
    version = phase.world.registry.register(outcome, str(folder))
    phase.world.progress.event("registered", version=version)
    return version
