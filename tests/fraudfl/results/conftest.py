"""A report of results with everything in it, made of figures that no run has to produce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fraudfl.report.facts import Software, Subject
from fraudfl.results.facts import Decision, Gate, Model, PhaseResult, Promotion, Released, Results
from fraudfl.results.kinds import Action, Ahead, Alert, Column, Moved, Readiness, WatchedWindow, Watching
from fraudfl.results.measured import (
    Compared,
    Contender,
    Estimate,
    GainBins,
    Kind,
    Round,
    Spent,
    TookPart,
    Transfer,
)

NOON = "2026-03-02T12:00:00+00:00"


def est(value: float, reach: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - reach, high=value + reach)


def way(name: str, value: float) -> Contender:
    facts = {figure: est(value) for figure in ("auprc", "balanced_accuracy", "auroc", "recall_at_budget")}
    return Contender(way=name, **facts)  # type: ignore[arg-type]


def plain_phase(**facts: Any) -> PhaseResult:
    """A phase in which nothing was measured; `facts` say what was."""
    return PhaseResult.model_validate(
        {
            "name": "assessment",
            "kind": "assessment",
            "within": "",
            "status": "completed",
            "plan_hash": "ab" * 32,
            "began": NOON,
            "ended": NOON,
            "seconds": 61.2,
            "start": "",
            "rounds_planned": 0,
            "rounds": (),
            "took_part": TookPart(asked=12, banks=11, fewest=None, median=None, most=None, left_out=0),
            "spent": Spent(
                mode="none",
                unit="transaction",
                promised=None,
                epsilon=None,
                delta=None,
                secure_aggregation=True,
                not_covered=("counts",),
            ),
            "source": None,
            "ways": (),
            "compared": (),
            "gains": None,
            "transfer": Transfer(
                up=80_000,
                down=140_000,
                kinds=(),
                raw_csv=None,
                raw_parquet=None,
                vs_csv=None,
                vs_parquet=None,
                worst=None,
            ),
            "gates": (),
            "version": None,
            "promotion": None,
            "readiness": None,
            "watching": None,
        }
        | facts
    )


def assessed() -> PhaseResult:
    column = Column(name="amount", banks=Estimate(value=12), filled=est(0.97, 0.01), kept=True, reason="")
    lost = Column(name="channel", banks=Estimate(value=3), filled=est(0.2), kept=False, reason="3 of 12 banks have it")
    ahead = Ahead(phase="rollout", banks=12, rounds=40, up=10**6, down=10**6, seconds=90.0, epsilon=3.0)
    found = Readiness(
        banks=11,
        ready=est(9, 1),
        rows=est(360_000, 500),
        train_frauds=est(900, 40),
        test_frauds=est(150, 30),
        columns=(column, lost),
        categories={"currency": ("EUR", "GBP")},
        power="With 150 frauds to test on, the gate passes with a chance of 67%.",
        ahead=(ahead,),
    )
    return plain_phase(readiness=found)


def rolled_out(**facts: Any) -> PhaseResult:
    released = Released(by="Ada Example", reason="see the minutes", at=NOON)
    both = Compared(
        figure="balanced_accuracy", rival="xgboost alone", alone=est(0.85), federated=est(0.92), gain=est(0.07, 0.03)
    )
    return plain_phase(
        **{
            "name": "rollout",
            "kind": "rollout",
            "start": "version 1",
            "rounds_planned": 3,
            "rounds": (
                Round(number=1, banks=11, auprc=0.2, loss=0.04),
                Round(number=2, banks=9, auprc=None, loss=0.03),
                Round(number=3, banks=12, auprc=0.4, loss=0.02),
            ),
            "took_part": TookPart(asked=12, banks=12, fewest=2, median=3, most=3, left_out=4),
            "spent": Spent(
                mode="distributed",
                unit="transaction",
                promised=3.0,
                epsilon=2.905,
                delta=1e-7,
                secure_aggregation=True,
                not_covered=("score histograms",),
            ),
            "source": "exact",
            "ways": (way("federated", 0.92), way("alone", 0.8), way("xgboost alone", 0.85), way("pooled", 0.93)),
            "compared": (both, both.model_copy(update={"figure": "auprc"})),
            "gains": GainBins(
                edges=(-0.2, -0.1, -0.05, -0.02, -0.01, 0.01, 0.02, 0.05, 0.1, 0.2),
                counts=(0, 0, 0, 1, 0, 2, 0, 3, 4.4, 1, 0),
                undefined=1.2,
                noise=0.8,
            ),
            "transfer": Transfer(
                up=4_000_000,
                down=2_000_000,
                kinds=(
                    Kind(kind="train", up=3_900_000, down=1_900_000),
                    Kind(kind="evaluate", up=100_000, down=100_000),
                ),
                raw_csv=30_000_000,
                raw_parquet=9_000_000,
                vs_csv=Estimate(value=0.8, low=0.62, high=0.91),
                vs_parquet=0.33,
                worst=0.55,
            ),
            "gates": (
                Gate(name="gain", outcome="hold", reason="0.02, between 0.01 and 0.03", released=released),
                Gate(name="spend", outcome="pass", reason="2.9. Asked for: at most 3", released=None),
            ),
            "version": 2,
            "promotion": Promotion(done=True, reason="the challenger is better"),
        }
        | facts
    )


def watched() -> PhaseResult:
    moved = (Moved(name="score", psi=0.01, p=0.5), Moved(name="amount", psi=0.31, p=1e-9))
    windows = tuple(
        WatchedWindow(
            number=number,
            first=f"2025-0{number}-01",
            model=2,
            rows=20_000,
            drifts=() if number < 4 else moved,
            alert_rate=est(0.01, 0.001),
            auprc=None if number == 6 else est(0.5),
            recall_at_budget=None if number == 6 else est(0.6),
            missed=None if number < 4 else est(1.0 + number / 4, 0.4),
        )
        for number in range(1, 7)
    )
    alert = Alert(rule="data-moved", severity="warning", window=5, day="2025-05-31", reason="psi_max is 0.31")
    lost = Action(
        action="retrain",
        day="2025-06-01",
        alert="data-moved",
        phase="watch-retrain-1",
        version=3,
        done=False,
        reason="no",
    )
    back = Action(
        action="rollback", day="2025-06-02", alert="data-moved", phase="", version=1, done=True, reason="worse"
    )
    found = Watching(quiet=3, planned=8, windows=windows, alerts=(alert,), actions=(lost, back))
    return plain_phase(name="watch", kind="monitoring", watching=found)


def models() -> tuple[Model, ...]:
    first = Model(
        version=1,
        aliases=("previous",),
        phase="pilot",
        parent=None,
        digest="cd" * 32,
        created=NOON,
        tested=("2025-02-12", "2025-03-01"),
        auprc=est(0.4),
        epsilon=None,
        banks=6,
        holds=(),
    )
    later = {"version": 2, "aliases": ("champion",), "phase": "rollout", "parent": 1, "epsilon": 3.0}
    return first, first.model_copy(update=later)


@pytest.fixture
def phase() -> Callable[..., PhaseResult]:
    """A phase that trained, with other facts where they are given."""
    return rolled_out


@pytest.fixture
def results() -> Callable[..., Results]:
    """The whole report, with other facts where they are given."""

    def make(**facts: Any) -> Results:
        challenger = rolled_out(
            name="watch-retrain-1", within="watch", gates=(), compared=(), version=3, promotion=None
        )
        own = {
            "made_at": NOON,
            "setting": "simulation",
            "subject": Subject(kind="consortium", name="harbour", consortium="harbour"),
            "signer": "",
            "first": NOON,
            "last": NOON,
            "software": Software(version="0.1.0", packages=("fraudfl",), program_digest="12" * 32, libraries={}),
            "headline": "rollout",
            "phases": (assessed(), rolled_out(), watched(), challenger),
            "models": models(),
            "decisions": (
                Decision(
                    action="promote",
                    at=NOON,
                    by="phase rollout",
                    reason="promote: if-better",
                    champion=2,
                    replaced=1,
                    forced=False,
                    figures="auprc 0.5 against 0.4",
                ),
            ),
            "problems": (),
        }
        return Results.named(**own | facts)

    return make
