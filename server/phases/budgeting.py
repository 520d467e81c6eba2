"""What a phase would cost each bank in privacy, worked out from its plan before anybody approves it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fraudfl.config import AnyPhase, FraudflConfig, PhaseConfig
from fraudfl.data.schema import Contract
from fraudfl.errors import PrivacyError
from fraudfl.plan import Plan
from fraudfl.planning import make_plan
from fraudfl.privacy.accounting import Spent
from fraudfl.privacy.discretisation import discretisation_delta
from fraudfl.privacy.mechanisms import DpSgd, Mechanism
from fraudfl.protocols import Kind
from fraudfl.summed import parts_of

_BY_ROUND = ("train", "watch", "outcome")
_AT_THE_END = ("evaluate", "gain")
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Parts of a phase's rounds at which ε is stated."""
_PARTS: Mapping[Kind, str] = {
    "profile": "assessment",
    "sketch": "encoder",
    "train": "training",
    "look": "looks",
    "evaluate": "evaluation",
    "gain": "bins of gain",
    "watch": "windows",
    "outcome": "windows' labels",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a phase that ε pays for.

    Attributes:
        name: `encoder`, `training`, `evaluation` and so on.
        mechanism: What one release costs.
        releases: How many the phase plans, without spare attempts.
        epsilon: What these cost by themselves.
    """

    name: str
    mechanism: Mechanism
    releases: int
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a bank that took part in so many rounds has spent, encoder included; evaluation comes with the last.

    Attributes:
        share: Part of the phase's rounds.
        epsilon: Against the coordinator and outsiders.
        epsilon_colluding: Against as many colluding banks as the plan names.
    """

    share: float
    rounds: int
    epsilon: float
    epsilon_colluding: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one phase would cost each bank.

    Attributes:
        largest_delta: 1 / (10 units), above which δ is refused.
        parties, colluding: Banks that share the noise, and how many of them may collude.
        points: In the order of rounds.
        worst: With every spare attempt used.
        spare_cost: What ε grows by when one round more is tried.
        set_aside: Part of δ that is kept for whole numbers; 0 where none are used.
        discretisation: What whole numbers take of δ at most; None where sums are not made of them.
        rounds_per_bank: Most of them that one bank takes part in; `points` are shares of these.
        participation: Expected share of the rounds that one bank takes part in.
        expected: Where that is below 1, what a bank has then spent when the phase ends.
        not_covered: What leaves without privacy, by name.
    """

    phase: str
    plan_hash: str
    mode: str
    unit: str
    epsilon: float | None
    delta: float
    units: int
    largest_delta: float
    rounds: int
    rounds_per_bank: int
    spare_attempts: int
    parties: int
    colluding: int
    parts: tuple[Part, ...] = ()
    points: tuple[Point, ...] = ()
    worst: Point | None = None
    spare_cost: float = 0.0
    set_aside: float = 0.0
    discretisation: float | None = None
    participation: float = 1.0
    expected: Point | None = None
    not_covered: tuple[str, ...] = ()


def forecast(config: FraudflConfig, phase: AnyPhase, contract: Contract) -> Forecast:
    """Work out what one phase would cost.

    Raises:
        ConfigError: when its banks are too few for its rounds.
        PrivacyError: when its noise cannot keep its ε, or its whole numbers take more of δ than is set aside.
    """
    plan = make_plan(config, phase, contract)
    if isinstance(phase, PhaseConfig) and (banks := _banks(config, phase)) is not None:
        phase.refuse_too_few(banks)
    terms = _terms(plan)
    if not plan.private:
        return terms
    points = tuple(_point(plan, share, math.ceil(share * plan.rounds_per_bank)) for share in SHARES)
    worst = _worst(plan)
    one_more = _spent(plan, plan.rounds_per_bank + 1, ended=True).epsilon(plan.delta)
    participation = _participation(config, phase)
    asked = math.ceil(participation * plan.rounds)
    expected = _point(plan, 1.0, asked) if asked < plan.rounds_per_bank else None
    discretisation = _discretisation(plan, phase)
    _refuse_coarse(plan, discretisation)
    return replace(
        terms,
        parts=tuple(_parts(plan)),
        points=points,
        worst=worst,
        spare_cost=one_more - points[-1].epsilon,
        set_aside=plan.privacy.delta - plan.delta,
        discretisation=discretisation,
        participation=participation,
        expected=expected,
        not_covered=plan.not_covered,
    )


def what_if(plan: Plan, rounds: int, noise_multiplier: float) -> Point:
    """What a bank would spend in the whole phase with another number of rounds, or other noise in training.

    Everything else stays as the plan has it. The composition is the ledger's.

    Raises:
        PrivacyError: when the plan promises nothing, so that there is no mechanism to change.
        ValueError: when there are no rounds, or no noise.
    """
    if plan.noise_multiplier is None:
        raise PrivacyError(f"the plan of {plan.phase} trains without noise, so there is no ε to ask about")
    if rounds < 1 or not noise_multiplier > 0:
        raise ValueError(f"{rounds} rounds at noise {noise_multiplier:g}; expected at least 1, and more than 0")
    terms = plan.privacy.model_copy(update={"rounds_per_bank": None})
    other = plan.model_copy(update={"rounds": rounds, "noise_multiplier": noise_multiplier, "privacy": terms})
    return _point(other, 1.0, rounds)


def _terms(plan: Plan) -> Forecast:
    """What the plan says, without a cost yet."""
    privacy = plan.privacy
    return Forecast(
        phase=plan.phase,
        plan_hash=plan.hash,
        mode=privacy.mode,
        unit=privacy.unit,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        units=privacy.units,
        largest_delta=1 / (10 * privacy.units),
        rounds=plan.rounds,
        rounds_per_bank=plan.rounds_per_bank,
        spare_attempts=privacy.spare_attempts,
        parties=plan.parties,
        colluding=max((found.colluding for kind in _PARTS if (found := _mechanism(plan, kind)) is not None), default=0),
    )


def _parts(plan: Plan) -> Iterator[Part]:
    for kind, name in _PARTS.items():
        mechanism = _mechanism(plan, kind)
        if mechanism is not None:
            releases = _times_in(plan, kind, plan.rounds_per_bank, ended=True)
            cost = Spent().add(mechanism, releases).epsilon(plan.delta)
            yield Part(name=name, mechanism=mechanism, releases=releases, epsilon=cost)


def _spent(plan: Plan, rounds: int, *, ended: bool) -> Spent:
    """After so many rounds or windows; what is asked once is asked before them, but for what ends a phase."""
    return _added(plan, {kind: _times_in(plan, kind, rounds, ended=ended) for kind in _PARTS})


def _times_in(plan: Plan, kind: Kind, rounds: int, *, ended: bool) -> int:
    if kind == "look":
        return len(plan.looks) if rounds >= plan.rounds_per_bank else sum(number <= rounds for number in plan.looks)
    return rounds if kind in _BY_ROUND else int(ended or kind not in _AT_THE_END)


def _added(plan: Plan, times: Mapping[Kind, int]) -> Spent:
    spent = Spent()
    for kind, count in times.items():
        mechanism = _mechanism(plan, kind)
        if mechanism is not None and count > 0:
            spent = spent.add(mechanism, count)
    return spent


def _mechanism(plan: Plan, kind: str) -> Mechanism | None:
    """What a release of a kind costs, where the plan has any."""
    return plan.mechanism(kind) if kind in plan.releases else None


def _point(plan: Plan, share: float, rounds: int) -> Point:
    return _stated(plan, share, rounds, _spent(plan, rounds, ended=share == 1))


def _worst(plan: Plan) -> Point:
    rounds = plan.rounds_per_bank + plan.privacy.spare_attempts
    return _stated(plan, 1.0, rounds, _added(plan, {kind: plan.paid_releases(kind) for kind in _PARTS}))


def _stated(plan: Plan, share: float, rounds: int, spent: Spent) -> Point:
    colluding = spent.against_colluders().epsilon(plan.delta)
    return Point(share=share, rounds=rounds, epsilon=spent.epsilon(plan.delta), epsilon_colluding=colluding)


def _participation(config: FraudflConfig, phase: AnyPhase) -> float:
    """Cohorts are drawn from those asked least so far, so that banks take turns."""
    banks = _banks(config, phase)
    return 1.0 if phase.cohort is None or banks is None else min(1.0, phase.cohort / banks)


def _banks(config: FraudflConfig, phase: AnyPhase) -> int | None:
    """Banks that take part, as far as the configuration tells."""
    chosen = phase.banks
    if chosen.names or chosen.count:
        return chosen.count or len(chosen.names)
    if config.data.source == "generated":
        there: int | None = config.data.generator.banks
    else:
        there = len(config.banks.shares) if config.banks.shares else config.banks.count
    if there is None:
        return None
    return math.ceil((chosen.share or 1.0) * max(1, there - len(chosen.without)))


def _discretisation(plan: Plan, phase: AnyPhase) -> float | None:
    """What whole numbers take of δ in the whole phase, spare attempts included, also against colluding banks."""
    if plan.privacy.mode != "distributed" or plan.privacy.epsilon is None:
        return None
    width = plan.encoder.most_inputs
    total = 0.0
    for kind in _PARTS:
        mechanism, times = plan.mechanism(kind), plan.paid_releases(kind)
        if mechanism is None:
            continue
        for part in parts_of(plan, kind, width, phase.cohort or plan.min_cohort):
            event = _times(mechanism, times).against_colluders()
            grid = part.encoding
            total += discretisation_delta(
                event, step=grid.step, width=grid.step * 2.0**grid.bits, size=part.size, epsilon=plan.privacy.epsilon
            )
    return total


def _times(mechanism: Mechanism, times: int) -> Mechanism:
    if isinstance(mechanism, DpSgd):
        return mechanism.with_steps(mechanism.steps * times)
    return replace(mechanism, releases=mechanism.releases * times)


def _refuse_coarse(plan: Plan, found: float | None) -> None:
    aside = plan.privacy.delta - plan.delta
    if found is not None and found > aside:
        raise PrivacyError(
            f"phase {plan.phase}: adding up whole numbers takes up to {found:.3g} of δ, and {aside:.3g} is set aside "
            "for it; plan fewer rounds, a smaller model or a larger δ"
        )
