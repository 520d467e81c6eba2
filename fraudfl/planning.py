"""Making a plan of what the configuration says: defaults filled in, noise calibrated."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from fraudfl import costs
from fraudfl.assessment.spec import profile_spec
from fraudfl.config import AnyPhase, AssessmentConfig, Codec, FraudflConfig, MonitoringConfig, PhaseConfig, SplitConfig
from fraudfl.data.schema import Contract
from fraudfl.errors import PlanError
from fraudfl.features.declaration import declare, declare_categorical
from fraudfl.features.sketch import EncoderSpec
from fraudfl.metrics.histogram import ScoreBins
from fraudfl.monitoring.spec import WatchSpec, coarse
from fraudfl.plan import Plan, releases_of
from fraudfl.privacy.accounting import calibrate_jointly
from fraudfl.privacy.mechanisms import GaussianSum, Mechanism
from fraudfl.transfer.settling import settle_codec


def make_plan(config: FraudflConfig, phase: AnyPhase, contract: Contract) -> Plan:
    """Fill in everything that a phase leaves to defaults, noise included.

    Raises:
        PlanError: when accounts are the unit of privacy, and the data has none; or when no codec fits the budget.
        PrivacyError: when no noise keeps the phase within its ε.
    """
    if phase.privacy.mode != "none" and phase.privacy.unit == "account" and "account" not in contract.columns:
        raise PlanError(
            f"phase {phase.name}: privacy.unit is `account`, but the data has no column `account` (it has "
            f"{', '.join(contract.columns)}); set `unit: transaction`, or map a column to `account`"
        )
    draft = _draft(config, phase, contract)
    draft = draft.model_copy(update=_of_kind(config, phase, draft))
    draft = draft.model_copy(update=_noise(draft))
    draft = draft.model_copy(update={"releases": releases_of(draft)})
    if isinstance(phase, PhaseConfig):
        draft = draft.model_copy(update={"codec": settle_codec(draft, phase.codec, phase.cohort)})
    return Plan(**dict(draft))


def _draft(config: FraudflConfig, phase: AnyPhase, contract: Contract) -> Plan:
    """A plan of no kind of phase yet, without noise and without its list of releases."""
    neutral = PhaseConfig(name=phase.name)
    return Plan.model_construct(
        consortium=config.consortium.name,
        phase=phase.name,
        kind=phase.kind,
        seed=config.consortium.seed,
        rounds=0,
        attempts=phase.attempts,
        contract=contract,
        features=config.features,
        encoder=_encoder_spec(config, contract),
        model=config.model,
        training=config.training,
        given_start=False,
        split=phase.split or config.split,
        privacy=phase.privacy,
        noise_multiplier=None,
        encoder_noise=None,
        evaluation_noise=None,
        look_noise=None,
        profile_noise=None,
        watch_noise=None,
        secure_aggregation=phase.secure_aggregation,
        strategy=neutral.strategy,
        codec=Codec(),
        score_bins=ScoreBins(count=phase.score_bins),
        evaluate_every=neutral.evaluate_every,
        early_stop=None,
        alert_budget=phase.alert_budget,
        alone=False,
        profile=None,
        watch=None,
        max_update_norm=neutral.max_update_norm,
    )


def _of_kind(config: FraudflConfig, phase: AnyPhase, plan: Plan) -> dict[str, Any]:
    """What only this kind of phase has."""
    if isinstance(phase, AssessmentConfig):
        return {"profile": profile_spec(plan.contract, plan.split, config.encoder.categories, private=plan.private)}
    if isinstance(phase, MonitoringConfig):
        watch = _watch(phase, plan)
        return {"watch": watch, "rounds": watch.windows, "given_start": True}
    training = phase.training or config.training
    if phase.strategy.name == "fedprox" and training.proximal_mu == 0:
        training = training.model_copy(update={"proximal_mu": 0.01})
    return {
        "rounds": phase.rounds,
        "training": training,
        "given_start": phase.start is not None,
        "strategy": phase.strategy,
        "evaluate_every": phase.evaluate_every,
        "early_stop": phase.early_stop,
        "alone": "alone" in phase.baselines,
        "max_update_norm": phase.max_update_norm,
    }


def _watch(phase: MonitoringConfig, plan: Plan) -> WatchSpec:
    first = phase.first or _day_after_test(plan.split)
    if first is None:
        raise PlanError(
            f"phase {phase.name}: the split is not by time, so that there is no day after it; set `first`, the first "
            "day to watch"
        )
    return WatchSpec(
        first=first,
        window_days=phase.window_days,
        windows=phase.windows,
        quiet=phase.quiet,
        labels_after_days=phase.labels_after_days,
        features=coarse(plan.encoder, phase.bins_per_decade),
    )


def _day_after_test(split: SplitConfig) -> date | None:
    if split.origin is None or split.test_days is None:
        return None
    return split.origin + timedelta(days=split.test_days[1] + 1)


def _encoder_spec(config: FraudflConfig, contract: Contract) -> EncoderSpec:
    listed = config.encoder.categories
    columns = declare_categorical(config.features, contract)
    return EncoderSpec(
        numeric=tuple(feature.name for feature in declare(config.features, contract)),
        categorical={name: listed.get(name, ()) for name in columns},
        bins_per_decade=config.encoder.bins_per_decade,
        smallest=config.encoder.smallest,
        largest=config.encoder.largest,
        scaling=config.encoder.scaling,
        min_category_count=config.encoder.min_category_count,
    )


def _noise(plan: Plan) -> dict[str, float]:
    """Noise multipliers: counts by their shares of ε, training by what their composition leaves."""
    privacy = plan.privacy
    if privacy.epsilon is None or not plan.private:
        return {}
    if plan.profile is not None:
        return {"profile_noise": _counting(plan, ("profile",), privacy.epsilon).noise_multiplier}
    if plan.watch is not None:
        return {"watch_noise": _counting(plan, ("watch", "outcome"), privacy.epsilon).noise_multiplier}
    noise: dict[str, float] = {}
    fixed: list[Mechanism] = []
    evaluated = ("evaluate", "gain") if plan.alone else ("evaluate",)
    shares: list[tuple[str, float, tuple[str, ...]]] = [("evaluation_noise", privacy.evaluation_share, evaluated)]
    if plan.early_stop is not None:
        shares.append(("look_noise", privacy.look_share, ("look",)))
    if not plan.given_start:
        shares.insert(0, ("encoder_noise", privacy.encoder_share, ("sketch",)))
    for field, share, kinds in shares:
        if share > 0:
            fixed.append(_counting(plan, kinds, share * privacy.epsilon))
            noise[field] = fixed[-1].noise_multiplier
    steps = plan.paid_releases("train") * privacy.steps_per_round
    training = costs.training(plan, 1.0, steps)
    noise["noise_multiplier"] = calibrate_jointly(fixed, training, privacy.epsilon, plan.delta)
    return noise


def _counting(plan: Plan, kinds: tuple[str, ...], epsilon: float) -> GaussianSum:
    """All releases of some kinds with one noise multiplier, on which alone their cost depends, at a cost of ε."""
    times = sum(plan.paid_releases(kind) for kind in kinds)
    return replace(costs.counting(plan, kinds[0], 1.0), releases=times).calibrate(epsilon, plan.delta)
