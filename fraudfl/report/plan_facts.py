"""What a plan promises, trains and lists, in the report's values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fraudfl.features.encoder import Encoder
from fraudfl.plan import Plan
from fraudfl.protocols import KINDS
from fraudfl.report.facts import Content, Left, Promise, Secure, Trained
from fraudfl.report.records import Tally

_ORDER: dict[str, int] = {kind: place for place, kind in enumerate(KINDS)}
_NAMES = {
    "fedavg": "federated averaging",
    "fedprox": "federated averaging with a proximal term",
    "fedavgm": "federated averaging with server momentum",
    "fedadam": "federated Adam",
    "fedtrimmedavg": "trimmed mean",
    "fedmedian": "coordinate-wise median",
    "krum": "Krum",
    "dpsgd": "DP-SGD on the union of the banks' transactions",
    "dpadam": "DP-Adam on the union of the banks' transactions",
}


def trained_of(plan: Plan, rounds_done: int, encoder: str, model: str, holds: str) -> Trained:
    """What the plan trains, and what this side holds of it.

    Args:
        encoder, model: Digests; empty where this side holds none.
        holds: What `model` is the digest of.
    """
    return Trained(
        model=_model_in_words(plan),
        strategy=_NAMES.get(plan.strategy.name, plan.strategy.name),
        rounds_planned=plan.rounds,
        rounds_done=rounds_done,
        attempts=plan.attempts,
        encoder_digest=encoder,
        model_digest=model,
        model_holds=holds if model else "",
    )


def encoder_digest(path: Path) -> str:
    """The digest of an encoder's file; raises DataError or OSError when it is none."""
    return Encoder.from_bytes(path.read_bytes()).digest


def _model_in_words(plan: Plan) -> str:
    """The kind of model and its size."""
    if plan.model.kind == "logistic":
        return "logistic regression"
    layers = ", ".join(str(width) for width in plan.model.hidden)
    return f"neural network with hidden layers of {layers} units"


def promise_of(plan: Plan) -> Promise:
    """What the plan promises about privacy."""
    privacy = plan.privacy
    return Promise(
        mode=privacy.mode,
        unit=privacy.unit,
        unit_rows=plan.unit_rows,
        epsilon=privacy.epsilon if plan.private else None,
        delta=privacy.delta,
        units=privacy.units,
        delta_limit=1 / (10 * privacy.units),
    )


def secure_of(plan: Plan) -> Secure | None:
    """How the plan adds up over banks; None where the coordinator sees each bank's own figures."""
    found = plan.secure_aggregation
    if found is None:
        return None
    return Secure(
        min_cohort=found.min_cohort, colluding=found.colluding, coordinator=found.coordinator, recover=found.recover
    )


def left_of(plan: Plan | None, tallies: Mapping[str, Tally]) -> tuple[Left, ...]:
    """What left, by kind of request, in the order of a phase.

    A content is covered only where the plan says so and a release of that kind carries a mechanism.
    """
    listed = {*tallies, *(() if plan is None else plan.releases)}
    kinds = sorted(listed, key=lambda kind: (_ORDER.get(kind, len(_ORDER)), kind))
    return tuple(_left(plan, kind, tallies.get(kind, Tally())) for kind in kinds)


def _left(plan: Plan | None, kind: str, tally: Tally) -> Left:
    mechanism = None if plan is None else plan.mechanism(kind)
    rules = () if plan is None else plan.releases.get(kind, ())
    return Left(
        kind=kind,
        contents=tuple(
            Content(name=rule.content, covered=rule.covered and mechanism is not None, summed=rule.summed)
            for rule in rules
        ),
        releases=tally.releases,
        bytes=tally.bytes,
        resent=tally.resent,
        bytes_resent=tally.bytes_resent,
        mechanism=None if mechanism is None else mechanism.to_dict(),
    )
