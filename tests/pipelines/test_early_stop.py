"""Training that ends when looks surely gain nothing: the best model is kept, and what was not done costs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from memory_fleet import INSTANCE, PRIVATE, SECURE, Consortium, KilledError
from sklearn.metrics import average_precision_score

from fraudfl.metrics.looks import Course
from fraudfl.models.bundle import Bundle
from fraudfl.models.mlp import build_model, layout
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.protocols import Reply, Request
from fraudfl.transfer.codec import encode
from fraudfl.transfer.model import vector_digest
from pipelines.early_stop import course_of
from pipelines.phase import run_phase
from server.rounds.pooled import LocalBanks

Make = Callable[..., Consortium]
# No model gains so much over another: every look after the first is fruitless.
NEVER = {"patience": 2, "least_gain": 0.9}
LEARNING = {"learning_rate": 0.02, "batch_size": 64}
SHORT: dict[str, Any] = {"rounds": 6, "baselines": [], "early_stop": NEVER, "training": LEARNING}


def spoiling(one: Consortium, number: int) -> Callable[..., Reply]:
    """From one round on every update throws the model far off."""

    def happening(_bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if request.kind != "train" or request.round < number:
            return reply
        width = int(one.events("encoder")[0]["width"])
        shape = layout(build_model(one.plan.model, width))
        wild = np.random.default_rng(1).normal(0, 3, one.plan.model.size(width)).astype(np.float32)
        return replace(reply, payloads={**reply.payloads, "update": encode(wild, "float32", shape)})

    return happening


def killing(kind: str, number: int, bank: str = "bank-04") -> Callable[..., Reply]:
    """The coordinator dies once, when it has asked this bank."""
    dead: list[bool] = []

    def happening(asked: str, request: Request, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if (request.kind, request.round, asked) == (kind, number, bank) and not dead:
            dead.append(True)
            raise KilledError
        return reply

    return happening


def released(one: Consortium, bank: str = "bank-01") -> Counter[str]:
    return Counter(entry.kind for entry in one.ledger(bank).entries() if entry.event == "released")


def evaluated(one: Consortium) -> set[object]:
    """Digests of the models that banks were asked to evaluate."""
    return {request.values["model"] for request in one.fleet.asked if request.kind == "evaluate"}


def test_looks_that_gain_nothing_end_training_and_the_outcome_says_when_and_why(consortium: Make) -> None:
    one = consortium(**SHORT)
    outcome = run_phase(one.phase(), ())
    assert (outcome["status"], outcome["rounds"]) == ("completed", 3)
    found = outcome["early_stop"]
    assert (found["stopped"], found["round"], found["planned"]) == (True, 3, 6)
    assert "2 looks (after rounds 2, 3) surely gained less than 0.9 over round 1" in found["reason"]
    assert "training ended after round 3 of 6" in found["reason"]
    figures = {look["round"]: look["auprc"] for look in found["looks"]}
    assert found["kept"] == max(figures, key=lambda number: figures[number])
    # Each round's line has the figure of the model that left it.
    assert [row["auprc"] for row in one.phase().world.checkpoints.kept[-1].facts["history"]] == list(figures.values())
    assert released(one) == {"join": 1, "sketch": 1, "train": 3, "look": 3, "evaluate": 1}


def test_a_phase_whose_looks_gain_runs_to_its_end(consortium: Make) -> None:
    one = consortium(**SHORT | {"rounds": 3, "early_stop": {"patience": 3}})
    found = run_phase(one.phase(), ())["early_stop"]
    assert (found["stopped"], found["round"]) == (False, 3)
    assert "all 3 rounds were run" in found["reason"]


def test_the_phase_ends_with_the_best_model_that_was_seen_not_with_the_last(consortium: Make) -> None:
    one = consortium(**SHORT | {"early_stop": {"patience": 2}})
    one.happening = spoiling(one, 3)
    phase = one.phase()
    outcome = run_phase(phase, ())
    assert (outcome["early_stop"]["kept"], outcome["rounds"]) == (2, 4)
    after_2 = next(kept for kept in one.checkpoints.kept if kept.round == 2).arrays["model"]
    assert evaluated(one) == {vector_digest(after_2)}
    assert released(one)["evaluate"] == 1
    bundle = Bundle.load(one.place / "bundle")
    assert bundle.weights.tobytes() == after_2.tobytes()
    assert bundle.metadata["rounds"] == 2
    # The look said of it what scikit-learn says of the scores that the banks keep of it.
    scored = LocalBanks(one.folders, one.plan, INSTANCE, one.place).scored("federated", "validation")
    assert course_of(phase).figure(2) == pytest.approx(average_precision_score(scored.labels, scored.logits), abs=0.02)


@pytest.mark.parametrize(
    ("kind", "number"), [("look", 2), ("train", 3), ("look", 4), ("evaluate", 6)], ids=lambda part: str(part)
)
def test_a_coordinator_that_dies_on_the_way_comes_to_the_same_end(consortium: Make, kind: str, number: int) -> None:
    settings = SHORT | {"early_stop": {"patience": 2}}
    calm, torn = consortium("calm", **settings), consortium("torn", **settings)
    calm.happening = spoiling(calm, 3)
    expected = run_phase(calm.phase(), ())
    spoil, kill = spoiling(torn, 3), killing(kind, number)
    torn.happening = lambda bank, request, work: kill(bank, request, lambda: spoil(bank, request, work))
    with pytest.raises(KilledError):
        run_phase(torn.phase(), ())
    outcome = run_phase(torn.phase(), ())
    assert outcome["early_stop"] == expected["early_stop"]
    assert Bundle.load(torn.place / "bundle").weights.tobytes() == Bundle.load(calm.place / "bundle").weights.tobytes()
    assert all(released(torn, bank) == released(calm, bank) for bank in torn.fleet.banks())


def test_a_look_that_too_few_banks_answer_is_left_out_and_training_goes_on(consortium: Make) -> None:
    one = consortium(**SHORT | {"rounds": 3, "attempts": 1})
    one.happening = lambda _bank, request, work: None if (request.kind, request.round) == ("look", 1) else work()
    found = run_phase(one.phase(), ())["early_stop"]
    assert [look["round"] for look in found["looks"]] == [2, 3]
    (missed,) = one.events("look missed")
    assert missed["round"] == 1
    assert "0 of 6 banks answered" in missed["reason"]


def test_under_secure_aggregation_looks_are_sums_and_say_the_same(consortium: Make) -> None:
    settings = {**SHORT, "rounds": 2, "early_stop": {"patience": 2}, "strategy": {"weighting": "equal"}}
    summed, plain = consortium("summed", **SECURE | settings), consortium("plain", **settings)
    outcome = run_phase(summed.phase(), ())
    assert released(summed)["look"] == 2
    expected = run_phase(plain.phase(), ())
    found, wanted = ([look["auprc"] for look in one["early_stop"]["looks"]] for one in (outcome, expected))
    # Masked updates are rounded to a grid, and nothing else differs.
    assert found == pytest.approx(wanted, abs=1e-3)


PAID = {**PRIVATE, **SHORT, "privacy": {**PRIVATE["privacy"], "look_share": 0.3}}


def test_private_looks_are_charged_as_often_as_they_were_taken_and_rounds_not_run_are_not(consortium: Make) -> None:
    loud = {**PAID, "privacy": {**PAID["privacy"], "epsilon": 20.0}, "evaluate_every": 2, "rounds": 8}
    one = consortium(**{**loud, "early_stop": {"patience": 1, "least_gain": 0.9, "bins": 16}})
    outcome = run_phase(one.phase(), ())
    assert (outcome["early_stop"]["stopped"], outcome["rounds"]) == (True, 4)
    for bank in one.fleet.banks():
        charged = Counter(facts["kind"] for facts in one.ledger(bank).mechanisms())
        assert charged == {"dp-sgd": 4, "gaussian": 2}
        spent = epsilon([mechanism_from_dict(facts) for facts in one.ledger(bank).mechanisms()], 1e-6)
        assert spent < 0.9 * 20


def test_noise_alone_ends_no_private_phase(consortium: Make) -> None:
    """The looks of so small banks are nearly all noise: at face value some would be called fruitless."""
    one = consortium(**PAID | {"rounds": 4, "early_stop": {"patience": 1, "least_gain": 0.01}})
    phase = one.phase()
    outcome = run_phase(phase, ())
    course: Course = course_of(phase)
    assert (outcome["rounds"], outcome["early_stop"]["stopped"]) == (4, False)
    assert min(look.noise for look in course.looks) > 0.01
    assert "score histograms of models in training" not in outcome["privacy"]["not_covered"]
    for bank in one.fleet.banks():
        spent = epsilon([mechanism_from_dict(facts) for facts in one.ledger(bank).mechanisms()], 1e-6)
        assert 3.9 < spent <= 4.0 * (1 + 1e-6)
