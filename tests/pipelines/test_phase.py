"""A whole phase over real bank folders, without Flower: who is left out, what is tried again, what is compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from memory_fleet import INSTANCE, Consortium, KilledError

from fraudfl.errors import NonFiniteError, QuorumError
from fraudfl.models.bundle import Bundle
from fraudfl.models.mlp import build_model, layout
from fraudfl.protocols import Reply, Request
from fraudfl.transfer.codec import encode
from fraudfl.transfer.pack import pack_counts
from pipelines.phase import outcome_so_far, run_phase
from server.rounds.pooled import LocalBanks

Make = Callable[..., Consortium]
ILL = "bank-02"


def in_round_2(wrong: Callable[[Reply], Reply | None]) -> Callable[..., Reply | None]:
    """One bank misbehaves in round 2."""

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        reply = work()
        return wrong(reply) if (bank, request.kind, request.round) == (ILL, "train", 2) else reply

    return happening


def with_update(reply: Reply, update: bytes) -> Reply:
    return replace(reply, payloads={**reply.payloads, "update": update})


def width_of(one: Consortium) -> int:
    return int(one.events("encoder")[0]["width"])


def test_a_phase_ends_with_a_registered_bundle_of_the_published_model(consortium: Make) -> None:
    one = consortium()
    phase = one.phase()
    outcome = run_phase(phase, ("alone",))
    assert outcome["status"] == "completed"
    assert (outcome["roster"], outcome["banks"], outcome["rounds"], outcome["model_version"]) == (6, 6, 3, 1)
    assert outcome["excluded"] == []
    bundle = Bundle.load(one.place / "bundle")
    assert bundle.weights.tobytes() == phase.state.model.tobytes()
    assert [number for number, _ in one.registry.rounds] == [1, 2, 3]
    assert all({"loss", "auprc", "banks", "seconds"} <= figures.keys() for _, figures in one.registry.rounds)
    assert outcome["metrics"]["source"] == "released"
    assert outcome["metrics"]["alone"]["auprc"] is not None


def test_comparison_on_one_machine_agrees_with_the_released_histograms(consortium: Make) -> None:
    one = consortium()
    phase = one.phase(LocalBanks(one.folders, one.plan, INSTANCE, one.place))
    outcome = run_phase(phase, ("alone", "pooled"))
    assert outcome["metrics"]["source"] == "exact"
    exact = outcome["metrics"]["federated"]["auprc"]
    released = one.events("evaluated")[0]["auprc"]
    assert exact == pytest.approx(released, abs=0.002)
    assert set(outcome["metrics"]["per_bank"]) == set(one.fleet.banks())
    assert outcome["transfer"]["raw_csv_bytes"] > outcome["transfer"]["raw_parquet_bytes"] > 0


WRONG: dict[str, Callable[[Reply], Reply | None]] = {
    "silent": lambda reply: None,
    "empty": lambda reply: replace(reply, payloads={}, values={}),
    "truncated": lambda reply: with_update(reply, reply.payloads["update"][:-3]),
    "garbage": lambda reply: with_update(reply, b"\x00\xff" * 40),
    "another's": lambda reply: replace(reply, bank="bank-01"),
    "stale": lambda reply: replace(reply, key=reply.key.replace("/2/", "/1/")),
    "another kind": lambda reply: replace(reply, kind="evaluate"),
    "nan loss": lambda reply: replace(reply, values={**reply.values, "loss": float("nan")}),
    "text for a count": lambda reply: replace(reply, values={**reply.values, "examples": "many"}),
    "negative count": lambda reply: replace(reply, values={**reply.values, "examples": -5}),
    "no count": lambda reply: replace(reply, values={"loss": 0.1}),
    "infinite count": lambda reply: replace(reply, values={**reply.values, "examples": float("inf")}),
    "wrong histogram": lambda reply: replace(
        reply, payloads={**reply.payloads, "scores": pack_counts(np.ones(7, dtype=np.int64))}
    ),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_reply_that_is_wrong_is_left_out_and_the_round_goes_on(consortium: Make, name: str) -> None:
    one, without = consortium("wrong"), consortium("silent")
    one.happening = in_round_2(WRONG[name])
    without.happening = in_round_2(WRONG["silent"])
    phases = [one.phase(), without.phase()]
    outcome, expected = (run_phase(phase, ()) for phase in phases)
    assert [(item["bank"], item["round"]) for item in outcome["excluded"]] == [(ILL, 2)]
    assert outcome["excluded"][0]["reason"]
    assert (outcome["banks"], outcome["rounds"]) == (6, 3)
    # Nothing of the reply was used: the model is the one of a round without that bank.
    assert phases[0].state.model.tobytes() == phases[1].state.model.tobytes()
    assert outcome["metrics"] == expected["metrics"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_an_update_that_is_not_finite_is_left_out(consortium: Make, value: float) -> None:
    one = consortium()

    def poison(reply: Reply) -> Reply:
        shape = layout(build_model(one.plan.model, width_of(one)))
        size = sum(int(np.prod(dims)) for _, dims in shape)
        return with_update(reply, b"\x01" + np.full(size, value, dtype=np.float32).tobytes())

    one.happening = in_round_2(poison)
    outcome = run_phase(one.phase(), ())
    assert [item["bank"] for item in outcome["excluded"]] == [ILL]


def test_an_update_of_another_shape_is_left_out_with_the_sizes_named(consortium: Make) -> None:
    one = consortium()
    shape = (("w", (5,)),)
    one.happening = in_round_2(lambda reply: with_update(reply, encode(np.ones(5, np.float32), "float32", shape)))
    outcome = run_phase(one.phase(), ())
    assert "5 values; expected" in outcome["excluded"][0]["reason"]


def test_an_update_in_another_codec_than_the_plans_is_left_out(consortium: Make) -> None:
    one = consortium(codec={"up": "int8"})
    shape_of = lambda: layout(build_model(one.plan.model, width_of(one)))  # noqa: E731

    def plain(reply: Reply) -> Reply:
        size = sum(int(np.prod(dims)) for _, dims in shape_of())
        return with_update(reply, encode(np.zeros(size, np.float32), "float32", shape_of()))

    one.happening = in_round_2(plain)
    assert "the plan says int8" in run_phase(one.phase(), ())["excluded"][0]["reason"]


def test_a_bank_that_raises_is_left_out_with_its_reason(consortium: Make) -> None:
    one = consortium()

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        if (bank, request.kind) == (ILL, "train"):
            raise NonFiniteError("the loss is not finite")
        return work()

    one.happening = happening
    outcome = run_phase(one.phase(), ())
    assert [(item["bank"], item["round"]) for item in outcome["excluded"]] == [(ILL, 1), (ILL, 2), (ILL, 3)]
    assert all("the loss is not finite" in item["reason"] for item in outcome["excluded"])


def silent(banks: set[str], kinds: set[str], attempts: set[int]) -> Callable[..., Reply | None]:
    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        away = bank in banks and request.kind in kinds and request.attempt in attempts
        return None if away else work()

    return happening


def test_a_round_without_quorum_is_tried_again_and_nothing_of_the_short_attempt_is_kept(consortium: Make) -> None:
    one, undisturbed = consortium("short"), consortium("whole")
    one.happening = silent({"bank-01", "bank-02", "bank-03"}, {"train"}, {1})
    phase, plain = one.phase(), undisturbed.phase()
    outcome = run_phase(phase, ())
    run_phase(plain, ())
    assert outcome["status"] == "completed"
    assert [event["heard"] for event in one.events("short")] == [3, 3, 3]
    assert {request.attempt for request in one.fleet.asked if request.kind == "train"} == {1, 2}
    assert phase.state.history[0]["banks"] == 6


def test_quorum_that_is_never_reached_ends_the_phase_naming_banks_and_reasons(consortium: Make) -> None:
    one = consortium(quorum=1.0, attempts=2)
    one.happening = silent({ILL}, {"train"}, {1, 2, 3})
    phase = one.phase()
    with pytest.raises(QuorumError, match=r"train in round 1: 5 of 6 banks answered, the quorum is 6.*bank-02: no ans"):
        run_phase(phase, ())
    outcome = outcome_so_far(phase)
    assert (outcome["status"], outcome["rounds"], len(outcome["excluded"])) == ("failed", 0, 2)


def test_a_phase_that_fails_at_once_still_has_every_transfer_figure(consortium: Make) -> None:
    one = consortium(quorum=1.0, attempts=1)
    one.happening = silent(set(one.fleet.banks()), {"join"}, {1})
    phase = one.phase(LocalBanks(one.folders, one.plan, INSTANCE, one.place))
    with pytest.raises(QuorumError):
        run_phase(phase, ())
    transfer = outcome_so_far(phase)["transfer"]
    assert transfer["bytes_down"] == 6 * 140
    assert {"bytes_up", "raw_csv_bytes", "savings_vs_csv", "worst_bank_savings_vs_csv"} <= transfer.keys()


@pytest.mark.parametrize("kind", ["join", "sketch", "train", "evaluate", "alone"])
def test_a_bank_silent_for_one_kind_of_question_does_not_stop_the_phase(consortium: Make, kind: str) -> None:
    one = consortium()
    one.happening = silent({ILL}, {kind}, {1, 2, 3})
    outcome = run_phase(one.phase(LocalBanks(one.folders, one.plan, INSTANCE, one.place)), ("alone",))
    assert outcome["status"] == "completed"
    assert {item["bank"] for item in outcome["excluded"]} == {ILL}
    judged = set(outcome["metrics"]["per_bank"])
    assert judged == set(one.fleet.banks()) - ({ILL} if kind in ("evaluate", "alone") else set())


def test_a_bank_that_missed_joining_is_offered_the_plan_again_and_takes_part(consortium: Make) -> None:
    one = consortium()
    one.happening = silent({ILL}, {"join", "sketch"}, {1})
    outcome = run_phase(one.phase(), ())
    assert [item["round"] for item in outcome["excluded"]] == [0, 0]
    assert outcome["banks"] == 6


def test_a_bank_whose_folder_lost_the_phase_recovers_in_the_next_round(consortium: Make) -> None:
    one = consortium(rounds=4)

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply:
        if (bank, request.kind, request.round) == (ILL, "train", 2):
            shutil.rmtree(one.folders / ILL / "phases")
            shutil.rmtree(one.folders / ILL / "plans")
        return work()

    one.happening = happening
    outcome = run_phase(one.phase(), ())
    assert [(item["bank"], item["round"]) for item in outcome["excluded"]] == [(ILL, 2)]


def test_a_bank_that_was_away_gets_the_model_whole_and_others_get_deltas(consortium: Make) -> None:
    one = consortium(rounds=4)
    seen: dict[tuple[str, int], set[str]] = {}

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        if request.kind == "train":
            seen[bank, request.round] = set(request.payloads)
        return None if (bank, request.kind, request.round) == (ILL, "train", 2) else work()

    one.happening = happening
    run_phase(one.phase(), ())
    assert seen["bank-01", 1] == {"encoder"}
    assert seen["bank-01", 2] == seen["bank-01", 3] == {"delta"}
    assert seen[ILL, 3] == {"plan", "encoder", "model"}
    assert seen[ILL, 4] == {"delta"}


def killing(after: tuple[str, int, str]) -> Callable[..., Reply | None]:
    """The coordinator dies when `bank` has answered `kind` in `round`, once."""
    dead: list[bool] = []

    def happening(bank: str, request: Request, work: Callable[[], Reply]) -> Reply | None:
        reply = work()
        if (request.kind, request.round, bank) == after and not dead:
            dead.append(True)
            raise KilledError
        return reply

    return happening


CODECS: list[dict[str, Any]] = [{}, {"up": "int8", "down": "int8"}, {"up": "topk", "down": "float16", "keep": 0.2}]


@pytest.mark.parametrize("codec", CODECS, ids=["float32", "int8", "topk"])
def test_a_phase_killed_anywhere_and_resumed_gives_the_same_model_bit_for_bit(
    consortium: Make, codec: dict[str, Any]
) -> None:
    whole = consortium("whole", codec=codec)
    undisturbed = whole.phase()
    expected = run_phase(undisturbed, ())
    places = [("sketch", 0, "bank-03"), ("train", 1, "bank-06"), ("train", 2, "bank-01"), ("train", 3, "bank-04")]
    places += [("evaluate", 3, "bank-05"), ("alone", 3, "bank-02")]
    for number, place in enumerate(places):
        one = consortium(f"killed-{number}", codec=codec)
        one.happening = killing(place)
        with pytest.raises(KilledError):
            run_phase(one.phase(), ())
        resumed = one.phase()
        outcome = run_phase(resumed, ())
        assert resumed.state.model.tobytes() == undisturbed.state.model.tobytes(), place
        assert outcome["metrics"] == expected["metrics"], place
        assert outcome["rounds"] == 3


def test_fedadam_resumed_after_a_kill_goes_on_with_its_moments(consortium: Make) -> None:
    strategy = {"strategy": {"name": "fedadam"}}
    whole, one = consortium("whole", **strategy), consortium("killed", **strategy)
    undisturbed = whole.phase()
    run_phase(undisturbed, ())
    one.happening = killing(("train", 3, "bank-02"))
    with pytest.raises(KilledError):
        run_phase(one.phase(), ())
    resumed = one.phase()
    run_phase(resumed, ())
    assert resumed.state.model.tobytes() == undisturbed.state.model.tobytes()


def test_bytes_of_every_answer_are_counted_refused_ones_included(consortium: Make) -> None:
    one = consortium()
    one.happening = in_round_2(lambda reply: None)
    phase = one.phase()
    run_phase(phase, ())
    asked = len(one.fleet.asked)
    assert phase.state.meter.bytes_down == 100 * asked + 40 * 6
    up = sum(len(data) for copies in one.fleet.sent.values() for data in copies)
    assert phase.state.meter.bytes_up == up + 60 * 6
