"""A report with everything in it, made of figures that no run has to produce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fraudfl.privacy.mechanisms import DpSgd, GaussianSum
from fraudfl.report.facts import (
    AuditResult,
    Content,
    DataPart,
    DataUsed,
    Decided,
    LedgerRecord,
    Left,
    Participant,
    Phase,
    PolicyRules,
    Promise,
    Report,
    Secure,
    Software,
    Spending,
    Subject,
    Total,
    Trained,
)

NOON = "2026-03-02T12:00:00+00:00"
TRAIN = DpSgd(
    sampling_rate=0.05, noise_multiplier=1.034, clip_norm=1.0, steps=1, expected_batch=5e4, parties=8, colluding=2
)
COUNT = GaussianSum(noise_multiplier=12.3, sensitivity=3.6, parties=8, colluding=2)
SPENDING = Spending(
    unit="transaction",
    delta=1e-7,
    epsilon=2.713,
    epsilon_colluding=3.211,
    colluding=2,
    cap=3.0,
    left=0.287,
    charges=1001,
    method="PLD",
    basis="ledger",
)
DATA = DataUsed(
    parts=(
        DataPart(part="train", rows=123456, first="2025-01-31", last="2025-03-20"),
        DataPart(part="test", rows=0, first="", last=""),
    ),
    source_digest="ef" * 32,
)
LEDGER = LedgerRecord(
    bank="north",
    entries=6132,
    head="9a" * 32,
    verified=True,
    problem="",
    events={"released": 3009, "reserved": 3013},
    witness="",
)
AUDIT = AuditResult(
    name="in/out",
    mechanism="dp-sgd",
    claimed=3.0,
    lower_bound=2.41,
    confidence=0.999,
    trials=6000,
    verdict="sound",
    detail="canary of norm C",
)


def left(kind: str, *contents: tuple[str, bool], releases: int = 1, mechanism: Any = None) -> Left:
    return Left(
        kind=kind,
        contents=tuple(Content(name=name, covered=covered, summed=True) for name, covered in contents),
        releases=releases,
        bytes=3800 * releases,
        resent=2,
        bytes_resent=7600,
        mechanism=None if mechanism is None else mechanism.to_dict(),
    )


PHASE = Phase(
    name="rollout",
    kind="rollout",
    plan_hash="c" * 64,
    plan_known=True,
    status="approved; all rounds have left",
    began="2026-03-01T09:00:00.000000+00:00",
    ended="2026-03-02T09:00:00.000000+00:00",
    decisions=(Decided(decision="approve", by="Jana Novák", at="2026-03-01T08:00:00+00:00", reason="minutes 114"),),
    trained=Trained(
        model="logistic regression",
        strategy="federated averaging",
        rounds_planned=1000,
        rounds_done=1000,
        attempts=3,
        encoder_digest="ab" * 32,
        model_digest="cd" * 8,
        model_holds="last model received",
    ),
    promise=Promise(
        mode="distributed", unit="transaction", unit_rows=1, epsilon=3.0, delta=1e-7, units=10**6, delta_limit=1e-7
    ),
    secure=Secure(min_cohort=8, colluding=2, coordinator="malicious", recover=True),
    spending=SPENDING,
    left=(
        left("join"),
        left("sketch", ("encoder sketches", True), mechanism=COUNT),
        left("train", ("model updates", True), releases=1000, mechanism=TRAIN),
        left("evaluate", ("score histograms", False)),
    ),
    open=4,
    refused={"NotNow": 12},
    restored=0,
    measured_up=None,
    measured_down=None,
    data=DATA,
    roster=None,
    participants=(),
)


@pytest.fixture
def phase() -> Callable[..., Phase]:
    """The one phase, but for what is given."""
    return lambda **facts: PHASE.model_copy(update=facts)


@pytest.fixture
def report() -> Callable[..., Report]:
    """A bank's report, but for what is given."""

    def make(**facts: Any) -> Report:
        usual: dict[str, Any] = {
            "made_at": NOON,
            "setting": "deployment",
            "subject": Subject(kind="bank", name="north", consortium="small"),
            "signer": "SHA256:abc",
            "first": PHASE.began,
            "last": PHASE.ended,
            "software": Software(version="1.2", packages=("fraudfl",), program_digest="0" * 64, libraries={"x": "1"}),
            "phases": (PHASE,),
            "undecided": 0,
            "unasked": 0,
            "totals": (Total(window="all", since="", spending=SPENDING),),
            "policy": PolicyRules(
                digest="12" * 32,
                uncovered=("score histograms",),
                epsilon_phase=3.0,
                epsilon_month=None,
                epsilon_total=None,
                automatic=False,
            ),
            "ledgers": (LEDGER,),
            "audit": (AUDIT,),
            "problems": (),
        }
        return Report.named(**(usual | facts))

    return make


@pytest.fixture
def consortium(report: Callable[..., Report]) -> Callable[..., Report]:
    """A consortium's report over so many banks and rounds."""

    def make(banks: int, rounds: int) -> Report:
        names = [f"bank-{number:03}" for number in range(banks)]
        trained = PHASE.trained
        assert trained is not None
        phase = PHASE.model_copy(
            update={
                "trained": trained.model_copy(update={"rounds_planned": rounds, "rounds_done": rounds}),
                "participants": tuple(
                    Participant(bank=name, rounds=max(0, rounds - place), missed=place, accepted_at=NOON, epsilon=2.7)
                    for place, name in enumerate(names)
                ),
                "decisions": (),
                "data": None,
                "roster": banks,
            }
        )
        return report(
            subject=Subject(kind="consortium", name="small", consortium="small"),
            phases=(phase,),
            ledgers=tuple(LEDGER.model_copy(update={"bank": name}) for name in names),
            policy=None,
        )

    return make
